"""Repositories that runs are launched from, and what their archives hold, which are read, never unpacked."""

import lzma
import tarfile
from pathlib import Path

from blake3 import blake3

from garage.errors import DamagedError
from garage.storage.files import open_file

NAME = "launch_archive.tar.xz"
_MOST_BYTES = 1 << 30


def is_in_repository(folder: Path) -> bool:
    """Whether a folder looks like part of a git repository, whether or not git can read it."""
    return any((each / ".git").exists() for each in (folder.absolute(), *folder.absolute().parents))


def file_hashes(run: Path) -> dict[str, str] | None:
    """BLAKE3 of each file in a run's launch archive, by name; None if the run has none.

    Raises:
        DamagedError: it is no such archive, or holds more than any launch of ours.
    """
    path, hashes, n_bytes = run / NAME, {}, 0
    try:
        with open_file(path) as file, tarfile.open(fileobj=file, mode="r:xz") as archive:
            for member in archive:
                n_bytes += member.size
                if n_bytes > _MOST_BYTES:
                    msg = f"Cannot read {path}: it holds more than {_MOST_BYTES:,} bytes."
                    raise DamagedError(msg)
                content = archive.extractfile(member) if member.isfile() else None
                hashes[member.name] = blake3(b"" if content is None else content.read()).hexdigest()
    except FileNotFoundError:
        return None
    except (OSError, EOFError, tarfile.TarError, lzma.LZMAError) as error:
        msg = f"Cannot read {path}: {error}. The run itself does not need it."
        raise DamagedError(msg) from error
    return hashes
