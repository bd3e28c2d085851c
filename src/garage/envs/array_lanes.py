"""What all lanes in arrays have in common: a state as an array, where episodes start, the steps taken, a time limit.

Their arithmetic is in compiled kernels, or in NumPy; what gymnasium asks NumPy for, NumPy computes in both.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, final

import numpy as np
import numpy.typing as npt

from garage.core.ports import Rung
from garage.core.state import take_array
from garage.core.types import Array, State, Transition
from garage.errors import MismatchError
from garage.kernels.worlds import Places, Starts

_ONE = np.array(1)


class World(NamedTuple):
    """What is known of a world before any of its lanes is made."""

    world_id: str
    """For messages."""
    bounds: Array
    """``[d]``, beyond which the state never is on either side; inf where there is no bound."""
    places: Places
    """Where its episodes start."""


class ArrayLanes(ABC):
    """n copies of a world as a structure of arrays; see `garage.core.ports.Lanes`.

    Args:
        world: which.
        state: ``[d, n]`` float64, where the lanes are, a column each. The world's own, and moved in place.
    """

    def __init__(self, world: World, state: Array) -> None:
        self.n = state.shape[1]
        self._world_id = world.world_id
        self._bounds = world.bounds
        self._state = state
        self._elapsed = np.zeros(self.n, np.int64)
        self._start = Starts(world.places, state, self._elapsed)

    @abstractmethod
    def step(self, lanes: Array, actions: Array) -> Transition:
        """See `garage.core.ports.Lanes`."""

    @abstractmethod
    def _observations(self, lanes: Array) -> Array:
        """What is seen in ``lanes`` ``[k]`` as they are, ``[k, ...]``."""

    @final
    def reset(self, lanes: Array, seeds: Sequence[int]) -> Array:
        """See `garage.core.ports.Lanes`."""
        self._start(lanes, seeds)
        return self._observations(lanes)

    @property
    @final
    def rung(self) -> Rung:
        """The arrays below say all there is."""
        return Rung.ARRAYS

    @final
    def state_dict(self, lanes: Array) -> State:
        """See `garage.core.ports.Lanes`: where they are ``[d, k]`` float64, and steps taken ``[k]`` int64."""
        return {"state": self._state[:, lanes], "elapsed": self._elapsed[lanes]}

    @final
    def load_state_dict(self, lanes: Array, state: State) -> Array:
        """See `garage.core.ports.Lanes`."""
        owner = f"{len(lanes)} lanes of {self._world_id}"
        places = take_array(state, "state", owner, np.float64, (len(self._state), len(lanes)))
        elapsed = take_array(state, "elapsed", owner, np.int64, (len(lanes),))
        beyond = np.argwhere(np.abs(places) > self._bounds[:, np.newaxis])
        if beyond.size:
            row, column = beyond[0]
            msg = (
                f"Cannot load the state of {owner}: `state` holds {places[row, column]} in row {row}, where nothing is "
                f"beyond ±{self._bounds[row]}. Was it written by another version of the world?"
            )
            raise MismatchError(msg)
        self._state[:, lanes] = places
        self._elapsed[lanes] = elapsed
        return self._observations(lanes)

    @final  # noqa: B027 - concrete, and no lanes in arrays hold anything
    def close(self) -> None:
        """Nothing to let go of."""


class NumpyLanes(ArrayLanes):
    """Lanes that move by NumPy's functions.

    A world says what its actions do and how all of its lanes move. All of them are computed at every step, for that
    takes no longer, and only the chosen ones are moved.

    Args:
        world: which.
        state: ``[d, n]`` float64; see `ArrayLanes`.
        force_dtype: of what its actions do.
        max_episode_length: steps after which an episode is truncated, or None.
    """

    def __init__(self, world: World, state: Array, force_dtype: npt.DTypeLike, max_episode_length: int | None) -> None:
        super().__init__(world, state)
        self._limit = None if max_episode_length is None else np.array(max_episode_length)
        self._force = np.zeros(self.n, force_dtype)
        self._chosen = np.zeros(self.n, np.bool_)
        self._never = np.zeros(self.n, np.bool_)  # handed out again and again, so nobody may write to it
        self._never.flags.writeable = False

    @abstractmethod
    def _forces(self, actions: Array) -> Array:
        """What actions ``[k, ...]`` do, ``[k]``."""

    @abstractmethod
    def _advance(self, forces: Array, *, chosen: Array | bool) -> tuple[Array, Array, Array]:
        """Move the chosen lanes.

        Args:
            forces: ``[n]``; of lanes that are not chosen, any that have been before.
            chosen: ``[n]`` bool, or True for all.

        Returns:
            Observations ``[n, ...]``, rewards ``[n]`` and whether each ended ``[n]``; rows of lanes that are not chosen
            mean nothing. The observations are new arrays, the others may be read-only.
        """

    @final
    def step(self, lanes: Array, actions: Array) -> Transition:
        """See `garage.core.ports.Lanes`."""
        forces = self._forces(actions)
        if lanes.size == self.n:
            moved = self._advance(forces, chosen=True)
            np.add(self._elapsed, _ONE, self._elapsed)
            return Transition(*moved, self._timed_out())
        self._chosen.fill(False)  # noqa: FBT003 - the value to fill with
        self._chosen[lanes] = True
        self._force[lanes] = forces
        observations, rewards, terminated = self._advance(self._force, chosen=self._chosen)
        np.add(self._elapsed, _ONE, self._elapsed, where=self._chosen)
        return Transition(
            observations.take(lanes, axis=0),
            rewards.take(lanes),
            terminated.take(lanes),
            self._timed_out().take(lanes),
        )

    def _timed_out(self) -> Array:
        if self._limit is None:
            return self._never
        truncated: Array = np.greater_equal(self._elapsed, self._limit)
        return truncated


def clipped(actions: Array, most: float) -> Array:
    """The one number of each action ``[k, 1]``, clipped to ±most, as gymnasium's space has it: ``[k]`` float32."""
    return np.asarray(np.minimum(np.maximum(actions[:, 0], -most), most).astype(np.float32))
