"""Ctrl-C while training: the epoch is finished and saved first, if that does not take long."""

import math
import os
import signal
import threading
import time
from types import FrameType
from typing import Self

from garage.errors import ArgumentError

GRACE_SECONDS = 20.0
"""An epoch that takes longer is not waited for; ``GARAGE_GRACE_SECONDS`` in the environment overrules it."""


class Interrupts:
    """Takes Ctrl-C within a ``with`` block, if that is entered in the main thread.

    The first one is remembered if the last epoch took no longer than the grace period, so that the present one can be
    finished; otherwise, and the second time, it interrupts at once. What Ctrl-C did before is put back at the end.

    Raises:
        ArgumentError: ``GARAGE_GRACE_SECONDS`` is set to no number of seconds.
    """

    def __init__(self) -> None:
        self._grace_seconds = _grace_seconds()
        self._epoch_seconds: float | None = None
        self._begun = time.perf_counter()
        self._requested = False
        self._before: signal._HANDLER = None

    def __enter__(self) -> Self:
        """Take Ctrl-C."""
        self._begun = time.perf_counter()
        if threading.current_thread() is threading.main_thread():
            before = signal.getsignal(signal.SIGINT)
            if callable(before):  # a process that ignores Ctrl-C, as one in the background does, goes on ignoring it
                self._before = before
                signal.signal(signal.SIGINT, self._take)
        return self

    def __exit__(self, *error: object) -> None:
        """Leave Ctrl-C as it was."""
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    @property
    def requested(self) -> bool:
        """Whether training is to stop after this epoch."""
        return self._requested

    def epoch_ended(self) -> None:
        """Take the time of the epoch that has ended."""
        now = time.perf_counter()
        self._epoch_seconds, self._begun = now - self._begun, now

    def _take(self, number: int, frame: FrameType | None) -> None:
        if not self._requested and self._epoch_seconds is not None and self._epoch_seconds <= self._grace_seconds:
            self._requested = True
        elif callable(self._before):
            self._before(number, frame)


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
