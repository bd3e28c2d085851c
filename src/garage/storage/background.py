"""Writing while training goes on: captures go in, digests, rows and snapshots are made by two threads.

The first enters every epoch in order: its digest and its row of metrics. The second writes snapshots and waits for
the disk. One snapshot is being written and one may wait; if the mode keeps only the newest, a newer one takes the
place of the one that waits, else training waits. What has failed is raised at the next call, and nothing is written
after it; what is only warned of leaves out the snapshot of its own epoch.
"""

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from garage.errors import WriteError
from garage.storage.writer import Capture, Entry, RunWriter

logger = logging.getLogger(__name__)

_MOST_ENTERING = 2
_REPLACING_MODES = {"last", "gap_overwrite"}


@dataclass(frozen=True)
class _Job:
    """One epoch on its way to the disk."""

    capture: Capture
    is_saved: bool
    requested: bool
    is_last: bool
    stall_seconds: float


class BackgroundWriter:
    """Writes what it is given, in threads that end with its ``with`` block.

    Args:
        writer: open, and nobody else's until the block has ended.
        on_error: ``"raise"``, or ``"warn"`` to log what the disk refused and go on.
    """

    def __init__(self, writer: RunWriter, *, on_error: str = "raise") -> None:
        self._writer, self._warns = writer, on_error == "warn"
        self.retention = writer.retention
        # Where the best is kept, any of them may turn out to be it.
        self._replaces = self.retention.mode in _REPLACING_MODES and self.retention.keep_best is None
        self._lock = threading.RLock()
        # Three, so that nobody is woken for nothing: a thread that wakes takes the interpreter from training.
        self._has_job, self._has_snapshot, self._has_moved = (threading.Condition(self._lock) for _ in range(3))
        self._to_enter: deque[_Job] = deque()
        self._to_write: tuple[_Job, Entry] | None = None
        self._n_busy = 0
        self._closing = self._is_abandoned = False
        self._error: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._repeat, args=(step,), name=f"garage {name}", daemon=True)
            for name, step in (("rows", self._enter_next), ("snapshots", self._write_next))
        ]

    def __enter__(self) -> Self:
        """Start the threads."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Wait until everything is written, and end the threads.

        Raises:
            StorageError: something could not be written. If the block ends by another error, that is noted on it.
        """
        try:
            self._wait_for(self._is_idle)
        except BaseException:
            self.abandon()
            raise
        finally:
            with self._lock:
                self._closing = True
                self._has_job.notify_all()
                self._has_snapshot.notify_all()
            for thread in self._threads:
                thread.join()
        if error is None:
            self._raise_failure()
        elif self._error is not None and self._error is not error:
            error.add_note(f"Writing in the background had failed too: {self._error}")

    def submit(
        self,
        capture: Capture,
        *,
        is_saved: bool = True,
        requested: bool = False,
        is_last: bool = False,
        stall_seconds: float = 0.0,
    ) -> None:
        """Take one epoch, and return when it is on its way.

        Args:
            capture: the epoch; nobody may change its arrays any more.
            is_saved: whether there is to be a snapshot, or the row alone.
            requested: whether its snapshot is written in every mode, and never replaced by a newer one.
            is_last: whether no other follows, so that it need not take another's place and the newest two are kept.
            stall_seconds: what training has waited for the capture, for the record.

        Raises:
            StorageError: an earlier one could not be written.
        """
        self._wait_for(lambda: len(self._to_enter) < _MOST_ENTERING or self._error is not None)
        self._raise_failure()
        with self._lock:
            self._to_enter.append(_Job(capture, is_saved or requested, requested, is_last, stall_seconds))
            self._has_job.notify()

    def drain(self) -> None:
        """Wait until everything is on the disk.

        Raises:
            StorageError: something could not be written.
        """
        self._wait_for(self._is_idle)
        self._raise_failure()

    def abandon(self) -> None:
        """Forget what waits for the disk. What is being written at this moment is finished, and nothing after it."""
        with self._lock:
            self._is_abandoned = True
            self._to_enter.clear()
            self._to_write = None
            self._has_moved.notify_all()

    def _repeat(self, step: Callable[[], bool]) -> None:
        while True:
            try:
                if not step():
                    return
            except BaseException as error:  # noqa: BLE001 - it is raised where training sees it
                self._error = self._error or error
            with self._lock:
                self._n_busy -= 1
                self._has_moved.notify_all()

    def _enter_next(self) -> bool:
        """Enter one epoch; False at the end."""
        with self._lock:
            self._has_job.wait_for(lambda: self._to_enter or self._closing)
            if not self._to_enter:
                return False
            self._n_busy += 1
            job = self._to_enter.popleft()
            self._has_moved.notify_all()
        if self._error is not None or self._is_abandoned:  # nothing may be entered after what is missing
            return True
        with self._or_warn(job):
            entry = self._writer.enter(job.capture)
            if not job.is_saved:
                return True
            with self._lock:
                self._has_moved.wait_for(lambda: self._may_wait(job))
                self._to_write = None if self._is_abandoned else (job, entry)
                self._has_snapshot.notify()
        return True

    def _write_next(self) -> bool:
        """Write one snapshot; False at the end."""
        with self._lock:
            self._has_snapshot.wait_for(lambda: self._to_write is not None or self._closing)
            if self._to_write is None:
                return False
            self._n_busy += 1
            (job, entry), self._to_write = self._to_write, None
            self._has_moved.notify_all()
        if self._error is None:
            with self._or_warn(job):
                self._writer.snapshot(job.capture, entry, requested=job.requested, stall_seconds=job.stall_seconds)
        return True

    @contextlib.contextmanager
    def _or_warn(self, job: _Job) -> Iterator[None]:
        """Log what the disk refuses, if that is asked for. A row that it refuses is appended with the next one."""
        try:
            yield
        except WriteError as error:
            if not self._warns:
                raise
            epoch = job.capture.epoch
            logger.warning("Epoch %d may be without its snapshot: %s Training goes on all the same", epoch, error)

    def _may_wait(self, job: _Job) -> bool:
        """Whether a snapshot may take the one place."""
        return self._to_write is None or (self._replaces and not self._to_write[0].requested and not job.is_last)

    def _is_idle(self) -> bool:
        return not self._to_enter and self._to_write is None and self._n_busy == 0

    def _wait_for(self, condition: Callable[[], bool]) -> None:
        with self._lock:
            self._has_moved.wait_for(condition)

    def _raise_failure(self) -> None:
        if self._error is not None:
            raise self._error
