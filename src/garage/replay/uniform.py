"""The newest transitions, sampled uniformly: "experience replay" of Lin 1992, "Self-improving reactive agents"."""

from typing import Any

import numpy as np

from garage.core.recipe import Component
from garage.core.spaces import check_spec
from garage.core.state import take
from garage.core.streams import uniforms
from garage.core.tracked import CapturedGroup, TrackedGroup
from garage.core.types import Array, End, EnvSpec, EpisodeBatch, State, Transitions
from garage.errors import ArgumentError, MismatchError, OrderError


class ReplayBuffer(Component):
    """Remembers the newest transitions, and draws from them uniformly with replacement.

    Its columns are a tracked group, so a snapshot holds only the blocks of rows that were added since the one before.

    Args:
        env_spec: of the world; its spaces give the columns' shapes and dtypes.
        capacity: transitions that it remembers; a newer one takes the place of the oldest.

    Raises:
        ArgumentError: the capacity is not a positive integer.
        MismatchError: observations or actions of that world are not arrays of one shape.
    """

    def __init__(self, env_spec: EnvSpec, capacity: int) -> None:
        check_spec("ReplayBuffer", env_spec)
        self.env_spec, self.capacity = env_spec, capacity
        observation, action = _column(env_spec.observation_space), _column(env_spec.action_space)
        columns = {"observations": observation, "next_observations": observation, "actions": action}
        self._rows = TrackedGroup(
            capacity, {**columns, "rewards": ((), np.dtype(np.float64)), "terminated": ((), np.dtype(np.bool_))}
        )
        self._n_added = 0

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def n_added(self) -> int:
        """Transitions that were ever added."""
        return self._n_added

    def add(self, batch: EpisodeBatch) -> None:
        """Remember every step of a batch, in its order.

        Raises:
            MismatchError: its observations or actions do not fit the world's spaces.
        """
        last = batch.starts + batch.lengths - 1
        next_observations = np.empty_like(batch.observations)
        next_observations[:-1] = batch.observations[1:]
        next_observations[last] = batch.last_observations
        terminated = np.zeros(batch.n_steps, np.bool_)
        terminated[last] = batch.ends == End.TERMINATED
        columns = {
            "observations": batch.observations,
            "actions": batch.actions,
            "rewards": batch.rewards,
            "next_observations": next_observations,
            "terminated": terminated,
        }
        n_skipped = max(0, batch.n_steps - self.capacity)  # their places are taken within this batch
        first = (self._n_added + n_skipped) % self.capacity
        self._rows.write(first, {name: column[n_skipped:] for name, column in columns.items()})
        self._n_added += batch.n_steps

    def sample(self, generator: np.random.Generator, n: int) -> Transitions:
        """Draw n transitions; a function of what is remembered and of the generator, of which it takes n uniforms.

        Args:
            generator: of `Streams`.
            n: how many, at least 1.

        Raises:
            OrderError: nothing has been added yet.
            ArgumentError: n is below 1.
        """
        if n < 1:
            msg = f"Cannot sample {n} transitions: expected at least 1."
            raise ArgumentError(msg)
        if not len(self):
            msg = "Cannot sample from a replay buffer that is empty; add a batch of episodes first."
            raise OrderError(msg)
        rows = (uniforms(generator, n) * len(self)).astype(np.int64)
        drawn: dict[str, Array] = {name: column[rows] for name, column in self._rows.views().items()}
        return Transitions(**drawn)

    def state_dict(self) -> State:
        """The transitions and how many there ever were."""
        return {"transitions": self._rows, "n_added": self._n_added}

    def load_state_dict(self, state: State) -> None:
        """Take both back.

        Raises:
            MismatchError: they are of a buffer of another capacity or another world.
        """
        rows, n_added = take(state, "transitions", "the replay buffer"), take(state, "n_added", "the replay buffer")
        if isinstance(rows, TrackedGroup | CapturedGroup):
            if rows.capacity != self.capacity:
                msg = (
                    f"Cannot load `transitions` into this replay buffer: the saved one has room for {rows.capacity}, "
                    f"this one for {self.capacity}. Was it built with capacity={rows.capacity}?"
                )
                raise MismatchError(msg)
            if not isinstance(n_added, int) or rows.n_rows != min(n_added, self.capacity):
                msg = (
                    f"Cannot load `n_added` into this replay buffer: {n_added!r} transitions were added, but "
                    f"`transitions` holds {rows.n_rows} of at most {self.capacity}."
                )
                raise MismatchError(msg)
        self._rows.load(rows)
        self._n_added = n_added


def _column(space: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:  # noqa: ANN401 - any of gymnasium's spaces
    if space.shape is None or space.dtype is None:
        msg = (
            f"A replay buffer cannot remember members of {space}: expected arrays of one shape. Wrap the environment "
            "in gymnasium.wrappers.FlattenObservation."
        )
        raise MismatchError(msg)
    return space.shape, space.dtype
