"""A run's directory: which file lies where, who the run is, and what happened to it."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from garage.errors import DamagedError, FormatVersionError, NoSnapshotError
from garage.storage.disk import UNFINISHED, Disk
from garage.storage.files import from_json, is_nested, read_file
from garage.storage.manifest import FORMAT, Parent

_MOST_NESTED = 200


class RunInfo(msgspec.Struct, kw_only=True, frozen=True):
    """Who a run is."""

    format: int = FORMAT
    id: str
    name: str
    created_at: str
    target: str | None
    """The experiment function as ``module:function``, or None for a trainer without one."""
    arguments: dict[str, Any]
    """Of the experiment function, as JSON."""
    seed: int | None
    snapshot_mode: str = "last"
    snapshot_gap: int = 1
    snapshot_seconds: float | None = None
    keep_best: str | None = None
    x_axis: str = "TotalEnvSteps"
    tensorboard: bool = False
    parent: Parent | None = None


class RunDirectory:
    """The files of one run.

    Args:
        path: the directory; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def info_path(self) -> Path:
        """Who the run is."""
        return self.path / "run.json"

    @cached_property
    def provenance_path(self) -> Path:
        """What those were started with who wrote here."""
        return self.path / "provenance.json"

    @cached_property
    def events_path(self) -> Path:
        """What happened to it."""
        return self.path / "events.jsonl"

    @cached_property
    def metrics_path(self) -> Path:
        """Its metrics, one object an epoch."""
        return self.path / "metrics.jsonl"

    @cached_property
    def table_path(self) -> Path:
        """The same numbers for people and other tools."""
        return self.path / "progress.csv"

    @cached_property
    def debug_log_path(self) -> Path:
        """What the console said."""
        return self.path / "debug.log"

    @cached_property
    def lock_path(self) -> Path:
        """Who writes here."""
        return self.path / "lock"

    @cached_property
    def snapshots_path(self) -> Path:
        """The manifests."""
        return self.path / "snapshots"

    @cached_property
    def pins_path(self) -> Path:
        """Which snapshots are kept whatever the mode, see `garage.storage.pins`."""
        return self.path / "pins.json"

    @cached_property
    def packs_path(self) -> Path:
        """The chunks."""
        return self.path / "packs"

    def pack_path(self, name: str) -> Path:
        """Where the pack of that name lies."""
        return self.packs_path.joinpath(name[:2], name[2:])

    def manifest_path(self, epoch: int) -> Path:
        """Where the manifest of that epoch lies."""
        return self.snapshots_path / f"{epoch:06d}.json"

    def recipe_paths(self, recipe_hash: str) -> tuple[Path, Path]:
        """Where a recipe may lie: the run's first one, or a later one."""
        return self.path / "recipe", self.path / f"recipe-{recipe_hash[:16]}"

    def manifest_epochs(self) -> list[int]:
        """Epochs that have a manifest, ascending; whether it verifies is not looked at.

        Raises:
            DamagedError: the system refuses to list them.
        """
        try:
            names = os.listdir(self.snapshots_path)  # noqa: PTH208 - paths of thousands of files take milliseconds
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            msg = f"Cannot look into {self.snapshots_path}: {error.strerror}."
            raise DamagedError(msg) from error
        stems = [name[: -len(".json")] for name in names if name.endswith(".json")]
        return sorted({int(stem) for stem in stems if stem.isdecimal() and stem.isascii()})

    def unfinished_paths(self) -> list[Path]:
        """Files that a `Disk` has not finished; runs that lie below this one look after their own."""
        name = f"{UNFINISHED}[0-9]*"
        patterns = (name, f"{self.snapshots_path.name}/{name}", f"{self.packs_path.name}/*/{name}")
        return sorted(path for pattern in patterns for path in self.path.glob(pattern))

    def info(self) -> RunInfo:
        """Who the run is.

        Raises:
            NoSnapshotError: there is no run here.
            DamagedError: run.json cannot be read.
            FormatVersionError: it is of another format version.
        """
        try:
            data = read_file(self.info_path)
        except (FileNotFoundError, NotADirectoryError):
            msg = f"There is no run in {self.path}: it has no run.json. `garage ls` lists the runs below a directory."
            raise NoSnapshotError(msg) from None
        except OSError as error:
            msg = f"Cannot read {self.info_path}: {error.strerror}."
            raise DamagedError(msg) from error
        try:
            raw = from_json(data)
            version = raw.get("format") if isinstance(raw, dict) else None
            if isinstance(version, int) and version not in READERS:
                msg = (
                    f"{self.info_path} has format version {version}; this garage reads version {FORMAT}. "
                    "Use the garage that wrote it, or one that is newer."
                )
                raise FormatVersionError(msg)
            if not is_nested(raw, _MOST_NESTED):
                return (READERS[version] if isinstance(version, int) else _version_1)(raw)
            msg = f"{self.info_path} is damaged: it is nested more than {_MOST_NESTED} times."
            raise DamagedError(msg)
        except ValueError as error:  # also what is not UTF-8
            msg = f"{self.info_path} is damaged: {error}."
            raise DamagedError(msg) from error

    def provenance(self) -> dict[str, Any]:
        """What the newest writer was started with; nothing if that cannot be read, for it is for people."""
        with contextlib.suppress(ValueError, DamagedError):
            found = from_json(content(self.provenance_path))
            if isinstance(found, dict) and not is_nested(found, _MOST_NESTED):
                return found
        return {}

    def write_info(self, info: RunInfo, disk: Disk) -> None:
        """Say who the run is."""
        disk.write_whole(self.info_path, [pretty(info)])

    def add_event(self, event: str, details: Mapping[str, object], disk: Disk, *, sync: bool = False) -> None:
        """Append one event."""
        line = msgspec.json.encode({"event": event, "at": now(), **details}) + b"\n"
        disk.append(self.events_path, line, sync=sync)

    def mend_events(self, disk: Disk) -> None:
        """Make events.jsonl a log that can be appended to, after whatever its last writer's end has left of it.

        A last line without newline is cut, for the next event must not continue it. Lines that are no events, as a
        power cut may leave them, are taken out; the file as it was found is kept beside it.
        """
        data = content(self.events_path)
        *lines, torn = data.split(b"\n")
        whole = [line for line in lines if _event(line) is not None]
        if len(whole) < len(lines):
            kept = b"".join(line + b"\n" for line in whole)
            disk.write_whole(self.path / f"events-damaged-{now().replace(':', '')}.jsonl", [data])
            disk.write_whole(self.events_path, [kept])
            self.add_event("damaged_events", {"bytes": len(data), "kept": len(kept)}, disk)
        elif torn:
            disk.truncate(self.events_path, len(data) - len(torn))

    def events(self) -> Iterator[dict[str, Any]]:
        """All events that can be read; `SnapshotStore.verify` names those that cannot.

        Raises:
            DamagedError: the system refuses to read the file.
        """
        for line in content(self.events_path).split(b"\n")[:-1]:
            event = _event(line)
            if event is not None:
                yield event

    def judgements(self, metric: str) -> dict[int, float]:
        """A metric in the row of each epoch, as far as the rows can be read."""
        found: dict[int, float] = {}
        with contextlib.suppress(DamagedError):  # rows before the damage still judge
            for row in whole_lines(self.metrics_path):
                epoch, value = row.get("epoch"), row.get(metric)
                if isinstance(epoch, int) and isinstance(value, int | float) and not isinstance(value, bool):
                    with contextlib.suppress(OverflowError):  # an integer beyond all floats is no metric of ours
                        found[epoch] = float(value)
        return found

    def abandoned(self) -> set[str]:
        """Checksums of the manifests that a rewind abandoned."""
        return {
            checksum
            for event in self.events()
            if event.get("event") == "rewind" and isinstance(event.get("abandoned"), dict)
            for checksum in event["abandoned"].values()
            if isinstance(checksum, str)
        }


