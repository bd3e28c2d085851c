"""Where a run writes: its context's directory, the restored one, or a new one beside it."""

import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from garage import process
from garage.errors import ArgumentError, StorageError
from garage.experiment.context import ExperimentContext
from garage.experiment.directories import DATA, check_path, new_directory
from garage.storage.linking import Beginning
from garage.storage.manifest import Manifest, Parent
from garage.storage.run_directory import RunDirectory, RunInfo, now
from garage.storage.writer import parent_of

_SETTINGS = ("snapshot_mode", "snapshot_gap", "snapshot_seconds", "keep_best", "x_axis", "tensorboard")


@dataclass(frozen=True)
class Origin:
    """The snapshot that was restored.

    Attributes:
        path: of its run.
        manifest: the snapshot's.
        seed: the snapshot's.
        newest: whether no newer one verifies.
        reseeded: whether the run goes on with another seed than the snapshot's.
    """

    path: Path
    manifest: Manifest
    seed: int
    newest: bool
    reseeded: bool


@dataclass(frozen=True)
class Destination:
    """Where to write.

    Attributes:
        path: the directory.
        info: who the run is.
        last_epoch: the epoch of its own snapshot that it goes on from, or None in a new directory.
        begins_with: the restored snapshot, for a new directory.
    """

    path: Path
    info: RunInfo
    last_epoch: int | None
    begins_with: Beginning | None


def destination(config: ExperimentContext | None, origin: Origin | None, seed: int) -> Destination:
    """Decide, and make the directory.

    A context's directory comes first; else a run goes on in place from its newest snapshot, and from an older
    one, or with another seed, into ``<name>_1``; else into ``data/local/experiment/<script name>``.

    Raises:
        ArgumentError: a run with another seed would go on in its parent's directory, or the path is not UTF-8.
    """
    in_place = goes_on_in_place(config, origin)
    if config is not None:
        path = Path(config.snapshot_dir)
        check_path(path)
    elif origin is not None:
        path = origin.path if in_place else new_directory(origin.path)
    else:
        path = new_directory(DATA / "experiment" / script_name())
    if in_place and origin is not None:
        if origin.reseeded:
            msg = (
                f"A run that goes on with another seed differs from its parent, so it cannot write to {path}, its "
                "parent's directory. Leave set_seed out, or write to another directory."
            )
            raise ArgumentError(msg)
        info = _recorded_info(origin, seed)
        if config is not None:
            info = msgspec.structs.replace(info, **{name: getattr(config, name) for name in _SETTINGS})
        return Destination(path, info, origin.manifest.epoch, None)
    parent = None if origin is None else parent_of(origin.manifest, origin.path)
    inherited = None if origin is None or config is not None else _recorded_info(origin, seed)
    return Destination(path, _new_info(path, config, seed, parent, inherited), None, _beginning(origin, seed))


def goes_on_in_place(config: ExperimentContext | None, origin: Origin | None) -> bool:
    """Whether the run writes to the directory that was restored from."""
    if origin is None:
        return False
    if config is not None:
        return origin.path.resolve() == Path(config.snapshot_dir).resolve()
    return origin.newest and not origin.reseeded


def script_name() -> str:
    """The name of the running script without its ending, or ``session`` where there is none."""
    main = sys.modules.get("__main__")
    file = None if main is None else main.__dict__.get("__file__")
    return Path(file).stem if file else "session"


def _new_info(
    path: Path,
    config: ExperimentContext | None,
    seed: int,
    parent: Parent | None,
    inherited: RunInfo | None,
) -> RunInfo:
    info = RunInfo(
        id=secrets.token_hex(8),
        name=path.name,
        created_at=now(),
        target=None,
        arguments={},
        seed=seed,
        parent=parent,
    )
    source: Any = config if config is not None else inherited
    if source is None:
        return info
    shared = {name: getattr(source, name) for name in _SETTINGS}
    # A continuation that no experiment function began is not what `garage run --resume` looks for.
    target = None if config is None else config.target
    return msgspec.structs.replace(info, target=target, arguments=dict(source.arguments), **shared)


def _beginning(origin: Origin | None, seed: int) -> Beginning | None:
    """The restored snapshot, with what another seed has changed already."""
    if origin is None:
        return None
    if not origin.reseeded:
        return Beginning(origin.path, origin.manifest)
    return Beginning(origin.path, origin.manifest, {"counters/seed": seed, "process": process.generators_state()})


def _recorded_info(origin: Origin, seed: int) -> RunInfo:
    """The run's own run.json; if that is damaged, what its manifest knows."""
    try:
        return RunDirectory(origin.path).info()
    except StorageError:
        return RunInfo(
            id=origin.manifest.run,
            name=origin.manifest.name,
            created_at=origin.manifest.written_at,
            target=None,
            arguments={},
            seed=seed,
            parent=origin.manifest.parent,
        )
