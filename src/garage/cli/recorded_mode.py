"""Being in portable mode where a run was."""

from pathlib import Path

from garage.experiment import portable
from garage.storage.store import SnapshotStore


def enter(run: Path, which: int | str) -> None:
    """Start this process again in portable mode if that snapshot of ``run`` was made in it, and this one is not."""
    manifest = SnapshotStore(run).read(which, with_recipe=False, only=()).manifest
    if portable.is_recorded(manifest.fingerprint):
        portable.enter()
