"""One line about a run: how far it got and what became of it. Loads no NumPy, and reads as little as it can."""

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from garage.cli.terminal import echo
from garage.errors import StorageError
from garage.storage import manifest as manifests
from garage.storage.disk import UNFINISHED
from garage.storage.files import from_json, open_file
from garage.storage.lock import Owner, holder_of
from garage.storage.manifest import Manifest
from garage.storage.run_directory import RunDirectory, content

RETURN = "Evaluation/AverageReturn"

_MILESTONES = ("start", "resume", "rewind", "failed", "finished")
_TAIL_BYTES = 64 << 10
_NOT_RUNS = ("packs", "snapshots")


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One line about a run."""

    path: str
    name: str
    state: str
    """``running``, ``finished``, ``stopped``, ``failed``, ``empty`` (no snapshot) or ``damaged``."""
    epoch: int | None
    """The newest one; of a run that stands still, that of its newest snapshot."""
    n_epochs: int | None
    average_return: float | None
    """Of that epoch; NaN where no episode ended."""
    updated_at: str | None
    """When something happened to it last."""
    holder: Owner | None
    """The process that is writing to it."""
    problems: list[str]
    """What could not be read."""


class _History(msgspec.Struct):
    """What events.jsonl says."""

    updated_at: str | None = None
    milestone: dict[str, Any] = {}
    """The last event that is no snapshot."""
    n_epochs: int | None = None
    """What the last start or resume asked for."""
    rewound: bool = False


def runs_below(root: Path, on_error: Callable[[OSError], None]) -> Iterator[Path]:
    """The directories at or below ``root`` that hold a run.json, each once; symbolic links are followed.

    Args:
        root: where to begin.
        on_error: is told of each directory that cannot be looked into.
    """
    seen = set()
    for folder, folders, files in os.walk(root, onerror=on_error, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(UNFINISHED)]
        if "run.json" in files:
            yield Path(folder)
            folders[:] = [name for name in folders if name not in _NOT_RUNS]


def say_unreadable(error: OSError) -> None:
    """Tell the user of a directory that cannot be looked into."""
    if not isinstance(error, FileNotFoundError):
        echo(f"Cannot look into {error.filename}: {error.strerror}.", err=True)


def summarise(path: Path) -> RunSummary:
    """One line about the run in ``path``. What is damaged is reported in it, not raised."""
    directory = RunDirectory(path)
    problems: list[str] = []
    name, updated_at, holder, history, newest = path.name, None, None, _History(), None
    try:
        info = directory.info()
        name, updated_at = info.name, info.created_at
    except StorageError as error:
        problems.append(str(error))
    try:
        holder = holder_of(directory.lock_path)
        history = _history(directory.events_path)
        newest = _newest_snapshot(directory, directory.abandoned() if history.rewound else set(), problems)
    except (StorageError, ValueError) as error:
        problems.append(str(error))
    state = _state(history, newest, is_held=holder is not None, is_damaged=bool(problems))
    epoch, metrics = (None, {}) if newest is None else (newest.epoch, newest.metrics)
    n_epochs = history.n_epochs or (None if newest is None else _count(newest.train_args.get("n_epochs")))
    if state == "stopped" and epoch is not None and n_epochs is not None and epoch + 1 >= n_epochs:
        state = "finished"  # it was ended between its last epoch and the event that says so
    if state in {"running", "finished"}:
        row = _last_row(directory.metrics_path)
        row_epoch = _count(row.get("epoch"))
        if row_epoch is not None and row_epoch > (-1 if epoch is None else epoch):
            epoch, metrics = row_epoch, row
    return RunSummary(
        path=str(path),
        name=name,
        state=state,
        epoch=epoch,
        n_epochs=n_epochs,
        average_return=_number(metrics.get(RETURN)),
        updated_at=history.updated_at or updated_at,
        holder=holder,
        problems=problems,
    )


def _state(history: _History, newest: Manifest | None, *, is_held: bool, is_damaged: bool) -> str:
    milestone = history.milestone.get("event")
    interrupted = str(history.milestone.get("error", "")).startswith("KeyboardInterrupt")
    if is_held:
        return "running"
    if is_damaged:
        return "damaged"
    if milestone == "finished" or (milestone == "failed" and not interrupted):
        return str(milestone)
    return "empty" if newest is None else "stopped"


def _history(path: Path) -> _History:
    """Read events.jsonl from its end, decoding few of its lines."""
    history = _History()
    data = content(path)
    history.rewound = b'{"event":"rewind"' in data
    for line in reversed(data.split(b"\n")[:-1]):
        if history.updated_at is not None and line.startswith(b'{"event":"snapshot"'):
            continue
        event = from_json(line, dict[str, Any])
        at = event.get("at")
        history.updated_at = history.updated_at or (at if isinstance(at, str) else None)
        if not history.milestone and event.get("event") in _MILESTONES:
            history.milestone = event
        if event.get("event") in ("start", "resume"):
            history.n_epochs = _count(event.get("n_epochs"))
            break
    return history


def _newest_snapshot(directory: RunDirectory, abandoned: set[str], problems: list[str]) -> Manifest | None:
    for epoch in reversed(directory.manifest_epochs()):
        try:
            manifest = manifests.read(directory.manifest_path(epoch))
        except StorageError as error:
            problems.append(str(error))
            continue
        if manifest.checksum not in abandoned:
            return manifest
    return None


def _last_row(path: Path) -> dict[str, Any]:
    """The last whole line of metrics.jsonl; nothing if it cannot be read, which ``garage verify`` reports."""
    try:
        with open_file(path) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().split(b"\n")[:-1]
        return from_json(lines[-1], dict[str, Any]) if lines else {}
    except (OSError, ValueError):
        return {}


def _number(value: object) -> float | None:
    """A metric as a number; the strings that stand for what JSON lacks are NaN here."""
    if value is None:
        return None
    try:
        return float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:
        return math.nan


def _count(value: object) -> int | None:
    """A number of epochs; None for what is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None
