"""Groups run in processes of this machine."""

import math
import selectors
import time
import weakref
from collections.abc import Sequence
from typing import final

from garage.core import options
from garage.core.ports import Group, GroupResult
from garage.errors import ArgumentError
from garage.process import n_usable_cpus
from garage.sampler.handout import Handout, Handouts
from garage.sampler.worker_process import WorkerProcess

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
        options.check(type(self).__name__, n_workers=(n_workers, options.COUNT_OR_NONE))
        if timeout_seconds is not None and not timeout_seconds > 0.0:
            msg = f"timeout_seconds must be more than 0, or None, got {timeout_seconds!r}."
            raise ArgumentError(msg)
        self.n_workers = n_usable_cpus() if n_workers is None else int(n_workers)
        self._timeout_seconds = math.inf if timeout_seconds is None else timeout_seconds
        self._handouts: Handouts[WorkerProcess] = Handouts()
        self._workers: list[WorkerProcess] = []
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
        handout = self._handouts.begin(groups, self.n_workers)
        try:
            with selectors.DefaultSelector() as selector:
                while not handout.is_whole:
                    self._hand_out(handout, selector)
                    self._take_in(handout, selector)
        except BaseException:  # whatever stopped this, those are in the middle of something
            for worker in handout.running:
                self._lose(worker)
            raise
        return handout.results

    def close(self) -> None:
        """End the workers; the next `run` starts new ones."""
        workers = list(self._workers)
        for worker in workers:
            worker.finish()
        until = time.monotonic() + _SECONDS_TO_END
        for worker in workers:
            worker.end(max(0.0, until - time.monotonic()))
            self._workers.remove(worker)
        self._handouts.end()

    @property
    def pids(self) -> list[int]:
        """Of the workers that there are."""
        return [worker.pid for worker in self._workers]

    def _hand_out(self, handout: Handout[WorkerProcess], selector: selectors.BaseSelector) -> None:
        """Give a group to each worker that has none."""
        n_needed = min(self.n_workers, len(handout.waiting) + len(handout.running))
        while len(self._workers) < n_needed:
            self._workers.append(WorkerProcess(max(1, n_usable_cpus() // self.n_workers)))
        for worker in self._workers:
            if handout.waiting and worker not in handout.running:
                worker.give(handout.packed, handout.give(worker))
                selector.register(worker, selectors.EVENT_READ)

    def _take_in(self, handout: Handout[WorkerProcess], selector: selectors.BaseSelector) -> None:
        """Wait until a worker is done with its group, or has died, or is to be given up."""
        now = time.monotonic()
        patience = min(worker.deadline(self._timeout_seconds) for worker in handout.running) - now
        ready = selector.select(None if math.isinf(patience) else max(0.0, patience))
        for key, _ in ready:
            worker: WorkerProcess = key.fileobj  # type: ignore[assignment] # what was registered
            selector.unregister(worker)
            self._take_outcome(handout, worker)
        if not ready:
            now = time.monotonic()
            for worker in [one for one in handout.running if one.deadline(self._timeout_seconds) <= now]:
                selector.unregister(worker)
                self._lose(worker)
                how = f"took more than {self._timeout_seconds:g} s over a step, and was killed"
                handout.bury(worker, how, worker.n_started)

    def _take_outcome(self, handout: Handout[WorkerProcess], worker: WorkerProcess) -> None:
        try:
            outcome = worker.take()
        except EOFError:
            handout.bury(worker, self._lose(worker), worker.n_started)
            return
        try:
            handout.accept(worker, outcome)
        except BaseException:
            worker.forget_parts()
            raise

    def _lose(self, worker: WorkerProcess) -> str:
        if worker in self._workers:  # an interrupt may have struck when it had been taken out
            self._workers.remove(worker)
        return worker.kill()


def _kill(workers: list[WorkerProcess]) -> None:
    for worker in workers:
        worker.kill()
