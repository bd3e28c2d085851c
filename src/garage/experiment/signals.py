"""Signals that ask a training to stop: the present epoch is finished or dropped, and what is finished is saved.

Handlers run in the main thread, between two steps of the interpreter; what a library computes outside of it, such as
one long product of matrices, delays them. Design: ``docs/design/0008-signals.md``.
"""

import contextlib
import logging
import math
import os
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn, Self

from garage.errors import ArgumentError, Preempted

logger = logging.getLogger(__name__)

GRACE_SECONDS = 20.0
"""An epoch that needs longer is not waited for; ``GARAGE_GRACE_SECONDS`` in the environment overrules it."""
EXIT_CODE = 75
"""Of a process that was asked to stop, EX_TEMPFAIL: try again; ``GARAGE_PREEMPTED_EXIT_CODE`` overrules it."""

_ASKING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_MOST_CODE = 255
_EPOCHS_REMEMBERED = 3


@dataclass(frozen=True)
class Dropped:
    """An epoch that was not finished.

    Attributes:
        epoch: which.
        seconds: how long it had been computed.
        error: what it failed with after the signal, such as the end of a process that the signal ended too.
    """

    epoch: int
    seconds: float
    error: str = ""


class Signals:
    """Takes SIGINT, SIGTERM, SIGUSR1 and SIGUSR2 within a ``with`` block, if that is entered in the main thread.

    The first one is only noted, unless an epoch is being computed that needs longer than the grace period: then it
    raises `stop` there, and so it does when an epoch that was thought to be short has used the grace period up. The
    second one raises `stop` wherever training is, from the third one on each does what it did before the block. If
    the block ends well all the same, leaving it raises `stop`.

    A signal that is ignored, or that has a handler of the user's own, is left alone. Of the processes that the block
    forks, SIGTERM ends each; the others are for their parent to answer.

    Args:
        expected_seconds: of an epoch, from an earlier training; None if there was none.

    Raises:
        ArgumentError: ``GARAGE_GRACE_SECONDS`` or ``GARAGE_PREEMPTED_EXIT_CODE`` is set to something else.
    """

    def __init__(self, expected_seconds: float | None = None) -> None:
        self._grace_seconds, self._code = _grace_seconds(), _exit_code()
        self._seconds = deque([] if expected_seconds is None else [expected_seconds], maxlen=_EPOCHS_REMEMBERED)
        self._before: dict[signal.Signals, signal._HANDLER] = {}
        self._pid, self._thread = os.getpid(), threading.get_ident()
        self._n_received = 0
        self._begun: float | None = None
        self._epoch = -1
        self._is_overdue = self._may_raise = False
        self._watch: queue.SimpleQueue[float | None] = queue.SimpleQueue()
        self._watching = threading.Thread(target=self._wait, name="garage grace", daemon=True)
        self.name = ""
        self.stop: BaseException = KeyboardInterrupt()
        self.dropped: Dropped | None = None

    def __enter__(self) -> Self:
        """Take them."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, *_ASKING):
                before = signal.getsignal(number)
                ours = isinstance(before, _AtOnce)
                if ours or before == signal.SIG_DFL or before == signal.default_int_handler:  # noqa: PLR1714 - a handler of the user's need not be hashable
                    self._before[number] = before
                    signal.signal(number, self._take)
        if self._before:
            self._watching.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Leave them as they were."""
        self._watch.put(None)
        if self._before:
            self._watching.join()  # first, for it must not interrupt anybody else
        for number, before in self._before.items():
            signal.signal(number, before)
        if kind is None:
            self.check()

    @property
    def received(self) -> bool:
        """Whether training is to stop."""
        return self._n_received > 0

    @property
    def again(self) -> bool:
        """Whether it is to stop at once."""
        return self._n_received > 1

    def check(self) -> None:
        """Raise `stop` if training is to stop."""
        if self.received:
            raise self.stop

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """While it lasts, the second signal raises."""
        self._may_raise = True
        try:
            yield
        finally:
            self._may_raise = False

    @contextlib.contextmanager
    def computing(self, epoch: int) -> Iterator[None]:
        """While it lasts, the state is of no epoch; if it does not end well after a signal, the epoch is dropped.

        Raises:
            BaseException: `stop`, whatever became of it on its way up.
        """
        begun = self._begun = time.perf_counter()
        self._epoch = epoch
        try:
            yield
        except GeneratorExit:  # the second signal struck while the block was being left: it has raised already
            raise
        except BaseException as error:
            if not self.received or error is self.stop:
                raise
            self.dropped = Dropped(epoch, time.perf_counter() - begun, repr(error))
            raise self.stop from error
        else:
            if self.dropped is not None:  # but somebody has swallowed it
                raise self.stop
        finally:
            self._begun = None
        self._seconds.append(time.perf_counter() - begun)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            if number == signal.SIGTERM:
                raise Preempted(signal.Signals(number).name, self._code)
            return
        if self._is_overdue:
            self._is_overdue = False
            if self._begun is None or self.again:
                return
            self._stop_here()
        self._n_received += 1
        if not self.again:
            self._note(signal.Signals(number))
        elif self._n_received == 2:  # noqa: PLR2004 - the second
            if self._may_raise:
                self._stop_here()
        else:
            before = self._before[signal.Signals(number)]
            signal.signal(number, before)
            if callable(before):
                before(number, frame)
            else:
                os.kill(self._pid, number)

    def _note(self, number: signal.Signals) -> None:
        """Take the first one."""
        self.name = number.name
        if number != signal.SIGINT:
            self.stop = Preempted(number.name, self._code)
        if self._begun is None:
            return
        if self._remaining(time.perf_counter() - self._begun) > self._grace_seconds:
            self._stop_here()
        self._watch.put(self._grace_seconds)

    def _stop_here(self) -> NoReturn:
        """Raise `stop`. That an epoch is dropped is noted first, for the next signal may strike on the way up."""
        if self._begun is not None and self.dropped is None:
            self.dropped = Dropped(self._epoch, time.perf_counter() - self._begun)
        raise self.stop

    def _remaining(self, elapsed: float) -> float:
        """Seconds that the epoch still needs: as long as the longest of the last ones, or as long again as it took."""
        expected = max(self._seconds, default=math.inf)
        return expected - elapsed if elapsed < expected else elapsed

    def _wait(self) -> None:
        """Wait for the grace period to begin and then to end. In a thread of its own."""
        seconds = self._watch.get()
        if seconds is None:
            return
        try:
            self._watch.get(timeout=seconds)
        except queue.Empty:
            self._is_overdue = True
            signal.pthread_kill(self._thread, signal.Signals[self.name])  # for it may be waiting for something


