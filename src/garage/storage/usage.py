"""What runs take up on the disk. Reads names and sizes only, and no file."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

_BLOCK = 512
"""What a system counts a file's blocks in, whatever the file system's are."""
_SNAPSHOTS = ("snapshots", "packs")


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes that one run takes up, as the file system allocates them."""

    path: str
    bytes: int
    """All that lies in its directory, and the directories themselves."""
    snapshots: int
    """Of that, manifests and packs."""
    shared: int
    """Of that, files that have names elsewhere too: deleting the run does not free them."""
    own: int
    """The rest."""


class _File(NamedTuple):
    """Of one inode, as far as one directory knows it."""

    bytes: int
    n_links: int
    n_names: int
    of_snapshots: bool


def usage(paths: Iterable[Path], on_error: Callable[[OSError], None]) -> tuple[list[Usage], int]:
    """What each run takes up, and all of them together, a file with several names counted once.

    Files that disappear meanwhile do not count; symbolic links are not followed.

    Args:
        paths: of the runs.
        on_error: is told of each file and directory that cannot be looked into, and therefore does not count.
    """
    runs: list[Usage] = []
    together: dict[tuple[int, int], int] = {}
    for path in paths:
        files = _files(path, on_error)
        together |= {inode: file.bytes for inode, file in files.items()}
        n_bytes = sum(file.bytes for file in files.values())
        shared = sum(file.bytes for file in files.values() if file.n_links > file.n_names)
        snapshots = sum(file.bytes for file in files.values() if file.of_snapshots)
        runs.append(Usage(path=str(path), bytes=n_bytes, snapshots=snapshots, shared=shared, own=n_bytes - shared))
    return runs, sum(together.values())


def _files(root: Path, on_error: Callable[[OSError], None]) -> dict[tuple[int, int], _File]:
    """By device and inode, directories among them, whose names are not counted."""
    files: dict[tuple[int, int], _File] = {}
    for folder, _, names in os.walk(root, onerror=on_error):
        of_snapshots = Path(folder).relative_to(root).parts[:1] in {(name,) for name in _SNAPSHOTS}
        for path in (folder, *(os.path.join(folder, name) for name in names)):  # noqa: PTH118 - runs have many files
            try:
                status = os.lstat(path)
            except FileNotFoundError:  # removed meanwhile by whoever is writing there: it takes no room
                continue
            except OSError as error:
                on_error(error)
                continue
            inode = status.st_dev, status.st_ino
            n_names = files[inode].n_names + 1 if inode in files else 1
            n_links = 1 if path == folder else status.st_nlink
            files[inode] = _File(status.st_blocks * _BLOCK, n_links, n_names, of_snapshots)
    return files
