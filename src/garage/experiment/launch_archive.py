"""A copy of the launcher's repository beside the run."""

import contextlib
import logging
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

from blake3 import blake3

from garage.errors import WriteError
from garage.recording.whole_files import appearing
from garage.storage.launch_archives import NAME, is_in_repository

logger = logging.getLogger(__name__)

_FILE_BYTES = ARCHIVE_BYTES = 8 << 20
_CHANGES_BYTES = 256 << 10
_FILES_OF_RUNS = {"run.json", NAME}


def archive_launch_repository(directory: Path) -> None:
    """Keep the git repository of the working directory as ``launch_archive.tar.xz``.

    Tracked files, those of submodules too, and untracked ones that git does not ignore, under 8 MiB each; runs' own
    data are left out. Without a repository there is nothing to keep; one that git cannot read is said.

    Raises:
        WriteError: the disk refused.
    """
    try:
        root = Path(os.fsdecode(_git("rev-parse", "--show-toplevel", cwd=Path.cwd()).removesuffix(b"\n")))
        files = list(_files(root))
    except (OSError, subprocess.CalledProcessError) as error:
        if is_in_repository(Path.cwd()):
            logger.warning("No copy of the launcher's repository is kept: %s", _reason(error))
        return
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
    _write(directory / NAME, root, kept)


def git_state(folder: Path) -> dict[str, str | None] | None:
    """What a folder's repository is at; None if there is none, or no commit in it.

    Returns:
        ``commit``; ``branch``, None if none is checked out; ``changes``, what tracked files differ from the commit by,
        None if that is more than 256 KiB; ``diff``, BLAKE3 of it, or empty. Where git cannot read the repository,
        ``problem`` says why.
    """
    try:
        commit = _git("rev-parse", "--verify", "--quiet", "HEAD", cwd=folder)
        diff = _git("diff", "HEAD", "--full-index", "--no-ext-diff", "--submodule=diff", cwd=folder)
        branch = _git("branch", "--show-current", cwd=folder)
    except (OSError, subprocess.CalledProcessError) as error:
        return {"problem": _reason(error)} if is_in_repository(folder) and not _has_no_commit(folder) else None
    return {
        "commit": commit.decode().strip(),
        "branch": branch.decode(errors="replace").strip() or None,
        "diff": blake3(diff).hexdigest() if diff else "",
        "changes": diff.decode(errors="replace") if len(diff) <= _CHANGES_BYTES else None,
    }


def _files(root: Path) -> Iterator[Path]:
    """What git tracks at or below ``root``, in submodules too, and what is neither tracked nor ignored."""
    listed = _git("ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=root)
    for name in listed.split(b"\0"):
        path = root / os.fsdecode(name)
        # A submodule is one name; a repository that is none ends in a slash, and belongs to somebody else.
        if name and not name.endswith(b"/") and (path / ".git").exists():
            try:
                yield from _files(path)
            except (OSError, subprocess.CalledProcessError) as error:
                logger.warning("No copy of the submodule %s is kept: %s", path, _reason(error))
        elif name:
            yield path


def _write(target: Path, root: Path, files: list[Path]) -> None:
    """Write an archive, whole before it has its name; files that nobody may read are left out and said."""
    try:
        with appearing(target) as unfinished, tarfile.open(unfinished, "w:xz", preset=1) as archive:
            for path in files:
                if os.access(path, os.R_OK):
                    with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                        archive.add(path, arcname=str(path.relative_to(root)), recursive=False)
                else:
                    logger.warning("The launch archive goes without %s, which may not be read", path)
    except OSError as error:
        msg = (
            f"Cannot write {target}: {error.strerror or error}. Free or mend the disk, or do without a copy of the "
            "repository: wrap_experiment(archive_launch_repo=False)."
        )
        raise WriteError(msg) from error


def _has_no_commit(folder: Path) -> bool:
    """Whether git reads the repository, and finds nothing committed in it."""
    try:
        return not _git("rev-list", "--max-count=1", "--all", cwd=folder)
    except (OSError, subprocess.CalledProcessError):
        return False


def _reason(error: OSError | subprocess.CalledProcessError) -> str:
    if isinstance(error, OSError):
        return f"git cannot be started ({error.strerror}): is it installed?"
    said: bytes = error.stderr or b""
    lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
    return f"git says: {' '.join(lines[:2]) or 'nothing'}"


def _git(*arguments: str, cwd: Path) -> bytes:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True).stdout  # noqa: S603 - fixed arguments
