"""progress.csv: the rows of metrics.jsonl for people and other tools; derived, and rewritten at every start."""

import contextlib
import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from garage.errors import WriteError
from garage.recording.metric_tables import as_csv, columns_of
from garage.recording.whole_files import appearing


class ProgressTable:
    """A CSV file with one row an epoch; a column that appears late is empty before.

    Args:
        path: of the file.
        x_axis: the column that follows ``epoch``; the others are sorted.
        rows: of the epochs so far.

    Raises:
        WriteError: the disk refused; also from `record`.
    """

    def __init__(self, path: Path, x_axis: str, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        self._path, self._x_axis = path, x_axis
        self._columns: list[str] = []
        with self._refusals():
            self._rewrite([dict(row) for row in rows])

    def record(self, epoch: int, metrics: Mapping[str, Any]) -> None:
        """Append the row of an epoch."""
        row = {"epoch": epoch, **metrics}
        row.pop("digest", None)
        with self._refusals():
            if not row.keys() <= set(self._columns):
                with self._path.open(newline="", encoding="utf-8") as file:
                    self._rewrite([*csv.DictReader(file), row])
                return
            with self._path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self._columns).writerow(row)

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            msg = (
                f"Cannot write {self._path}: {error.strerror or error}. Its rows are in metrics.jsonl too, and the "
                "next start writes it anew from there. Free or mend the disk, then continue the run."
            )
            raise WriteError(msg) from error

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        self._columns = columns_of(rows, self._x_axis)
        with appearing(self._path) as unfinished:
            unfinished.write_bytes(as_csv(rows, self._x_axis))
