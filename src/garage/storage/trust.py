"""Signing a run that somebody else wrote, or that nobody signed, in one's own name."""

from collections.abc import Sequence

from garage.errors import InUseError
from garage.storage import manifest as manifests
from garage.storage import signing
from garage.storage.disk import Disk
from garage.storage.lock import WriterLock
from garage.storage.manifest import Manifest
from garage.storage.run_directory import RunDirectory
from garage.storage.signing import SigningKey


def sign_as_seen(directory: RunDirectory, seen: Sequence[Manifest], key: SigningKey, disk: Disk | None = None) -> None:
    """Sign manifests if they still are what the user has seen of them; all else in them stays as it is.

    They are replaced one after the other, each by one rename. After a kill some are signed, and all are whole.

    Raises:
        InUseError: another process writes there, or has changed one of them since.
        DamagedError: one can no longer be read.
        WriteError: the disk refused.
    """
    disk = disk or Disk()
    with WriterLock(directory.lock_path, disk) as lock:
        abandoned = directory.abandoned()
        for manifest in seen:
            path = directory.manifest_path(manifest.epoch)
            if manifests.read(path) != manifest or manifest.checksum in abandoned:
                msg = f"{path} has been changed since it was shown, so it was not signed. Look at it again."
                raise InUseError(msg)
            lock.check()
            disk.write_whole(path, [signing.encode(manifest, key)])
        directory.mend_events(disk)
        directory.add_event("trusted", {"epochs": [manifest.epoch for manifest in seen], "key": key.id}, disk)
