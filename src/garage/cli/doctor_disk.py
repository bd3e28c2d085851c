"""Whether a folder keeps the promises that runs rest on: locks, links, renames, room, and a clock that agrees."""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from garage.cli.finding import Finding, fine, note, problem

_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = frozenset(
    """
    9p afs beegfs ceph cifs fhgfs fuse.ceph fuse.glusterfs fuse.sshfs glusterfs gpfs lustre nfs nfs4 panfs pvfs2 smb3
    smbfs virtiofs
    """.split()  # noqa: SIM905 - a list of words
)
_OBJECTS = frozenset({"fuse.gcsfuse", "fuse.s3fs", "fuse.rclone", "fuse.mountpoint-s3"})
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_OCTAL = re.compile(r"\\([0-7]{3})")
_LITTLE, _TOO_LITTLE = 5 << 30, 200 << 20
_FEW_FILES = 10_000
_CLOCK_SECONDS = 40.0
"""What clocks may differ by for a silent writer to be told from a working one; see docs/clusters.md."""


def disk(folder: Path) -> Iterator[Finding]:
    """What the file system under ``folder`` does, tried out in the nearest folder above it that is there.

    A file is made there for the purpose, and removed again.
    """
    place = folder.absolute()
    while not place.is_dir():
        place = place.parent
    yield _kind(folder, place)
    yield _room(place)
    try:
        with tempfile.TemporaryDirectory(prefix=".unfinished-doctor-", dir=place) as made:
            yield _locks(Path(made))
            yield _names(Path(made))
            yield _clock(Path(made))
    except OSError as error:
        step = "start runs in a folder of your own, or see wrap_experiment(log_dir=...)"
        yield problem("disk", f"nothing can be written to {place}: {error.strerror or error}", step)


def mounted_as(place: Path, mounts: str) -> str | None:
    """The kind of the file system that a folder lies on, as ``/proc/self/mountinfo`` says; None if it does not."""
    kinds: dict[str, str] = {}
    for line in mounts.splitlines():
        own, dash, source = line.partition(" - ")
        fields = own.split()
        if dash and len(fields) > 4:  # noqa: PLR2004 - the fifth is the place, see proc_pid_mountinfo(5)
            point = _OCTAL.sub(lambda found: chr(int(found[1], 8)), fields[4])
            kinds[point] = source.split()[0]  # of several at one place, the last is on top
    return next((kinds[str(each)] for each in (place, *place.parents) if str(each) in kinds), None)


def _kind(folder: Path, place: Path) -> Finding:
    try:
        kind = mounted_as(place.resolve(), _MOUNTS.read_text())
    except OSError:
        kind = None
    if kind is None:
        return note("file system", f"the system does not say what {folder} lies on")
    found = f"{folder} lies on {kind}"
    if kind in _OBJECTS:
        step = "keep runs on a file system and copy them: logs are appended to, which object stores cannot"
        return problem("file system", f"{found}, an object store", step)
    if kind in _NETWORK or kind.startswith("nfs"):
        step = "see docs/clusters.md: one writer a run is kept by the file server's clock"
        return note("file system", f"{found}, over the network", step)
    if kind in _IN_MEMORY:
        return note("file system", f"{found}, in memory: runs are gone after a restart", "keep runs on a disk")
    if kind == "overlay":
        return note("file system", f"{found}: runs are gone with the container", "mount a folder for data/local")
    return fine("file system", found)


def _room(place: Path) -> Finding:
    usage = shutil.disk_usage(place)
    n_files = os.statvfs(place).f_favail
    found = f"{usage.free / (1 << 30):.1f} GiB free of {usage.total / (1 << 30):.1f}"
    step = "`garage du` shows what runs take up, `garage prune` gives room back"
    if usage.free < _TOO_LITTLE:
        return problem("room", found, step)
    if 0 < n_files < _FEW_FILES:
        return note("room", f"{found}, but for {n_files} files only", step)
    return note("room", found, step) if usage.free < _LITTLE else fine("room", found)


def _locks(folder: Path) -> Finding:
    path = folder / "lock"
    step = "keep runs on a local disk, or have the file system mounted with locks"
    try:
        with FileLock(path, timeout=0, is_singleton=False):
            try:
                with FileLock(path, timeout=0, is_singleton=False):
                    return problem("locks", "two holders got the same lock at once", step)
            except Timeout:
                return fine("locks", "one holder at a time")
    except (OSError, NotImplementedError) as error:
        return problem("locks", f"the file system has none: {error}", step)


def _names(folder: Path) -> Finding:
    """Atomic renames cannot be tried out; that they and links are there can."""
    first, second = folder / "first", folder / "second"
    first.write_bytes(b"1")
    second.write_bytes(b"2")
    first.replace(second)
    try:
        os.link(second, first)
    except OSError as error:
        return note("links", f"no hard links ({error.strerror}): forks copy what they share, and take more room")
    return fine("links", "hard links, so forks share what they have in common")


def _clock(folder: Path) -> Finding:
    path = folder / "time"
    path.write_bytes(b"")
    os.utime(path)
    apart = abs(path.stat().st_mtime - time.time())
    if apart > _CLOCK_SECONDS:
        found = f"the file server's clock and this machine's are {apart:.0f} s apart"
        return problem("clock", found, "let NTP set both; lock takeover compares them")
    return fine("clock", f"files' times and this machine's agree to {max(1.0, apart):.0f} s")
