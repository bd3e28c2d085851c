"""Directories of runs: new ones, and those of runs to go on with."""

import contextlib
import glob
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from garage.errors import ArgumentError, StorageError, WriteError
from garage.storage.disk import Disk
from garage.storage.run_directory import RunDirectory, RunInfo, now
from garage.storage.turns import turn_in

DATA = Path("data") / "local"
_PATIENCE_SECONDS = 10.0


def check_path(path: Path) -> None:
    """Check that a run may lie there: its files name it, and they are UTF-8.

    Raises:
        ArgumentError: it may not.
    """
    name = os.fsencode(path.absolute())
    try:
        name.decode()
    except UnicodeDecodeError as error:
        msg = f"The path of a run must be UTF-8, got {name!r}. Rename that folder, or write to another one."
        raise ArgumentError(msg) from error


def new_directory(wanted: Path) -> Path:
    """Make ``wanted``, or the first of ``wanted_1``, ``wanted_2`` … that is not there yet.

    Raises:
        ArgumentError: a run may not lie there.
        WriteError: the operating system refuses.
    """
    check_path(wanted)
    index, disk = 0, Disk()
    _make_parent(wanted)
    while True:
        path = wanted if index == 0 else wanted.with_name(f"{wanted.name}_{index}")
        try:
            path.mkdir()
        except FileExistsError:
            index += 1
        except OSError as error:
            raise WriteError(_no_directory(path, error)) from error
        else:
            disk.settle(wanted.parent)
            return path


@contextlib.contextmanager
def choosing(wanted: Path) -> Iterator[None]:
    """While a run's directory is chosen by its name and by what is there, nobody else chooses one beside it.

    Raises:
        WriteError: the operating system refuses the folder of it.
    """
    _make_parent(wanted)
    with turn_in(wanted.parent, _PATIENCE_SECONDS):
        yield


def _make_parent(wanted: Path) -> None:
    try:
        Disk().make_folder(wanted.parent)
    except WriteError as error:
        cause = error.__cause__
        raise WriteError(_no_directory(wanted, cause if isinstance(cause, OSError) else error)) from error


def _no_directory(path: Path, error: Exception) -> str:
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (
        f"Cannot make {path}, the run's directory: {why}. Start where you may write, or name another place: --log-dir "
        "of `garage run`, log_dir of wrap_experiment."
    )


def taken(wanted: Path, target: str, arguments: Mapping[str, Any]) -> Path:
    """Make a new directory for a run that has not begun, so that `run_of` finds it from now on.

    Args:
        wanted: see `new_directory`.
        target: the experiment function, ``module:function``.
        arguments: as they are recorded.

    Raises:
        ArgumentError: a run may not lie there.
        WriteError: the operating system refuses.
    """
    path = new_directory(wanted)
    info = RunInfo(
        id=secrets.token_hex(8), name=path.name, created_at=now(), target=target, arguments=dict(arguments), seed=None
    )
    RunDirectory(path).write_info(info, Disk())
    return path


def give_up(path: Path) -> None:
    """Remove a run's directory, if nothing but its name and its log was ever written to it."""
    directory = RunDirectory(path)
    names = {directory.info_path.name, directory.debug_log_path.name}
    with contextlib.suppress(OSError):  # somebody else has begun there, or it stays, which harms nobody
        if {entry.name for entry in path.iterdir()} <= names:
            for name in names:
                (path / name).unlink(missing_ok=True)
            path.rmdir()


def run_of(wanted: Path, experiment: str, arguments: Mapping[str, Any], advice: str) -> Path | None:
    """The run of a name with these arguments: the newest that has a snapshot, or else the newest; None if none is.

    Args:
        wanted: its directory, or the one that it would have had.
        experiment: the qualified name of its function; the module's is another one when its file is the script.
        arguments: as they are recorded.
        advice: what to do if the arguments differ.

    Raises:
        ArgumentError: there is a run of that name and experiment, but with other arguments.
    """
    candidates = _runs_of(wanted, experiment)
    equal = [path for path, recorded in candidates if recorded == dict(arguments)]
    candidates = [(path, recorded) for path, recorded in candidates if RunDirectory(path).events_path.exists()]
    if candidates and not equal:
        path, recorded = candidates[-1]
        lines = [
            f"  {key}: {recorded.get(key)!r} there, {arguments.get(key)!r} here"
            for key in sorted(recorded.keys() | arguments.keys())
            if recorded.get(key) != arguments.get(key)
        ]
        msg = f"There is a run of that name, {path}, but with other arguments:\n" + "\n".join([*lines, advice])
        raise ArgumentError(msg)
    started = [path for path in equal if RunDirectory(path).manifest_epochs()]
    return next(reversed(started or equal), None)


def _runs_of(wanted: Path, experiment: str) -> list[tuple[Path, dict[str, Any]]]:
    """The runs of a name and an experiment with their recorded arguments, oldest first."""
    found = []
    for path in [wanted, *wanted.parent.glob(f"{glob.escape(wanted.name)}_*")]:
        suffix = path.name.removeprefix(wanted.name).removeprefix("_") or "0"
        if suffix.isdecimal() and path.is_dir():
            with contextlib.suppress(StorageError):  # a folder without a readable run.json is no run to go on with
                info = RunDirectory(path).info()
                if (info.target or "").rpartition(":")[2] == experiment:
                    found.append((int(suffix), path, dict(info.arguments)))
    return [(path, recorded) for _, path, recorded in sorted(found, key=lambda run: run[0])]
