"""One writer a run directory.

The file ``lock`` says who writes: host, boot, process and when that process began. Its time of change is the
heartbeat: the holder renews it every 10 s. A writer that died leaves its lock behind. Whoever comes next on the same
host sees that the process is gone, and takes over at once; on another host, when the lock has been silent for 60 s.
Both times come from the clock of whoever keeps the files, so it does not matter what the machines' own clocks say.

Several may find the same dead lock. Each transition away from a lock, be it a takeover or its own release, needs its
*claim*: a file that is named for the lock's token and made exclusively. Nobody but the claim's owner replaces or
removes the lock, and a token is never used twice, so a claim that comes too late finds another token and gives up.
A claim is itself a whole lock of its owner, and becomes the lock by being renamed; one whose owner died on the way is
replaced by the same rule.
"""

import contextlib
import math
import os
import socket
import threading
from pathlib import Path
from typing import Self

import msgspec
from blake3 import blake3

from garage.errors import InUseError, WriteError
from garage.storage.disk import UNFINISHED, Disk, has_no_links, refused
from garage.storage.files import from_json, read_file
from garage.storage.run_directory import now, pretty

HEARTBEAT_SECONDS = 10.0
"""Between two signs of life of a holder."""

PATIENCE_SECONDS = 60.0
"""After so long a silence the holder on another host counts as dead."""

_MOST_BYTES = 1 << 12  # of a lock, which has some 250
_TRIES = 100  # each but the first means that somebody else was quicker just now
_ALIVE = "alive"


class Owner(msgspec.Struct, frozen=True):
    """Who writes to a run."""

    host: str
    boot: str
    pid: int
    process_started: str
    """Tells a process from a later one with the same number."""
    token: str
    locked_at: str
    namespace: str = ""
    """In which the process has that number: containers may share a host's name and boot, but not its processes."""


