"""Where a run came from and what happened to it, as its own files and those of its parents say. Loads no NumPy."""

import contextlib
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from garage.errors import StorageError
from garage.storage.manifest import Parent
from garage.storage.run_directory import RunDirectory, RunInfo

COUNTED = {"resume": "resumes", "rewind": "rewinds", "preempted": "preemptions"}
"""Events that are marks in a run's life, and what several of them are called."""


@dataclass(frozen=True)
class Stretch:
    """Epochs of a run that were computed with the same arguments.

    Attributes:
        first: the first of them; they end where the next stretch begins.
        batch_size: steps of an epoch.
        path: of the run that computed them: the run itself, or one that it descends from.
        reseeded: whether that run began with the snapshot of another one, and seeded the process's generators anew.
    """

    first: int
    batch_size: int
    path: Path
    reseeded: bool


@dataclass(frozen=True)
class History:
    """The epochs of a run that are not abandoned, as far as it is known who computed them.

    Attributes:
        stretches: ascending, without gaps.
        missing: the parent that computed the epochs before, if it is not where it was; None if nothing is missing.
        rewound_to: the last epoch that counts, if nothing was computed since a rewind; rows after it are still there.
    """

    stretches: tuple[Stretch, ...]
    missing: Parent | None
    rewound_to: int | None


def history(path: Path) -> History:
    """Who computed each epoch of the run in ``path``, with which arguments; those of a fork, its parents did.

    Raises:
        NoSnapshotError: there is no run.
        DamagedError: its run.json cannot be read.
        FormatVersionError: it is of another format version.
    """
    return _history(path, until=None, seen=frozenset())


def counts(directory: RunDirectory) -> dict[str, int]:
    """How often each of `COUNTED` happened, by its plural.

    Raises:
        DamagedError: the system refuses to read the events.
    """
    found = Counter(str(event.get("event")) for event in directory.events())
    return {plural: found[event] for event, plural in COUNTED.items()}


def find_run(run: str, recorded: Path, beside: Path) -> Path | None:
    """The directory of the run with that id: where it was, or else one that lies beside another run."""
    candidates = [recorded]
    with contextlib.suppress(OSError):
        candidates += sorted(beside.absolute().parent.iterdir())
    for candidate in candidates:
        info = _info(candidate)
        if info is not None and info.id == run:
            return candidate
    return None


def _history(path: Path, until: str | None, seen: frozenset[str]) -> History:
    directory = RunDirectory(path)
    info = directory.info()
    own = _own_history(directory, until)
    parent = info.parent
    if parent is None:
        return own
    place = None if info.id in seen else find_run(parent.run, Path(parent.path), path)
    if place is None:
        return replace(own, missing=parent)
    before = _history(place, min(info.created_at, until or info.created_at), seen | {info.id})
    inherited = [stretch for stretch in before.stretches if stretch.first <= parent.epoch]
    own_stretches = [stretch for stretch in own.stretches if stretch.first > parent.epoch]
    return History((*inherited, *own_stretches), before.missing, own.rewound_to)


def _own_history(directory: RunDirectory, until: str | None) -> History:
    """What a later start or resume begins again counts no more, whether a rewind or a kill was before it."""
    found: list[Stretch] = []
    rewound_to: int | None = None
    reseeded = False
    for event in directory.events():
        if until is not None and str(event.get("at")) > until:
            continue
        epoch, batch_size = _count(event.get("epoch")), _count(event.get("batch_size"))
        if event.get("event") in ("start", "resume") and epoch is not None and batch_size:
            found = [stretch for stretch in found if stretch.first < epoch]
            found.append(Stretch(epoch, batch_size, directory.path, reseeded))
            rewound_to = None
        elif event.get("event") == "rewind":
            rewound_to = _count(event.get("to"))
        elif event.get("event") == "fork":
            # One that was made by itself, and says which arguments it changed, goes on with the parent's generators.
            reseeded = event.get("reseeded") is True and "arguments" not in event
    return History(tuple(found), None, rewound_to)


def _count(value: Any) -> int | None:  # noqa: ANN401 - whatever an event says
    return value if type(value) is int and value >= 0 else None


def _info(path: Path) -> RunInfo | None:
    try:
        return RunDirectory(path).info()
    except StorageError:
        return None
