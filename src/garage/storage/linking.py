"""A snapshot in another run: its packs linked, its manifest made anew; and new runs that appear by one rename.

A fork is made in a folder whose name begins with ``.unfinished-fork-``, beside the run that it will be. A guard in
that folder's folder is held meanwhile; the system lets go of it when the process ends, so what is found while nobody
holds the guard was left by one that was killed.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from garage.core import state as state_trees
from garage.core.types import State
from garage.errors import WriteError
from garage.storage import packs
from garage.storage.disk import UNFINISHED, Disk, refused
from garage.storage.manifest import Manifest, Piece
from garage.storage.run_directory import RunDirectory
from garage.storage.store import UNDIGESTED

_STAGED = f"{UNFINISHED}fork-"
_GUARD = f"{UNFINISHED}guard-of-forks"


@dataclass(frozen=True)
class Beginning:
    """The snapshot of another run that a new one begins with.

    Attributes:
        path: of the other run.
        manifest: the snapshot's.
        changes: what is not the same in the new run, see `with_state`.
    """

    path: Path
    manifest: Manifest
    changes: State = field(default_factory=dict)


def link_packs(manifest: Manifest, source: RunDirectory, target: RunDirectory, disk: Disk) -> list[str]:
    """Give ``target`` the packs that a snapshot of ``source`` needs, synced.

    Returns:
        Names of those that had to be copied.

    Raises:
        FileNotFoundError: a pack is not there.
        WriteError: the disk refused.
    """
    names = sorted(manifest.packs())
    copied = [name for name in names if not disk.share(source.pack_path(name), target.pack_path(name))]
    for folder in sorted({target.pack_path(name).parent for name in names}):
        disk.settle(folder)
    return copied


def with_state(manifest: Manifest, changes: State, directory: RunDirectory, disk: Disk) -> Manifest:
    """A manifest with a part of its state replaced, and the digest of that; the new values go into a pack of their own.

    Args:
        manifest: of a snapshot whose packs ``directory`` has.
        changes: values by path; a dict replaces all that lies below its path.
        directory: the run that it will belong to.
        disk: through which the pack is written.

    Raises:
        WriteError: the disk refused.
    """
    if not changes:
        return manifest
    added, added_groups = packs.as_bytes(state_trees.rebuild(changes))
    n_before = len(manifest.chunks)
    chunks, cut = packs.cut(added)
    all_chunks, cut_groups = packs.cut_groups(added_groups, chunks)
    placed, _ = packs.store(directory, disk, all_chunks, {chunk.hash: chunk for chunk in manifest.chunks})
    leaves = [leaf for leaf in manifest.leaves if not _is_changed(leaf.path, changes)]
    leaves += [
        msgspec.structs.replace(leaf, pieces=tuple(_shifted(piece, n_before) for piece in leaf.pieces)) for leaf in cut
    ]
    groups = [group for group in manifest.groups if not _is_changed(group.path, changes)]
    groups += [
        msgspec.structs.replace(group, blocks=tuple(index + n_before for index in group.blocks)) for group in cut_groups
    ]
    codes = [(leaf.path, leaf.dtype, leaf.shape, leaf.hash) for leaf in leaves]
    codes += [(group.path, state_trees.GROUP, (group.rows,), group.hash) for group in groups]
    return msgspec.structs.replace(
        manifest,
        digest=state_trees.digest(code for code in codes if not code[0].startswith(UNDIGESTED)),
        leaves=tuple(sorted(leaves, key=lambda leaf: leaf.path)),
        groups=tuple(sorted(groups, key=lambda group: group.path)),
        chunks=(*manifest.chunks, *placed),
    )


@contextlib.contextmanager
def staged(target: Path, disk: Disk) -> Iterator[Path]:
    """A folder that becomes ``target`` by one rename at the end of the block, and is removed if the block fails.

    Forks into the same folder take turns.

    Raises:
        FileExistsError: ``target`` is there by now.
        WriteError: the disk refused.
    """
    disk.make_folder(target.parent)
    with _guard(target.parent, blocking=True):
        _remove_left(target.parent, disk)
        folder = target.with_name(f"{_STAGED}{target.name}")
        try:
            disk.make_folder(folder)
            yield folder
            _refuse_existing(target)
            disk.move(folder, target)
        except BaseException:
            with contextlib.suppress(WriteError):  # what cannot be removed now, the next one removes
                disk.remove_folder(folder)
            raise


def remove_unfinished_forks(folder: Path, disk: Disk) -> list[str]:
    """Remove what forks that were killed have left in ``folder``; what cannot be removed is a line each."""
    if not any(folder.glob(f"{_STAGED}*")):
        return []
    try:
        with _guard(folder, blocking=False):
            _remove_left(folder, disk)
    except Timeout:  # it is being made
        return []
    except WriteError as error:
        return [f"A fork that was killed has left files in {folder}, which cannot be removed: {error}"]
    return []


def _refuse_existing(path: Path) -> None:
    """A rename would replace an empty folder."""
    if path.exists() or path.is_symlink():
        raise FileExistsError(path)


def _remove_left(folder: Path, disk: Disk) -> None:
    for path in folder.glob(f"{_STAGED}*"):
        disk.remove_folder(path)


@contextlib.contextmanager
def _guard(folder: Path, *, blocking: bool) -> Iterator[None]:
    path = folder / _GUARD
    guard = FileLock(path)
    try:
        guard.acquire(blocking=blocking)
    except OSError as error:
        if isinstance(error, Timeout):
            raise
        raise WriteError(refused(path, error)) from error
    try:
        yield
    finally:
        guard.release()


def _shifted(piece: Piece, n: int) -> Piece:
    return Piece(piece.chunk + n, piece.offset, piece.size)


def _is_changed(path: str, changes: State) -> bool:
    return any(path == place or path.startswith(f"{place}/") for place in changes)
