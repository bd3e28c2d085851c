"""The lines of an experiment: ``2026-06-26 13:42:00 | epoch #10 | message``, on the console and in debug.log.

Everything below the trainer logs by the standard library under the name ``garage``; handlers, time and prefix
are added here for as long as an experiment runs, and taken away again however it ends.
"""

import contextlib
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, final

from garage.errors import WriteError
from garage.recording.status_line import StatusLine, can_show

logger = logging.getLogger(__name__)

_ROOT = logging.getLogger("garage")
_prefix: ContextVar[str] = ContextVar("garage_prefix", default="")


class _LineFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s | %(prefix)s%(message)s", "%Y-%m-%d %H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        if getattr(record, "plain", False):
            return record.getMessage()
        record.prefix = _prefix.get()
        return super().format(record)


class _Stdout(logging.StreamHandler[Any]):
    """Writes to whatever ``sys.stdout`` is at the time."""

    def __init__(self) -> None:
        super().__init__(sys.stdout)
        self.status_line: StatusLine | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stdout
        super().emit(record)
        if self.status_line is not None:
            self.status_line.draw()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library's name
        """Whoever read the console may leave; training goes on without telling the closed pipe about it."""
        if not isinstance(sys.exc_info()[1], BrokenPipeError):
            super().handleError(record)


@final
class _LogFile(logging.FileHandler):
    """A log that the disk may refuse: that is said once, elsewhere, and nothing else comes of it.

    Raises:
        WriteError: the operating system refuses to open it.
    """

    def __init__(self, path: Path) -> None:
        try:
            super().__init__(path, encoding="utf-8")
        except OSError as error:
            msg = f"Cannot write {path}: {error.strerror or error}. Free or mend the disk, then start again."
            raise WriteError(msg) from error
        self._path, self._is_refused = path, False
        # What is said below is in no file: two that are refused at once would wait for each other.
        self.addFilter(lambda record: record.name != __name__)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library's name
        """Lines that do not reach the disk are lost; the run's numbers and snapshots are no part of them."""
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            self.say_refused(error)
        else:
            super().handleError(record)

    def say_refused(self, error: OSError) -> None:
        """Say once that lines are missing."""
        if not self._is_refused:
            self._is_refused = True
            logger.warning("Cannot write %s: %s. Lines will be missing there", self._path, error.strerror or error)


_attached: ContextVar[_Stdout | None] = ContextVar("garage_console", default=None)


@contextlib.contextmanager
def console(*, quiet: bool = False) -> Iterator[None]:
    """Show the experiment's lines on the console; inside another such block, they are not shown twice.

    Args:
        quiet: show warnings and errors alone, here and in the blocks inside.
    """
    attached = _attached.get()
    handler = attached or _Stdout()
    level = handler.level
    if quiet:
        handler.setLevel(logging.WARNING)
    token = _attached.set(handler)
    try:
        with contextlib.nullcontext() if attached else _handler(handler):
            yield
    finally:
        _attached.reset(token)
        handler.setLevel(level)


@contextlib.contextmanager
def status_line(parts: Callable[[], Sequence[str]]) -> Iterator[None]:
    """Show a line below the log while it lasts, if the log is shown on a terminal; see `StatusLine`."""
    handler = _attached.get()
    if handler is None or handler.level > logging.INFO or not can_show(sys.stdout):
        yield
        return
    with StatusLine(parts) as line:
        handler.status_line = line
        try:
            yield
        finally:
            handler.status_line = None


@contextlib.contextmanager
def debug_log(path: Path) -> Iterator[None]:
    """Append the experiment's lines to ``path`` too, unless that is being done already.

    If the disk refuses lines, the console says so once, and they are lost.

    Raises:
        WriteError: the operating system refuses to open the file.
    """
    absolute = os.path.abspath(path)  # noqa: PTH100 - what FileHandler makes of it, ".." removed
    if any(isinstance(handler, logging.FileHandler) and handler.baseFilename == absolute for handler in _ROOT.handlers):
        yield
        return
    handler = _LogFile(path)
    try:
        with _handler(handler):
            yield
    finally:
        try:
            handler.close()
        except OSError as error:  # must not take the place of what is being raised
            handler.say_refused(error)


@contextlib.contextmanager
def epoch_prefix(epoch: int) -> Iterator[None]:
    """Put ``epoch #N | `` in front of every line."""
    token = _prefix.set(f"epoch #{epoch} | ")
    try:
        yield
    finally:
        _prefix.reset(token)


def show_plain(text: str) -> None:
    """Show text without time or prefix, such as the table of an epoch."""
    _ROOT.info("%s", text, extra={"plain": True})


def table_of(metrics: Mapping[str, Any]) -> str:
    """Metrics as a table of two columns, sorted by key: floats to six digits, all with their points in one column."""
    names = sorted(metrics)
    numbers = [f"{metrics[name]:g}" if isinstance(metrics[name], float) else str(metrics[name]) for name in names]
    points = [len(re.split("[.e]", number)[0]) for number in numbers]  # where each has its own, or would have it
    numbers = [" " * (max(points) - point) + number for number, point in zip(numbers, points, strict=True)]
    width = max(map(len, names))
    rule = f"{'-' * width}  {'-' * max(map(len, numbers))}"
    rows = (f"{name:{width}}  {number}" for name, number in zip(names, numbers, strict=True))
    return "\n".join([rule, *rows, rule])


@contextlib.contextmanager
def _handler(handler: logging.Handler) -> Iterator[None]:
    handler.setFormatter(_LineFormatter())
    level = _ROOT.level
    _ROOT.addHandler(handler)
    _ROOT.setLevel(logging.INFO)
    try:
        yield
    finally:
        _ROOT.removeHandler(handler)
        _ROOT.setLevel(level)
