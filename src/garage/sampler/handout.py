"""Handing out the groups of a collect to workers, whatever these are; what they say, and what dies with them."""

import logging
import weakref
from collections import Counter
from collections.abc import MutableMapping, Sequence
from typing import Any, Generic, TypeVar, final

from garage.core.ports import Group, GroupResult
from garage.errors import WorkerDiedError
from garage.sampler.packed import Outcome, Packed, Packer, describe

logger = logging.getLogger("garage.sampler")

MOST_DEATHS = 3
"""In the same group; a world that kills each worker that it runs in is not tried for ever."""

W = TypeVar("W")
"""A worker: hashable by identity, with weak references."""


@final
class Handout(Generic[W]):
    """The groups of one collect: which wait, which are running where, and what came of the others.

    Args:
        groups: all of them.
        packed: likewise, as they travel.
        places: which worker has the lanes of which group; kept from collect to collect.
        said: what workers have said, likewise.

    Attributes:
        packed: see above.
        waiting: indices of the groups that nobody runs yet.
        running: the index of each worker's group.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        packed: Packed,
        places: MutableMapping[tuple[Any, ...], W],
        said: set[str],
    ) -> None:
        self._groups, self.packed = groups, packed
        self.waiting = list(range(len(groups)))
        self.running: dict[W, int] = {}
        self._places, self._said = places, said
        self._results: dict[int, GroupResult] = {}
        self._deaths: Counter[int] = Counter()

    @property
    def is_whole(self) -> bool:
        """Whether there is a result for each."""
        return len(self._results) == len(self._groups)

    @property
    def results(self) -> list[GroupResult]:
        """All, in the order of the groups, once it is whole."""
        return [self._results[index] for index in range(len(self._groups))]

    def give(self, worker: W) -> int:
        """The index of a group for a free worker to run.

        One whose lanes the worker has, else one whose lanes nobody has, else any: lanes can be brought over.
        """
        owners = {index: self._places.get(_place(self._groups[index])) for index in self.waiting}
        own = [index for index, owner in owners.items() if owner is worker]
        free = [index for index, owner in owners.items() if owner is None]
        index = (own or free or self.waiting)[0]
        self.waiting.remove(index)
        self.running[worker] = index
        return index

    def accept(self, worker: W, outcome: Outcome) -> None:
        """Take what a worker brings.

        Raises:
            GarageError: what the group raised there.
        """
        for name, level, message in outcome.lines:
            if message not in self._said:  # each worker says it, once is enough
                self._said.add(message)
                logging.getLogger(name).log(level, "%s", message)
        index = self.running.pop(worker)
        result = self._results[index] = outcome.result()
        if result.carried:
            self._places[_place(self._groups[index])] = worker

    def bury(self, worker: W, how: str, n_started: int | None) -> None:
        """Let the group of a dead worker be run again.

        Args:
            worker: the dead one.
            how: it ended, in words that go on from "a worker".
            n_started: how many episodes of the group it had started; None if nobody knows.

        Raises:
            WorkerDiedError: too many have died in it.
        """
        index = self.running.pop(worker)
        self._deaths[index] += 1
        group = self._groups[index]
        where = f"group {index} of epoch {group.epoch}" if n_started is None else describe(group, n_started)
        if self._deaths[index] == MOST_DEATHS:
            msg = (
                f"{MOST_DEATHS} workers have ended in the same group; the last one {how}, in {where}. Nothing of this "
                "batch is used and every snapshot is intact. Start such an episode by env.reset(seed=...) in a process "
                "of its own to see what ends it; if it only takes long, raise timeout_seconds."
            )
            raise WorkerDiedError(msg)
        logger.warning("A worker %s, in %s: the group is run again in another one", how, where)
        self.waiting.insert(0, index)


@final
class Handouts(Generic[W]):
    """Those of one sampler, which remember who has which lanes and what was said."""

    def __init__(self) -> None:
        self._places: weakref.WeakValueDictionary[tuple[Any, ...], W] = weakref.WeakValueDictionary()
        self._said: set[str] = set()
        self._idle_is_said = False
        self._packer = Packer()

    def begin(self, groups: Sequence[Group], n_workers: int) -> Handout[W]:
        """Pack the groups of a collect.

        Raises:
            UnsendableError: a world or a policy cannot be sent to a worker.
        """
        if n_workers > len(groups) and not self._idle_is_said:
            self._idle_is_said = True
            logger.warning(
                "%d workers for collects of %d group(s): the others are idle. trainer.setup(algo, env, n_groups=%d) "
                "makes more groups; in a new run only, for their number is part of what decides a run's numbers",
                n_workers,
                len(groups),
                n_workers,
            )
        return Handout(groups, self._packer.pack(groups), self._places, self._said)

    def end(self) -> None:
        """Forget what was packed, so that a world which has changed meanwhile is pickled anew."""
        self._packer = Packer()


def _place(group: Group) -> tuple[Any, ...]:
    return (*group.streams.path, group.index)
