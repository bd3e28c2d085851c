"""A new run that goes on from a snapshot of another one, and shares that snapshot's packs with it."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from garage.core.streams import Streams
from garage.errors import ArgumentError, NoSnapshotError
from garage.storage import changed_arguments
from garage.storage.disk import Disk
from garage.storage.linking import link_packs, staged, with_state
from garage.storage.manifest import Manifest
from garage.storage.opening import rows_up_to
from garage.storage.run_directory import RunDirectory, RunInfo, content, now
from garage.storage.signing import SigningKey, encode_like
from garage.storage.store import SnapshotStore, StoredSnapshot
from garage.storage.writer import parent_of

_ARCHIVE = "launch_archive.tar.xz"


class Fork(msgspec.Struct, frozen=True, kw_only=True):
    """What `fork` has made."""

    path: Path
    info: RunInfo
    manifest: Manifest
    """Of its one snapshot."""
    n_packs: int
    n_copied: int
    """Packs that could not be linked."""
    problems: tuple[str, ...]
    """Why newer snapshots were passed over."""
    rows_problem: str | None
    """What is wrong with the rows of metrics that it begins with, or None."""


def fork(  # noqa: PLR0913 - what is forked, how, and through what
    source: Path,
    which: int | str,
    target: Path,
    *,
    arguments: Mapping[str, Any] | None = None,
    key: SigningKey | None = None,
    disk: Disk | None = None,
) -> Fork:
    """Make a run that begins with a snapshot of another one. The other may be in use meanwhile; it is only read.

    A changed argument ``seed`` is the seed of the new run's streams too, if it was that of the old one's.

    Args:
        source: the other run's directory.
        which: ``"last"``, ``"first"``, ``"best"`` or an epoch.
        target: the new run's directory, which must not be there yet.
        arguments: those of the experiment function that are changed.
        key: the user's; the new manifest is signed if the old one was, with that key.
        disk: through which everything is written.

    Raises:
        ArgumentError: ``target`` is there already, or lies within ``source``; or a seed is not one.
        NoSnapshotError: there is no such run, or no such snapshot in it.
        DamagedError: there is, but it does not verify.
        WriteError: the disk refused.
    """
    disk = disk or Disk()
    old = RunDirectory(source)
    was = old.info()
    changed = dict(arguments or {})
    seed = _seed(was, changed)
    _check(source, target)
    snapshot = SnapshotStore(source).read(which)
    unbuilt = changed_arguments.unbuilt(old, snapshot.manifest.epoch)
    differing = {name: value for name, value in changed.items() if was.arguments.get(name) != value}
    info = msgspec.structs.replace(
        was,
        id=secrets.token_hex(8),
        name=target.name,
        created_at=now(),
        arguments={**was.arguments, **changed},
        seed=seed,
        parent=parent_of(snapshot.manifest, source),
    )
    try:
        with staged(target, disk) as folder:
            directory = RunDirectory(folder)
            copied = link_packs(snapshot.manifest, old, directory, disk)
            _link_recipe(snapshot, old, directory, disk)
            if (source / _ARCHIVE).is_file():  # a later launch there could write into it
                disk.write_whole(folder / _ARCHIVE, [(source / _ARCHIVE).read_bytes()])
            rows, rows_problem = rows_up_to(old, snapshot.manifest)
            disk.write_whole(directory.metrics_path, [rows])
            manifest = snapshot.manifest
            if seed != was.seed:
                manifest = with_state(manifest, {"counters/seed": seed}, directory, disk)
            manifest = msgspec.structs.replace(manifest, run=info.id, name=info.name, parent=info.parent)
            original = old.manifest_path(manifest.epoch)
            disk.write_whole(
                directory.manifest_path(manifest.epoch), [encode_like(manifest, snapshot.manifest, original, key)]
            )
            event = {
                "epoch": manifest.epoch,
                "parent": info.parent,
                "reseeded": seed != was.seed,
                "arguments": {**unbuilt, **differing},
            }
            directory.add_event("fork", event, disk, sync=True)
            directory.write_info(info, disk)
    except FileNotFoundError as error:
        msg = (
            f"Epoch {snapshot.manifest.epoch} of {source} went away while it was being linked: {error.filename} is no "
            "longer there. A run that goes on forgets snapshots; fork it again."
        )
        raise NoSnapshotError(msg) from error
    except FileExistsError as error:
        raise ArgumentError(_exists(target)) from error
    return Fork(
        path=target,
        info=info,
        manifest=manifest,
        n_packs=len(snapshot.manifest.packs()),
        n_copied=len(copied),
        problems=snapshot.problems,
        rows_problem=rows_problem,
    )


def _check(source: Path, target: Path) -> None:
    if target.exists() or target.is_symlink():
        raise ArgumentError(_exists(target))
    if target.resolve().is_relative_to(source.resolve()):
        msg = (
            f"Cannot fork {source} into {target}, which lies within it: whoever moves or deletes the one would take "
            "the other along. Give a name, which is put beside it, or a path elsewhere."
        )
        raise ArgumentError(msg)


def _exists(target: Path) -> str:
    return f"Cannot fork into {target}: it exists already. Give a new name; `garage ls` lists those that are taken."


def _seed(was: RunInfo, changed: Mapping[str, Any]) -> int | None:
    """The new run's seed.

    Whether the experiment gives its argument to ``set_seed`` cannot be known without running it; that both are equal
    says so.
    """
    if "seed" not in changed or was.seed is None or was.arguments.get("seed") != was.seed:
        return was.seed
    return Streams(changed["seed"]).seed


def _link_recipe(snapshot: StoredSnapshot, old: RunDirectory, new: RunDirectory, disk: Disk) -> None:
    if snapshot.manifest.recipe is None:
        return
    first, later = old.recipe_paths(snapshot.manifest.recipe)
    disk.share(first if content(first) == snapshot.recipe else later, new.path / first.name)
    disk.settle(new.path)
