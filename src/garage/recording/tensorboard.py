"""A run's metrics as events for TensorBoard.

The file is made anew at every start, of all rows so far, and begins with the mark of a restart at step 0, at which
TensorBoard forgets what it has read in older files. So what a rewind or a crash took back is not seen, also by one that
has been looking since before. Older files are removed by a start that comes an hour later: without TensorFlow,
TensorBoard is lost for good if the file goes that it is reading.
"""

import contextlib
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from garage.errors import ArgumentError, WriteError
from garage.recording.event_file import EventFile

_PREFIX = "events.out.tfevents."
"""Of the names that TensorBoard looks for."""
_OURS = ".garage"
"""At the end of names of ours: a user's own events may lie in the same folder."""
_MOST_STEPS = 1 << 62
_KEPT_SECONDS = 3600.0


class TensorBoardEvents:
    """A file of events with one point of each metric an epoch.

    Args:
        folder: where TensorBoard finds it, made if it is not there.
        x_axis: the metric that curves are drawn over, or ``"epoch"``; whole numbers.
        rows: of the epochs so far.
        times: when they were finished, in seconds since 1970, by epoch; unknown ones count as finished now.

    Raises:
        ArgumentError: the x axis is no metric, or no whole number; also from `record`.
        WriteError: the disk refused; also from `record` and `close`.
    """

    def __init__(
        self,
        folder: Path,
        x_axis: str,
        rows: Iterable[Mapping[str, Any]] = (),
        times: Mapping[int, float] | None = None,
    ) -> None:
        self._x_axis = x_axis
        now, times = time.time(), times or {}
        self._path = folder
        with self._refusals():
            folder.mkdir(parents=True, exist_ok=True)
            older = sorted(folder.glob(f"{_PREFIX}*{_OURS}"))
            # TensorBoard reads files in the order of their names, so this one is the last, whatever the clock says.
            seconds = max([int(now), *(_seconds_of(path) + 1 for path in older)])
            self._path = folder / f"{_PREFIX}{seconds}.{socket.gethostname()}{_OURS}"
            self._file = EventFile(self._path, now)
            try:
                self._file.restart(now, 0)
                for row in rows:
                    self._add_row(row, times.get(row["epoch"], now))
                self._file.flush()
            except BaseException:
                self._file.close()
                self._path.unlink()
                raise
            for path in older:
                if now - path.stat().st_mtime > _KEPT_SECONDS:
                    path.unlink()

    def record(self, epoch: int, metrics: Mapping[str, Any]) -> None:
        """Append the points of an epoch."""
        with self._refusals():
            self._add_row({**metrics, "epoch": epoch}, time.time())
            self._file.flush()

    def close(self) -> None:
        """Write out what is waiting."""
        with self._refusals():
            self._file.close()

    def _add_row(self, row: Mapping[str, Any], at: float) -> None:
        names = sorted(row.keys() - {"epoch", "digest", self._x_axis})
        # NaN and infinity are strings in rows, as JSON has neither.
        self._file.scalars(at, self._step(row), {name: float(row[name]) for name in names})

    def _step(self, row: Mapping[str, Any]) -> int:
        value = row.get(self._x_axis)
        if value is None:
            msg = (
                f"There is no metric {self._x_axis!r} for TensorBoard's x axis; this run has: {', '.join(sorted(row))}."
            )
            raise ArgumentError(msg)
        if not isinstance(value, int | float) or not float(value).is_integer() or abs(value) > _MOST_STEPS:
            msg = (
                f"TensorBoard counts its x axis in whole numbers, but the x_axis {self._x_axis!r} of epoch "
                f"{row['epoch']} is {value}. Take another x_axis, such as 'TotalEnvSteps' or 'epoch'."
            )
            raise ArgumentError(msg)
        return int(value)

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            msg = (
                f"Cannot write {self._path}: {error.strerror or error}. Its points are in metrics.jsonl too, and the "
                "next start writes them anew from there. Free or mend the disk, then continue the run."
            )
            raise WriteError(msg) from error


def _seconds_of(path: Path) -> int:
    """The part of a name by which TensorBoard orders files."""
    seconds = path.name.removeprefix(_PREFIX).partition(".")[0]
    return int(seconds) if seconds.isdecimal() and seconds.isascii() else 0
