"""A run's metrics as numbers, for whoever draws, tabulates or exports them. Loads no NumPy."""

import contextlib
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from garage.errors import DamagedError
from garage.storage.lineage import history
from garage.storage.run_directory import RunDirectory, whole_lines

_NOT_METRICS = frozenset({"digest"})
_BEYOND_JSON = frozenset({"NaN", "Infinity", "-Infinity"})


def metric_rows(path: Path, until: int | None = None) -> list[dict[str, int | float]]:
    """The rows of metrics.jsonl that count: those that a rewind abandoned are left out, and digests.

    Args:
        path: of the run.
        until: the last epoch that is wanted; None for all.

    Returns:
        One dict an epoch, in the order of the file, with ``epoch`` and the metrics.

    Raises:
        NoSnapshotError: there is no run.
        DamagedError: run.json or a row cannot be read.
        FormatVersionError: the run is of another format version.
    """
    ends = [last for last in (until, history(path).rewound_to) if last is not None]
    metrics_path = RunDirectory(path).metrics_path
    rows = (_numbers(row, metrics_path) for row in whole_lines(metrics_path))
    return [row for row in rows if not ends or row["epoch"] <= min(ends)]


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


def _numbers(row: Mapping[str, Any], path: Path) -> dict[str, int | float]:
    if type(row.get("epoch")) is not int:
        msg = f"{path} is damaged: a row has the epoch {row.get('epoch')!r}, expected a whole number."
        raise DamagedError(msg)
    return {key: _number(value, key, path) for key, value in row.items() if key not in _NOT_METRICS}


def _number(value: object, key: str, path: Path) -> int | float:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
        return value
    if isinstance(value, str) and value in _BEYOND_JSON:
        return float(value)
    msg = f"{path} is damaged: {key!r} is {value!r}, expected a number."
    raise DamagedError(msg)
