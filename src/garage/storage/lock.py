"""One writer a run directory.

The file ``lock`` says who writes: host, boot, process and when that process began. A writer that died
leaves it behind; whoever comes next on the same host sees that the process is gone and takes over.
"""

import contextlib
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import msgspec
from filelock import FileLock

from garage.errors import InUseError, WriteError
from garage.storage.disk import Disk, refused
from garage.storage.run_directory import now, pretty


class Owner(msgspec.Struct, frozen=True):
    """Who writes to a run."""

    host: str
    boot: str
    pid: int
    process_started: str
    """Tells a process from a later one with the same number."""
    token: str
    locked_at: str


class WriterLock:
    """The right to write to one run directory, held from construction to `release`.

    Args:
        path: of the lock file.
        disk: through which it is written.

    Raises:
        InUseError: a living process, or one on another host, holds it.
        WriteError: the disk refused.
    """

    def __init__(self, path: Path, disk: Disk) -> None:
        self._path, self._disk = path, disk
        self._owner = Owner(
            socket.gethostname(), _boot(), os.getpid(), _process_started(os.getpid()), secrets.token_hex(8), now()
        )
        disk.make_folder(path.parent)
        with self._guard():
            holder = holder_of(path)
            if holder is not None:
                raise InUseError(in_use(path, holder))
            try:
                disk.write_whole(path, [pretty(self._owner)])
            except BaseException:
                self._remove_own()  # if only the folder's sync was refused, it is there
                raise

    def check(self) -> None:
        """Make sure that nobody else has taken over.

        Raises:
            InUseError: somebody has.
        """
        owner = _read(self._path)
        if owner is None or owner.token != self._owner.token:
            who = "nobody" if owner is None else f"process {owner.pid} on {owner.host}"
            msg = (
                f"{self._path.parent} is no longer this process's to write: its lock now names {who}. "
                "Nothing was overwritten; end one of the two runs."
            )
            raise InUseError(msg)

    def release(self) -> None:
        """Let others write; does nothing if somebody else has taken over."""
        with self._guard():
            self._remove_own()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _remove_own(self) -> None:
        owner = _read(self._path)
        if owner is not None and owner.token == self._owner.token:
            self._disk.remove(self._path)

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        """Two that find the same dead owner must not both take over."""
        path = self._path.with_name(".unfinished-lock-guard")
        guard = FileLock(path)
        try:
            guard.acquire()
        except OSError as error:
            raise WriteError(refused(path, error)) from error
        try:
            yield
        finally:
            guard.release()


def holder_of(path: Path) -> Owner | None:
    """Who holds the lock file at ``path``; None if nobody does, or a process of this host that is dead."""
    owner = _read(path)
    if owner is None:
        return None
    if owner.host == socket.gethostname() and (
        owner.boot != _boot() or _process_started(owner.pid) != owner.process_started
    ):
        return None
    return owner


def in_use(path: Path, owner: Owner) -> str:
    """The message for somebody who finds ``owner``."""
    return (
        f"{path.parent} is in use: process {owner.pid} on {owner.host} has been writing to it since "
        f"{owner.locked_at}. Wait for it or end it; if it is a machine that no longer exists, remove {path}."
    )


def _read(path: Path) -> Owner | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Owner)
    except FileNotFoundError:
        return None
    except ValueError as error:  # also what is not UTF-8
        msg = f"{path} is not a lock file of garage: {error}. If no run is writing to {path.parent}, remove it."
        raise InUseError(msg) from error


def _boot() -> str:
    """Tells one boot of this machine from the next; empty where the system does not say."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.is_file() else ""


def _process_started(pid: int) -> str:
    """When a process began, in the system's own count; "alive" where only that is known, and "" if it is dead."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").is_file():
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return ""
        state, started = fields[0], fields[19]
        return "" if state in "ZX" else started
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        return "alive"
    return "alive"
