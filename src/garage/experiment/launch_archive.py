"""A copy of the launcher's repository beside the run."""

import logging
import os
import subprocess
import tarfile
from pathlib import Path

from blake3 import blake3

logger = logging.getLogger(__name__)

_FILE_BYTES = ARCHIVE_BYTES = 8 << 20
_FILES_OF_RUNS = {"run.json", "launch_archive.tar.xz"}


def archive_launch_repository(directory: Path) -> None:
    """Keep the git repository of the working directory as ``launch_archive.tar.xz``.

    Tracked files, and untracked ones that git does not ignore, under 8 MiB each; runs' own data are left out.
    Without git or a repository there is nothing to keep.
    """
    try:
        top = os.fsdecode(_git("rev-parse", "--show-toplevel", cwd=Path.cwd()).removesuffix(b"\n"))
        listed = _git("ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=Path(top))
    except (OSError, subprocess.CalledProcessError) as error:
        logger.debug("No launch archive: %s", error)
        return
    root = Path(top)
    files = [root / os.fsdecode(name) for name in listed.split(b"\0") if name]
    data = [path for path in directory.resolve().parents if path.name == "local" and path.parent.name == "data"]
    runs = [path.parent.resolve() for path in files if path.name in _FILES_OF_RUNS]
    left_out = [*data, *runs, directory.resolve()]
    kept = [
        path
        for path in files
        if path.is_file()
        and path.stat().st_size < _FILE_BYTES
        and not any(map(path.resolve().is_relative_to, left_out))
    ]
    size = sum(path.stat().st_size for path in kept)
    if size > ARCHIVE_BYTES:
        logger.warning(
            "The launch archive of %s holds %.0f MiB; wrap_experiment(archive_launch_repo=False) leaves it out",
            root, size / (1 << 20),
        )  # fmt: skip
    with tarfile.open(directory / "launch_archive.tar.xz", "w:xz", preset=1) as archive:
        for path in kept:
            archive.add(path, arcname=str(path.relative_to(root)), recursive=False)


def git_state(folder: Path) -> dict[str, str] | None:
    """The commit that a folder's repository is at, and BLAKE3 of what tracked files differ from it by; or None."""
    try:
        commit = _git("rev-parse", "--verify", "--quiet", "HEAD", cwd=folder)
        diff = _git("diff", "HEAD", "--full-index", "--no-ext-diff", cwd=folder)
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit.decode().strip(), "diff": blake3(diff).hexdigest() if diff else ""}


def _git(*arguments: str, cwd: Path) -> bytes:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True).stdout  # noqa: S603 - fixed arguments
