"""Groups run in processes of this machine."""

import logging
import math
import os
import selectors
import sys
import time
import weakref
from collections import Counter
from collections.abc import Sequence
from typing import Any, final

from garage.core.ports import Group, GroupResult
from garage.errors import ArgumentError, WorkerDiedError
from garage.sampler.packed import Outcome, Packed, Packer, describe
from garage.sampler.worker_process import WorkerProcess

logger = logging.getLogger("garage.sampler")

MOST_DEATHS = 3
"""In the same group; a world that kills each process that it runs in is not tried for ever."""
_SECONDS_TO_END = 5.0


@final
class ProcessSampler:
    """Runs groups in worker processes, which are started when they are needed first and kept until `close`.

    For worlds that run in Python, which holds one core however many there are. How many workers there are, and which
    of them runs which group, changes no result. A worker that dies or hangs costs time: its group is run again.

    Worlds and policies travel by pickling; what cannot be pickled is named when a collect begins. Scripts need no
    ``if __name__ == "__main__"``: workers do not run them again.

    Args:
        n_workers: how many, by default one for each CPU that this process may use.
        timeout_seconds: how long a worker may take over one step of its lanes before it counts as hanging; until the
            first one of a group, at least a minute. None: for ever.

    Raises:
        ArgumentError: an argument is of the wrong kind or out of range.
    """

    def __init__(self, n_workers: int | None = None, *, timeout_seconds: float | None = 600.0) -> None:
        if n_workers is not None and (isinstance(n_workers, bool) or not isinstance(n_workers, int) or n_workers < 1):
            msg = f"n_workers must be an integer of at least 1, got {n_workers!r}."
            raise ArgumentError(msg)
        if timeout_seconds is not None and not timeout_seconds > 0.0:
            msg = f"timeout_seconds must be more than 0, or None, got {timeout_seconds!r}."
            raise ArgumentError(msg)
        self.n_workers = _n_usable_cpus() if n_workers is None else n_workers
        self._timeout_seconds = math.inf if timeout_seconds is None else timeout_seconds
        self._packer = Packer()
        self._workers: list[WorkerProcess] = []
        self._places: weakref.WeakValueDictionary[tuple[Any, ...], WorkerProcess] = weakref.WeakValueDictionary()
        self._said: set[tuple[str, str]] = set()
        weakref.finalize(self, _kill, self._workers)

    def run(self, groups: Sequence[Group]) -> list[GroupResult]:
        """Run all groups and return their results in the same order.

        Raises:
            UnsendableError: a world or a policy cannot be sent to a worker.
            WorkerRaisedError: a group raised something that is neither garage's nor its world's.
            WorkerDiedError: workers died or hung in the same group again and again.
            GarageError: what a group raised, as if it had been run here, with the worker's traceback as a cause.
        """
        if not groups:
            return []
        packed = self._packer.pack(groups)
        self._say_if_idle(len(groups))
        collect = _Collect(groups, packed)
        try:
            with selectors.DefaultSelector() as selector:
                while not collect.is_whole:
                    self._hand_out(collect, selector)
                    self._take_in(collect, selector)
        except BaseException:  # whatever stopped this, those are in the middle of something
            for worker in collect.running:
                self._lose(worker)
            raise
        return [collect.results[index] for index in range(len(groups))]

    def close(self) -> None:
        """End the workers; the next `run` starts new ones."""
        workers = list(self._workers)
        for worker in workers:
            worker.finish()
        until = time.monotonic() + _SECONDS_TO_END
        for worker in workers:
            worker.end(max(0.0, until - time.monotonic()))
            self._workers.remove(worker)
        self._packer = Packer()

    @property
    def pids(self) -> list[int]:
        """Of the workers that there are."""
        return [worker.pid for worker in self._workers]

    def _hand_out(self, collect: "_Collect", selector: selectors.BaseSelector) -> None:
        """Give a group to each worker that has none."""
        n_needed = min(self.n_workers, len(collect.waiting) + len(collect.running))
        while len(self._workers) < n_needed:
            self._workers.append(WorkerProcess())
        for worker in self._workers:
            if collect.waiting and worker not in collect.running:
                index = self._choose(collect, worker)
                collect.waiting.remove(index)
                collect.running[worker] = index
                worker.give(collect.packed, index)
                selector.register(worker, selectors.EVENT_READ)

    def _choose(self, collect: "_Collect", worker: WorkerProcess) -> int:
        """A group whose lanes the worker has, else one whose lanes nobody has, else any: lanes can be brought over."""
        owners = {index: self._places.get(_place(collect.groups[index])) for index in collect.waiting}
        own = [index for index, owner in owners.items() if owner is worker]
        free = [index for index, owner in owners.items() if owner is None]
        return (own or free or collect.waiting)[0]

    def _take_in(self, collect: "_Collect", selector: selectors.BaseSelector) -> None:
        """Wait until a worker is done with its group, or has died, or is to be given up."""
        now = time.monotonic()
        patience = min(worker.deadline(self._timeout_seconds) for worker in collect.running) - now
        ready = selector.select(None if math.isinf(patience) else max(0.0, patience))
        for key, _ in ready:
            worker: WorkerProcess = key.fileobj  # type: ignore[assignment] # what was registered
            selector.unregister(worker)
            try:
                outcome = worker.take()
            except EOFError:
                self._bury(collect, worker, self._lose(worker))
            else:
                self._accept(collect, worker, outcome)
        if not ready:
            now = time.monotonic()
            for worker in [one for one in collect.running if one.deadline(self._timeout_seconds) <= now]:
                selector.unregister(worker)
                self._lose(worker)
                self._bury(collect, worker, f"took more than {self._timeout_seconds:g} s over a step, and was killed")

    def _accept(self, collect: "_Collect", worker: WorkerProcess, outcome: Outcome) -> None:
        for name, level, message in outcome.lines:
            if (name, message) not in self._said:  # each worker says it, once is enough
                self._said.add((name, message))
                logging.getLogger(name).log(level, "%s", message)
        index = collect.running.pop(worker)
        try:
            result = collect.results[index] = outcome.result()
        except BaseException:
            worker.forget_parts()
            raise
        if result.carried:
            self._places[_place(collect.groups[index])] = worker

    def _bury(self, collect: "_Collect", worker: WorkerProcess, how: str) -> None:
        """Let the group of a dead worker be run again.

        Raises:
            WorkerDiedError: too many have died in it.
        """
        index = collect.running.pop(worker)
        collect.deaths[index] += 1
        where = describe(collect.groups[index], worker.n_started)
        if collect.deaths[index] == MOST_DEATHS:
            msg = (
                f"{MOST_DEATHS} workers have ended in the same group; the last one {how}, in {where}. Nothing of this "
                "batch is used and every snapshot is intact. Start such an episode by env.reset(seed=...) in a process "
                "of its own to see what ends it; if it only takes long, raise timeout_seconds."
            )
            raise WorkerDiedError(msg)
        logger.warning("A worker %s, in %s: the group is run again in another one", how, where)
        collect.waiting.insert(0, index)

    def _lose(self, worker: WorkerProcess) -> str:
        self._workers.remove(worker)
        return worker.kill()

    def _say_if_idle(self, n_groups: int) -> None:
        idle = ("garage.sampler", "idle")
        if self.n_workers > n_groups and idle not in self._said:
            self._said.add(idle)
            logger.warning(
                "%d workers for collects of %d group(s): the others are idle. trainer.setup(algo, env, n_groups=%d) "
                "makes more groups; in a new run only, for their number is part of what decides a run's numbers",
                self.n_workers,
                n_groups,
                self.n_workers,
            )


class _Collect:
    """The groups of one call: which wait, which are running where, and what came of the others."""

    def __init__(self, groups: Sequence[Group], packed: Packed) -> None:
        self.groups, self.packed = groups, packed
        self.waiting = list(range(len(groups)))
        self.running: dict[WorkerProcess, int] = {}
        self.results: dict[int, GroupResult] = {}
        self.deaths: Counter[int] = Counter()

    @property
    def is_whole(self) -> bool:
        return len(self.results) == len(self.groups)


def _place(group: Group) -> tuple[Any, ...]:
    return (*group.streams.path, group.index)


def _n_usable_cpus() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _kill(workers: list[WorkerProcess]) -> None:
    for worker in workers:
        worker.kill()
