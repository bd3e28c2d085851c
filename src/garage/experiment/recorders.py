"""Where the metrics of a run go besides metrics.jsonl: what is derived from it, and made anew of it at every start."""

from collections.abc import Mapping
from typing import Any

from garage.recording.progress_table import ProgressTable
from garage.recording.tensorboard import TensorBoardEvents
from garage.storage.metric_rows import save_times
from garage.storage.writer import RunWriter


class Recorders:
    """The table of a run and, if it wants them, its events for TensorBoard; brought to the rows so far.

    Args:
        writer: of the run.

    Raises:
        DependencyError: a package is missing.
        ArgumentError: the run's x axis cannot be drawn over; also from `record`.
        WriteError: the disk refused; also from `record` and `close`.
    """

    def __init__(self, writer: RunWriter) -> None:
        rows, x_axis, directory = writer.rows(), writer.info.x_axis, writer.directory
        self._table = ProgressTable(directory.table_path, x_axis, rows)
        self._events: TensorBoardEvents | None = None
        if writer.info.tensorboard:
            self._events = TensorBoardEvents(directory.path, x_axis, rows, save_times(directory))

    def record(self, epoch: int, metrics: Mapping[str, Any]) -> None:
        """Take the row of one epoch."""
        self._table.record(epoch, metrics)
        if self._events is not None:
            self._events.record(epoch, metrics)

    def close(self) -> None:
        """Write out what is waiting."""
        if self._events is not None:
            self._events.close()
