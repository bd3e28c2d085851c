"""The episodes of a group: where each comes from, which its random numbers and messages follow."""

from typing import NamedTuple

import numpy as np

from garage.core.ports import Group, Lanes
from garage.core.streams import Streams
from garage.core.types import Array, EpisodeBatch, State
from garage.errors import NonFiniteError
from garage.sampler.in_flight import InFlight


class Episode(NamedTuple):
    """Where an episode comes from."""

    streams: Streams
    epoch: int
    call: int
    ordinal: int
    """Among the episodes that the group started in that call."""
    n_before: int
    """Steps that were taken in calls before this one."""

    @property
    def world_seed(self) -> int:
        """What its world starts from."""
        return self.streams.world_seed(self.ordinal)


class Episodes:
    """Those of one call of a group, by number: carried ones first, then in the order in which they start.

    Args:
        group: which.
    """

    def __init__(self, group: Group) -> None:
        self._group = group
        self.streams = self._streams_of(group.epoch, group.call)
        """Of this call."""
        self._known: list[Episode] = []
        self.n_carried = 0

    def __getitem__(self, number: int) -> Episode:
        return self._known[number]

    def __len__(self) -> int:
        return len(self._known)

    @property
    def n_started(self) -> int:
        """Those that are of this call."""
        return len(self._known) - self.n_carried

    def take_up(self, carried: InFlight) -> list[Episode]:
        """Those that were carried, before any other starts."""
        columns = (column.tolist() for column in carried.addresses)
        for _, step, epoch, call, ordinal in zip(*columns, strict=True):
            self._known.append(Episode(self._streams_of(epoch, call), epoch, call, ordinal, step))
        self.n_carried = len(self._known)
        return self._known

    def start(self, n: int) -> list[Episode]:
        """The next n of this call."""
        group, first = self._group, self.n_started
        started = [Episode(self.streams, group.epoch, group.call, ordinal, 0) for ordinal in range(first, first + n)]
        self._known += started
        return started

    def n_before(self, n: int) -> Array:
        """Steps ``[n]`` int64 that the first n had taken before this call."""
        return np.array([episode.n_before for episode in self._known[:n]], np.int64)

    def in_flight(
        self, numbers: Array, chosen: Array, lengths: Array, shown: tuple[Array, Array], lanes: Lanes
    ) -> State:
        """What the next call goes on with.

        Args:
            numbers: ``[k]``, of those that were cut, ascending.
            chosen: ``[k]`` int64, lanes in which they are.
            lengths: ``[k]`` int64, steps of each in this call.
            shown: observations ``[k, ...]`` and memory ``[k, ...]`` before the next step.
            lanes: the group's.
        """
        cut = [self._known[number] for number in numbers.tolist()]
        observations, memory = shown
        return InFlight(
            rung=lanes.rung,
            lanes=chosen,
            steps=lengths + np.array([episode.n_before for episode in cut]),
            epochs=np.array([episode.epoch for episode in cut]),
            calls=np.array([episode.call for episode in cut]),
            episodes=np.array([episode.ordinal for episode in cut]),
            observations=observations,
            memory=memory,
            world=lanes.state_dict(chosen),
        ).as_state()

    def check_finite(self, batch: EpisodeBatch) -> None:
        """Every number that came from the world must be finite; the error names the episode by its seed.

        Raises:
            NonFiniteError: one is not.
        """
        last_rows = batch.starts + batch.lengths - 1
        for name, values, rows, later in (
            ("observation", batch.observations, np.arange(batch.n_steps), 0),
            ("observation", batch.last_observations, last_rows, 1),
            ("reward", batch.rewards, np.arange(batch.n_steps), 0),
        ):
            if values.dtype.kind != "f" or np.isfinite(values).all():
                continue
            index = int(np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))[0])
            number = int(np.searchsorted(batch.starts, rows[index], side="right")) - 1
            msg = (
                f"The environment {self._group.env} returned {values[index]!r} as {name} at step "
                f"{int(batch.steps[rows[index]]) + later} of the episode with the seed "
                f"{self._known[number].world_seed}; expected finite numbers. Nothing of this batch is used and "
                "every snapshot is intact. Start that episode by env.reset(seed=...) to see it again."
            )
            raise NonFiniteError(msg)

    def _streams_of(self, epoch: int, call: int) -> Streams:
        return self._group.streams.at(epoch, call, self._group.index)
