"""One line below the log of a terminal that says how far a training is; it goes before anything else is printed.

It is drawn by the escape sequences that every terminal of today knows: carriage return, and ``ESC [ K``, which clears
from there to the end of the line.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Self, TextIO

_CLEAR = "\r\x1b[K"
_FAINT, _NORMAL = "\x1b[2m", "\x1b[m"
_TICK_SECONDS = 0.5
_SHORTEST_SECONDS = 0.05
"""Between two drawings: lines of the log may come by the thousand, and nobody reads so fast."""
_ASSUMED_COLUMNS = 80


def can_show(stream: TextIO) -> bool:
    """Whether a stream leads to a terminal that knows how to clear a line."""
    return stream.isatty() and os.environ.get("TERM", "dumb") not in {"", "dumb"}


class StatusLine:
    """A line that is there within a ``with`` block, as long as ``sys.stdout`` leads to the terminal it began on.

    A thread draws it anew twice a second, so that what it says of time is true in a long epoch too.

    Args:
        parts: gives what the line says, the most important part first; what the terminal is too narrow for is left
            out. It is called in that thread too.
    """

    def __init__(self, parts: Callable[[], Sequence[str]]) -> None:
        self._parts = parts
        self._streams = (sys.stdout, sys.stderr)
        self._guards = (_Guarded(sys.stdout, self), _Guarded(sys.stderr, self))
        self._guards_errors = sys.stderr.isatty()
        self._format = "{}" if os.environ.get("NO_COLOR") else f"{_FAINT}{{}}{_NORMAL}"
        self._pid = os.getpid()
        self._lock = threading.RLock()  # reentrant, for a signal's handler may print in the middle of a drawing
        self._drawn, self._drawn_at = "", 0.0
        self._is_at_start, self._is_gone = True, False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="garage status", daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        sys.stdout = self._guards[0]
        if self._guards_errors:
            sys.stderr = self._guards[1]
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Clear the line, and leave the streams as they were."""
        self._ended.set()
        self._thread.join()
        self._clear()
        if sys.stdout is self._guards[0]:
            sys.stdout = self._streams[0]
        if sys.stderr is self._guards[1]:
            sys.stderr = self._streams[1]

    def draw(self) -> None:
        """Show what is to be said now, unless it was shown a moment ago."""
        if time.monotonic() - self._drawn_at >= _SHORTEST_SECONDS:
            self._draw()

    def write(self, stream: TextIO, text: str) -> int:
        """Write to the terminal, where the line may be."""
        if os.getpid() != self._pid:  # forked, maybe while another thread held the lock
            return stream.write(text)
        with self._lock:
            if self._drawn:
                self._clear()
            written = stream.write(text)
            if text:
                self._is_at_start = text.endswith("\n")
            return written

    def _tick(self) -> None:
        while not self._ended.wait(_TICK_SECONDS):
            self._draw()

    def _draw(self) -> None:
        with self._lock:
            if sys.stdout is not self._guards[0]:  # somebody redirects it
                self._clear()
            elif self._is_at_start and not self._is_gone and self._is_in_foreground():
                line = _fitting(self._parts(), self._columns())
                if line != self._drawn:
                    self._drawn = line
                    self._print(_CLEAR + self._format.format(line))
                self._drawn_at = time.monotonic()

    def _clear(self) -> None:
        with self._lock:
            if self._drawn:
                self._drawn = ""
                self._print(_CLEAR)

    def _print(self, text: str) -> None:
        try:
            self._streams[0].write(text)
            self._streams[0].flush()
        except OSError:  # the window was closed, which is no reason to stop: lines of the log say so to whoever writes
            self._is_gone = True

    def _columns(self) -> int:
        """Of the terminal, which may have been resized."""
        try:
            return os.get_terminal_size(self._streams[0].fileno()).columns or _ASSUMED_COLUMNS
        except OSError:
            return _ASSUMED_COLUMNS

    def _is_in_foreground(self) -> bool:
        """Whether the terminal is ours at the moment: after Ctrl-Z and ``bg`` the shell writes there."""
        try:
            return os.tcgetpgrp(self._streams[0].fileno()) == os.getpgrp()
        except OSError:  # it is not the terminal that controls this process, so no shell takes it away
            return True


class _Guarded:
    """A stream that leads to the terminal of a status line: what is written to it takes the line's place."""

    def __init__(self, stream: TextIO, line: StatusLine) -> None:
        self._stream, self._line = stream, line

    def write(self, text: str) -> int:
        return self._line.write(self._stream, text)

    def writelines(self, lines: Sequence[str]) -> None:
        self.write("".join(lines))

    def flush(self) -> None:
        self._stream.flush()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the stream has
        return getattr(self._stream, name)


def _fitting(parts: Sequence[str], columns: int) -> str:
    """As many of the parts as fit before the last column, where terminals would begin a new line."""
    for n in range(len(parts), 0, -1):
        line = " | ".join(parts[:n])
        if len(line) < columns:
            return line
    return parts[0][: columns - 1] if parts else ""
