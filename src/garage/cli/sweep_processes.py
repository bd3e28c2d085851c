"""Trials at work: each in a process of its own, so many at once, and all stopped in an orderly way."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from garage.experiment.signals import EXIT_CODE, Signals

CHILD = "garage.cli.sweep_child"
STOPPED = EXIT_CODE
"""What a trial exits with that was stopped."""

_LOOK_SECONDS = 0.05
_TAIL_BYTES = 8 << 10
_TAIL_LINES = 20

T = TypeVar("T")


class TrialProcess(Protocol):
    """A trial at work."""

    def poll(self) -> int | None:
        """Its exit status if it has ended, negative for the signal that killed it."""
        ...

    def stop(self) -> None:
        """Ask it to save what is finished and to end; a second time, to drop what is not."""
        ...

    def complaint(self) -> str:
        """The end of what it printed, once it has ended."""
        ...

    def close(self) -> None:
        """Kill what is left of it and of what it has started, and let go of it."""
        ...


def run_all(
    trials: Sequence[T],
    start: Callable[[T], TrialProcess],
    n_at_once: int,
    ended: Callable[[T, int, TrialProcess], None],
) -> None:
    """Run trials, so many at once. One that fails does not stop the others.

    Args:
        trials: in this order.
        start: starts the process of one.
        n_at_once: at most.
        ended: is told of each that has ended, with its exit status.

    Raises:
        Preempted, KeyboardInterrupt: a signal came, and all processes have ended.
    """
    waiting, running = deque(trials), dict[T, TrialProcess]()
    n_stops = 0
    with Signals() as signals:
        try:
            while running or (waiting and not signals.received):
                while waiting and len(running) < n_at_once and not signals.received:
                    trial = waiting.popleft()
                    running[trial] = start(trial)
                while n_stops < signals.received + signals.again:
                    n_stops += 1
                    for process in running.values():
                        process.stop()
                for trial, process in list(running.items()):
                    status = process.poll()
                    if status is not None:
                        ended(trial, status, process)
                        process.close()
                        del running[trial]
                time.sleep(_LOOK_SECONDS)
        finally:
            for process in running.values():
                process.close()


class LocalProcess:
    """A trial at work on this machine.

    Args:
        words: the arguments of ``garage``.
        folder: where it works; None for the present one.
        environment: variables that it has besides those of this process.
    """

    def __init__(
        self, words: Sequence[str], folder: str | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - open until the process has ended
        orders, self._orders = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this Python, with a module of ours
                [sys.executable, "-m", CHILD, str(orders), *words],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**os.environ, **(environment or {}), "GARAGE_PREEMPTED_EXIT_CODE": str(STOPPED)},
                pass_fds=(orders,),
                start_new_session=True,  # so that what it has started can be killed with it
            )
        finally:
            os.close(orders)

    def poll(self) -> int | None:
        """See `TrialProcess`."""
        return self._process.poll()

    def wait(self) -> int:
        """Its exit status, once it has ended."""
        return self._process.wait()

    def stop(self) -> None:
        """See `TrialProcess`."""
        with contextlib.suppress(BrokenPipeError):  # it has just ended
            os.write(self._orders, b"!")

    def complaint(self) -> str:
        """See `TrialProcess`."""
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - _TAIL_BYTES))
        text = self._log.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-_TAIL_LINES:])

    def close(self) -> None:
        """See `TrialProcess`."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._log.close()
        os.close(self._orders)