class _AtOnce:
    """A handler that raises, and remembers it."""

    def __init__(self) -> None:
        self.stop: Preempted | None = None
        self._code = _exit_code()

    def __call__(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - what a handler is called with
        self.stop = Preempted(signal.Signals(number).name, self._code)
        raise self.stop


@contextlib.contextmanager
def answered() -> Iterator[None]:
    """While it lasts, a signal outside of training ends the process as one within does: with its exit code.

    Raises:
        ArgumentError: ``GARAGE_PREEMPTED_EXIT_CODE`` is no exit code.
        Preempted: SIGTERM, SIGUSR1 or SIGUSR2 came, and nobody had taken it before.
    """
    handler = _AtOnce()
    taken = []
    if threading.current_thread() is threading.main_thread():
        taken = [number for number in _ASKING if signal.getsignal(number) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, handler)
    try:
        yield
    except Preempted as stop:
        if stop is handler.stop:
            logger.info("Stopped by %s outside of training, so no epoch is lost. Start it again", stop.signal_name)
        raise
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _grace_seconds() -> float:
    text = os.environ.get("GARAGE_GRACE_SECONDS")
    if text is None:
        return GRACE_SECONDS
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0.0:  # so that NaN is refused too
        msg = f"GARAGE_GRACE_SECONDS is {text!r}; expected seconds of at least 0, such as 20. Mend or unset it."
        raise ArgumentError(msg)
    return seconds


def _exit_code() -> int:
    text = os.environ.get("GARAGE_PREEMPTED_EXIT_CODE", str(EXIT_CODE))
    if not (text.isdecimal() and text.isascii() and 1 <= int(text) <= _MOST_CODE):
        msg = f"GARAGE_PREEMPTED_EXIT_CODE is {text!r}; expected 1 to 255, such as 75 or 143. Mend or unset it."
        raise ArgumentError(msg)
    return int(text)
