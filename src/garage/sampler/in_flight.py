"""Episodes that were cut: what a group hands to its next call, so that they go on there."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from garage.core.ports import Lanes, Rung
from garage.core.state import take_array, take_as
from garage.core.types import Array, State
from garage.errors import MismatchError

_NUMBERS = ("lanes", "steps", "epochs", "calls", "episodes")


@dataclass(frozen=True)
class InFlight:
    """k lanes in mid-episode, in the order in which their episodes started.

    Attributes:
        rung: how the world goes on.
        lanes: ``[k]`` int64, which ones.
        steps: ``[k]`` int64, taken so far in each episode.
        epochs: ``[k]`` int64, in which each episode started.
        calls: ``[k]`` int64, likewise.
        episodes: ``[k]`` int64, ordinal of each among those that its group started in that call.
        observations: ``[k, ...]``, what the policy sees next.
        memory: ``[k, ...]``, what it remembers.
        world: the state of these lanes; in a state tree it lies in a folder that is named for the rung.
    """

    rung: Rung
    lanes: Array
    steps: Array
    epochs: Array
    calls: Array
    episodes: Array
    observations: Array
    memory: Array
    world: State

    @property
    def addresses(self) -> tuple[Array, ...]:
        """Lanes, steps, epochs, calls and episodes: what says which lane runs what."""
        return self.lanes, self.steps, self.epochs, self.calls, self.episodes

    def as_state(self) -> State:
        """As a state tree."""
        return {
            **{name: getattr(self, name) for name in _NUMBERS},
            "observations": self.observations,
            "memory": self.memory,
            "world": {str(self.rung): self.world},
        }

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Back from a state tree.

        Raises:
            MismatchError: it is not one of lanes in flight.
        """
        owner = "lanes in flight"
        k = len(take_as(state, "lanes", owner, np.ndarray))
        numbers = {name: take_array(state, name, owner, np.int64, (k,)) for name in _NUMBERS}
        rows = {name: take_as(state, name, owner, np.ndarray) for name in ("observations", "memory")}
        world = take_as(state, "world", owner, dict)
        rung = next(iter(world), "")
        n_rows = [len(row) for row in rows.values()]
        if len(world) != 1 or rung not in list(Rung) or n_rows != [k, k] or (numbers["steps"] < 1).any():
            msg = (
                f"Cannot load the state of {owner}: expected a world by one rung of {[str(known) for known in Rung]}, "
                f"{k} rows of observations and memory, and steps of at least 1; got {sorted(world)}, {n_rows} and "
                f"{numbers['steps'].tolist()}."
            )
            raise MismatchError(msg)
        return cls(Rung(rung), **numbers, **rows, world=take_as(world, rung, owner, dict))

    def put_into(self, lanes: Lanes, world: str) -> None:
        """Bring fresh lanes to where these were.

        Args:
            lanes: at least as many as there were.
            world: its name, for messages.

        Raises:
            MismatchError: they are too few, or came to other observations.
        """
        if self.lanes.min(initial=0) < 0 or self.lanes.max(initial=0) >= lanes.n:
            msg = (
                f"Cannot go on with the episodes in lanes {self.lanes.tolist()} of {world}: there are {lanes.n} lanes."
            )
            raise MismatchError(msg)
        observations = lanes.load_state_dict(self.lanes, self.world)
        for row, lane in enumerate(self.lanes.tolist()):
            if observations[row].tobytes() != self.observations[row].tobytes():
                msg = (
                    f"Cannot go on with the episode in lane {lane} of {world}: {int(self.steps[row])} steps after its "
                    f"start, brought back by {self.rung}, it is at {observations[row]!r}, and was at "
                    f"{self.observations[row]!r}. Is it the same version of the world? `garage check-env` says whether "
                    "a world can be brought back; whole episodes (fragments=False) need none of it."
                )
                raise MismatchError(msg)