class WriterLock:
    """The right to write to one run directory, held from construction to `release`.

    A thread renews the heartbeat. If something keeps the interpreter's lock to itself, the heartbeat waits; should
    that last longer than ``patience``, a writer on another host may take over, and `check` says so.

    Args:
        path: of the lock file.
        disk: through which it is written.
        interval: seconds between heartbeats.
        patience: seconds of silence after which a holder on another host counts as dead.

    Raises:
        InUseError: a living process holds it, or one on another host that was silent for less than ``patience``.
        WriteError: the disk refused.
    """

    def __init__(
        self, path: Path, disk: Disk, *, interval: float = HEARTBEAT_SECONDS, patience: float = PATIENCE_SECONDS
    ) -> None:
        self._path, self._disk, self._patience = path, disk, patience
        started = _process_started(os.getpid())
        self._owner = Owner(socket.gethostname(), _boot(), os.getpid(), started, _new_token(), now(), _namespace())
        self._data = pretty(self._owner)
        self._released = threading.Event()
        self._heart = threading.Thread(target=self._beat, args=(interval,), name="garage-lock", daemon=True)
        self.from_silent = False
        """Whether the lock was taken from a writer that fell silent, and may yet wake up in the middle of a write."""
        disk.make_folder(path.parent)
        try:
            self._take()
            self._remove_claims(of_others=True)
            self._heart.start()
        except BaseException:
            with contextlib.suppress(InUseError, WriteError):  # what cannot be removed now, the next holder removes
                self._remove_claims(of_others=False)
                self._remove_own()  # if only the folder's sync was refused, it is there
            raise

    def check(self) -> None:
        """Make sure that nobody else has taken over, and give a sign of life.

        Raises:
            InUseError: somebody has; or this process was forked from the one that holds the lock.
            WriteError: no sign of life can be given, so somebody soon may.
        """
        if self._is_copy():
            msg = (
                f"{self._path.parent} is not this process's to write: it belongs to process {self._owner.pid}, from "
                "which this one was forked. Write to a directory of its own."
            )
            raise InUseError(msg)
        try:
            found = self._renew()
        except OSError as error:
            raise WriteError(refused(self._path, error)) from error
        if found is None:
            raise InUseError(_gone(self._path))
        if found != self._data:
            msg = (
                f"{self._path.parent} is no longer this process's to write: its lock now names {_named(found)}. "
                "Nothing was overwritten; end one of the two runs."
            )
            raise InUseError(msg)

    def release(self) -> None:
        """Let others write; does nothing if somebody else has taken over, or in a fork of the holder."""
        if self._is_copy():
            return
        self._released.set()
        self._heart.join()
        self._remove_own()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _is_copy(self) -> bool:
        return os.getpid() != self._owner.pid

    def _beat(self, interval: float) -> None:
        while not self._released.wait(interval):
            # What is refused now and still at the next check is raised there, for `check` does the same.
            with contextlib.suppress(OSError):
                if self._renew() != self._data:
                    return

    def _renew(self) -> bytes | None:
        """Give a sign of life if the lock is ours, and return what it holds."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            found = os.read(descriptor, _MOST_BYTES)
            if found == self._data:
                self._disk.touch(descriptor)
            return found
        finally:
            os.close(descriptor)

    def _take(self) -> None:
        for _ in range(_TRIES):
            found = _read(self._path)
            if found == self._data:
                return
            if found is None:
                self._disk.create_whole(self._path, self._data)
            else:
                self._need_dead(self._path, found)
                self._replace(self._path, found)
        msg = f"{self._path} changes hands all the time. Find out who else starts runs in {self._path.parent}."
        raise InUseError(msg)

    def _replace(self, path: Path, found: bytes, depth: int = 0) -> None:
        """Put our lock in the place of a dead one, unless somebody is quicker."""
        claim_path = self._claim_path(found, depth)
        if not self._disk.create_whole(claim_path, self._data):
            claim = _read(claim_path)
            if claim is None or _read(path) != found:
                return
            self._need_dead(claim_path, claim)
            self._replace(claim_path, claim, depth + 1)
            if _read(claim_path) != self._data:
                return
        if _read(path) != found:
            self._disk.remove(claim_path)
            return
        try:
            self._disk.rename(claim_path, path)
            self._disk.sync_folder(path.parent)
        except FileNotFoundError:
            return  # one who took us for dead was quicker
        except OSError as error:
            raise WriteError(refused(path, error)) from error

    def _need_dead(self, path: Path, found: bytes) -> None:
        owner = _decode(found)
        if owner is not None and _is_known_here(owner):
            if _runs_here(owner):
                raise InUseError(in_use(path, owner))
            return
        try:
            silence = _silence(path)
        except OSError as error:
            raise WriteError(refused(path, error)) from error
        if silence >= self._patience:
            self.from_silent = True
        elif _read(path) == found:  # else it is a newer one that is not silent
            raise InUseError(_no_lock(path) if owner is None else _in_use_elsewhere(path, owner, silence))

    def _claim_path(self, found: bytes, depth: int = 0) -> Path:
        owner = _decode(found)
        token = blake3(found).hexdigest(8) if owner is None else owner.token
        return self._path.with_name(f"{UNFINISHED}lock-{token}-{depth}")

    def _remove_own(self) -> None:
        claim_path = self._claim_path(self._data)
        try:
            if self._renew() != self._data:  # from here on nobody takes the lock or its claim for silent
                return
            self._disk.link(self._path, claim_path)  # needs no room on a full disk
        except (FileExistsError, FileNotFoundError):
            pass  # somebody takes over, or an earlier release of ours was refused half-way
        except OSError as error:
            if not has_no_links(error):
                raise WriteError(refused(claim_path, error)) from error
            self._disk.create_whole(claim_path, self._data)
        if _read(claim_path) != self._data:
            return
        try:
            if _read(self._path) == self._data:
                self._disk.remove(self._path)
        finally:
            self._disk.remove(claim_path)

    def _remove_claims(self, *, of_others: bool) -> None:
        """Remove claims on former locks: those of others can no longer succeed once the lock is ours."""
        for path in self._path.parent.glob(f"{UNFINISHED}lock-*"):
            if (of_others and self._owner.token not in path.name) or _read(path) == self._data:
                self._disk.remove(path)


def holder_of(path: Path) -> Owner | None:
    """Who holds the lock file at ``path``; None if nobody does, or one that counts as dead.

    Nothing is left on the disk, but to learn what time it is for the files, a lock of another host takes a file
    that is made beside it and removed. Where none can be made, the owner counts as alive.

    Raises:
        InUseError: it is no lock file, and has been changed too recently to count as dead.
    """
    found = _read(path)
    if found is None:
        return None
    owner = _decode(found)
    if owner is not None and _is_known_here(owner):
        return owner if _runs_here(owner) else None
    try:
        silence = _silence(path)
    except OSError:
        silence = 0.0
    if silence >= PATIENCE_SECONDS:
        return None
    if owner is None:
        raise InUseError(_no_lock(path))
    return owner


def in_use(path: Path, owner: Owner) -> str:
    """The message for somebody who finds ``owner``."""
    if not _is_known_here(owner):
        try:
            return _in_use_elsewhere(path, owner, _silence(path))
        except OSError as error:
            return (
                f"{_in_use(path, owner)} How long it has been silent cannot be found out: {error.strerror}. "
                f"Wait for it or end it; if its machine is gone for good, remove {path}."
            )
    return f"{_in_use(path, owner)} Wait for it or end it."


def _in_use(path: Path, owner: Owner) -> str:
    return f"{path.parent} is in use: {_named_owner(owner)} has been writing to it since {owner.locked_at}."


def _in_use_elsewhere(path: Path, owner: Owner, silence: float) -> str:
    return (
        f"{_in_use(path, owner)} Its last sign of life came {silence:.0f} s ago. Wait for it or end it; when it has "
        f"been silent for {PATIENCE_SECONDS:.0f} s it counts as dead, and whoever comes then takes over."
    )


def _no_lock(path: Path) -> str:
    return (
        f"{path} is not a lock file of garage. If no run is writing to {path.parent}, remove it, or wait until it has "
        f"not changed for {PATIENCE_SECONDS:.0f} s: then whoever comes takes over."
    )


def _gone(path: Path) -> str:
    if path.parent.is_dir():
        return (
            f"{path.parent} is no longer this process's to write: its lock file was removed, so another process may "
            "write there now. Nothing was overwritten. If none does, continue the run from its newest snapshot."
        )
    return (
        f"{path.parent} is gone: the run's directory was removed or renamed while the run was writing to it. If it was "
        "renamed, continue the run from its newest snapshot there; if it was removed, begin it again."
    )


def _named(found: bytes) -> str:
    owner = _decode(found)
    return "somebody, but cannot be read" if owner is None else _named_owner(owner)


def _named_owner(owner: Owner) -> str:
    return f"process {owner.pid} on {owner.host}"


def _read(path: Path) -> bytes | None:
    try:
        return read_file(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        msg = f"Cannot read {path}, which says who writes there: {error.strerror}. Mend that, then try again."
        raise InUseError(msg) from error


def _decode(found: bytes) -> Owner | None:
    try:
        return from_json(found, Owner)
    except ValueError:  # also what is not UTF-8
        return None


def _silence(path: Path) -> float:
    """Seconds since the file last changed, by the clock of whoever keeps it; infinity if it is not there."""
    clock_path = path.with_name(f"{UNFINISHED}lock-clock-{os.getpid()}-{_new_token()}")
    with clock_path.open("xb") as clock:
        try:
            Disk().touch(clock.fileno())
            present = os.fstat(clock.fileno()).st_mtime_ns
        finally:
            clock_path.unlink(missing_ok=True)
    try:
        with path.open("rb") as file:  # a network file system asks its server when a file is opened
            return max(0.0, (present - os.fstat(file.fileno()).st_mtime_ns) / 1e9)
    except FileNotFoundError:
        return math.inf


def _is_known_here(owner: Owner) -> bool:
    """Whether this process can tell if that one is alive."""
    if owner.host != socket.gethostname():
        return False
    return owner.boot != _boot() or owner.namespace == _namespace()


def _runs_here(owner: Owner) -> bool:
    started = _process_started(owner.pid)
    return owner.boot == _boot() and started != "" and started in {owner.process_started, _ALIVE}


def _new_token() -> str:
    return os.urandom(8).hex()


def _boot() -> str:
    """Tells one boot of this machine from the next; empty where the system does not say."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.is_file() else ""


def _namespace() -> str:
    """Tells one numbering of processes from another; empty where the system has but one."""
    path = Path("/proc/self/ns/pid")
    return str(path.readlink()) if path.is_symlink() else ""


def _process_started(pid: int) -> str:
    """When a process began, in the system's own count; "alive" where only that is known, and "" if it is dead."""
    with contextlib.suppress(OSError):  # there is no such process, or it is hidden, or there is no /proc
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        state, started = fields[0], fields[19]
        return "" if state in "ZX" else started
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        return _ALIVE
    return _ALIVE
