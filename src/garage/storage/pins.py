"""Snapshots that are kept whatever the mode: ``pins.json`` names them, by epoch and digest.

Pinning needs no writer's lock, so the snapshots of a run that is training can be pinned. Whoever removes manifests
and whoever changes pins take turns instead, by an advisory lock of the system on the folder of the manifests, which
ends with the process. One that is stopped in its turn is not waited for; so whoever has pinned looks again whether the
snapshot is there.
"""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Protocol

from garage.errors import ArgumentError, DamagedError, NoSnapshotError
from garage.storage import manifest as manifests
from garage.storage.disk import Disk
from garage.storage.files import from_json
from garage.storage.manifest import Manifest
from garage.storage.run_directory import RunDirectory, content, pretty
from garage.storage.store import SnapshotStore
from garage.storage.turns import turn_in

_PATIENCE_SECONDS = 1.0


def read_pins(directory: RunDirectory) -> dict[int, str]:
    """Digests of the snapshots that are pinned, by epoch.

    Raises:
        DamagedError: ``pins.json`` cannot be read.
    """
    data = content(directory.pins_path)
    if not data:
        return {}
    try:
        found = from_json(data, dict[str, str])
        if all(epoch.isdecimal() and epoch.isascii() for epoch in found):
            return {int(epoch): digest for epoch, digest in found.items()}
        problem = f"{next(epoch for epoch in found if not epoch.isdecimal())[:20]!r} is no epoch"
    except ValueError as error:  # also an epoch of too many digits
        problem = str(error)
    msg = (
        f"{directory.pins_path} is damaged: {problem}. Until it is mended or removed, every snapshot counts as pinned; "
        "then pin again with `garage pin RUN@EPOCH`."
    )
    raise DamagedError(msg)


class Identified(Protocol):
    """A snapshot, by what pins name it by."""

    @property
    def epoch(self) -> int:
        """That it was taken after."""
        ...

    @property
    def digest(self) -> str:
        """Of its state."""
        ...


def pinned(directory: RunDirectory, whole: Iterable[Identified]) -> frozenset[int]:
    """Epochs of those of the snapshots that are pinned; another state under the same epoch is not.

    Raises:
        DamagedError: ``pins.json`` cannot be read.
    """
    pins = read_pins(directory)
    return frozenset(manifest.epoch for manifest in whole if pins.get(manifest.epoch) == manifest.digest)


def pin(directory: RunDirectory, which: int | str = "last", disk: Disk | None = None) -> Manifest:
    """Keep a snapshot until it is unpinned, and return its manifest. The run may be in use meanwhile.

    Args:
        directory: the run.
        which: ``"last"``, ``"first"``, ``"best"`` or an epoch.
        disk: through which it is written.

    Raises:
        NoSnapshotError: there is no such snapshot, or no longer.
        DamagedError: there is, but it does not verify; or ``pins.json`` cannot be read.
        WriteError: the disk refused.
    """
    disk = disk or Disk()
    manifest = SnapshotStore(directory.path).read(which, with_recipe=False).manifest
    with turn_to_remove_or_pin(directory):
        before = read_pins(directory)
        if _is_there(directory, manifest):
            _write(directory, {**before, manifest.epoch: manifest.digest}, disk)
            if _is_there(directory, manifest):
                return manifest
            _write(directory, before, disk)
    msg = (
        f"Epoch {manifest.epoch} of {directory.path} was superseded meanwhile, so it was not pinned. Pin another one; "
        "`garage show` lists those that there are."
    )
    raise NoSnapshotError(msg)


def unpin(directory: RunDirectory, epoch: int, disk: Disk | None = None) -> None:
    """Let a snapshot go when its mode lets it go; it is not removed by this.

    Raises:
        ArgumentError: that epoch is not pinned.
        DamagedError: ``pins.json`` cannot be read.
        WriteError: the disk refused.
    """
    with turn_to_remove_or_pin(directory):
        pins = read_pins(directory)
        if epoch not in pins:
            there = ", ".join(map(str, sorted(pins))) or "none"
            msg = f"Epoch {epoch} of {directory.path} is not pinned; pinned are: {there}."
            raise ArgumentError(msg)
        del pins[epoch]
        _write(directory, pins, disk or Disk())


@contextlib.contextmanager
def turn_to_remove_or_pin(directory: RunDirectory) -> Iterator[None]:
    """While manifests or unfinished files are removed, or pins changed, nobody else does either of them.

    Whoever takes longer than a second was stopped, and is no longer waited for. Where the file system has no such
    locks, there are no turns.
    """
    with turn_in(directory.snapshots_path, _PATIENCE_SECONDS):
        yield


def _is_there(directory: RunDirectory, manifest: Manifest) -> bool:
    try:
        return manifests.read(directory.manifest_path(manifest.epoch)).digest == manifest.digest
    except DamagedError:
        return False


def _write(directory: RunDirectory, pins: dict[int, str], disk: Disk) -> None:
    disk.write_whole(directory.pins_path, [pretty({str(epoch): pins[epoch] for epoch in sorted(pins)})])