def _version_1(raw: object) -> RunInfo:
    return msgspec.convert(raw, RunInfo)


READERS: dict[int, Callable[[object], RunInfo]] = {1: _version_1}
"""What reads run.json of each format version as that of this version. None is ever removed: see design note 7."""


def _event(line: bytes) -> dict[str, Any] | None:
    """What a line of events.jsonl says; None if it is no event."""
    with contextlib.suppress(ValueError):
        event = from_json(line)
        if isinstance(event, dict):
            return event
    return None


def whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSONL file; a last line without newline is no line.

    Raises:
        DamagedError: a whole line is not a JSON object, or the system refuses to read the file.
    """
    for number, line in enumerate(content(path).split(b"\n")[:-1], start=1):
        try:
            row = from_json(line)
        except ValueError as error:
            msg = f"{path} is damaged in line {number}: {error}."
            raise DamagedError(msg) from error
        if not isinstance(row, dict):
            msg = f"{path} is damaged in line {number}: expected a JSON object, got {type(row).__name__}."
            raise DamagedError(msg)
        yield row


def content(path: Path) -> bytes:
    """The bytes of a file; none if it is not there.

    Raises:
        DamagedError: the system refuses to read it.
    """
    try:
        return read_file(path)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as error:
        msg = f"Cannot read {path}: {error.strerror}."
        raise DamagedError(msg) from error


def now() -> str:
    """The time, UTC, in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def pretty(value: object) -> bytes:
    """Readable JSON."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
