"""Where the metrics of a run go besides metrics.jsonl: what is derived from it, and made anew of it at every start."""

import contextlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from garage.recording.progress_table import ProgressTable
from garage.recording.tensorboard import TensorBoardEvents
from garage.storage.run_directory import RunDirectory
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


def save_times(directory: RunDirectory) -> dict[int, float]:
    """When the epochs of a run were saved, in seconds since 1970; those between two snapshots, with the later one."""
    times: dict[int, float] = {}
    for event in directory.events():
        if event.get("event") == "snapshot" and type(event.get("epoch")) is int:
            with contextlib.suppress(KeyError, TypeError, ValueError):
                at = datetime.fromisoformat(event["at"]).timestamp()
                times = {epoch: time for epoch, time in times.items() if epoch < event["epoch"]}
                times[event["epoch"]] = at
    firsts = [0, *(epoch + 1 for epoch in times)]
    return {
        epoch: at for first, (last, at) in zip(firsts, times.items(), strict=False) for epoch in range(first, last + 1)
    }
