"""What a run recorded of its epochs: digests, who computed them with which arguments, and snapshots to hold against."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from garage.core.state import take_as
from garage.core.streams import Streams
from garage.errors import NoSnapshotError
from garage.experiment.trust import need_trust
from garage.storage.lineage import History, Stretch, history
from garage.storage.manifest import Manifest
from garage.storage.run_directory import whole_lines
from garage.storage.signing_key import find_key
from garage.storage.store import SnapshotStore, StoredSnapshot


@dataclass(frozen=True)
class RecordedRun:
    """A run as its own files and those of its parents tell it. Nothing is changed, and nothing unpickled.

    Attributes:
        path: of the run.
        trust: whether its code may run whoever signed it.
    """

    path: Path
    trust: bool

    @cached_property
    def history(self) -> History:
        """Who computed which epochs."""
        return history(self.path)

    @cached_property
    def rows(self) -> dict[int, dict[str, Any]]:
        """Rows of metrics by epoch, without those that a rewind abandoned."""
        last = self.history.rewound_to
        rows = whole_lines(SnapshotStore(self.path).directory.metrics_path)
        epochs = ((row.get("epoch"), row) for row in rows)
        return {epoch: row for epoch, row in epochs if type(epoch) is int and (last is None or epoch <= last)}

    def changes(self) -> list[str]:
        """Where it went on with other objects, one line each."""
        found = []
        for path in dict.fromkeys([*(stretch.path for stretch in self.history.stretches), self.path]):
            for event in SnapshotStore(path).directory.events():
                lines = event.get("changes")
                if event.get("event") == "changed" and isinstance(lines, list):
                    found.append(
                        f"From epoch {event.get('epoch')} on, {path} was trained with other objects than before: "
                        f"{'; '.join(map(str, lines))}. Epochs before that cannot be computed with the later ones."
                    )
        return found

    def digest(self, epoch: int) -> str | None:
        """What was recorded, or None."""
        digest = self.rows.get(epoch, {}).get("digest")
        return digest if isinstance(digest, str) else None

    def stretch(self, epoch: int, default: Stretch) -> Stretch:
        """With which arguments an epoch was computed, or would be; ``default`` where nobody says."""
        return next((each for each in reversed(self.history.stretches) if each.first <= epoch), default)

    def snapshot(self, path: Path, which: int | str) -> StoredSnapshot:
        """A snapshot whose code may run.

        Args:
            path: of the run, or of one that it descends from.
            which: an epoch, ``"first"``, ``"last"`` or ``"best"``.

        Raises:
            NoSnapshotError: there is none, or not that one.
            DamagedError: it does not verify.
            UntrustedError: the user's key has not signed it.
        """
        key = None if self.trust else find_key()
        snapshot = SnapshotStore(path, key).read(which)
        if not self.trust:
            need_trust(snapshot, path, key)
        return snapshot

    def source(self, stretch: Stretch) -> Manifest:
        """The snapshot that says of which recipe and seed a stretch is: the first one in it, or else the run's last.

        Raises:
            NoSnapshotError: its run keeps none.
        """
        whole, _ = SnapshotStore(stretch.path).manifests()
        if not whole:
            msg = (
                f"Cannot replay {self.path}: {stretch.path} keeps no snapshot, so nothing says by whom its recipe was "
                "written, nor of which lanes it was. Snapshots are kept with another snapshot_mode than 'none'."
            )
            raise NoSnapshotError(msg)
        return next((manifest for manifest in whole if manifest.epoch >= stretch.first), whole[-1])

    def seed(self, stretch: Stretch, source: Manifest) -> int:
        """Of the streams that a stretch drew from, as its ``source`` says."""
        seed = SnapshotStore(stretch.path).value(source, "counters/seed")
        return Streams(take_as({"seed": seed}, "seed", "the counters", int)).seed

    def evidence(self, epoch: int) -> tuple[SnapshotStore, Manifest] | None:
        """The first snapshot at or after an epoch that has the digest which was recorded; None if there is none."""
        found: dict[int, tuple[SnapshotStore, Manifest]] = {}
        for path in dict.fromkeys([self.path, *(stretch.path for stretch in self.history.stretches)]):
            store = SnapshotStore(path)
            for manifest in store.manifests()[0]:
                if manifest.epoch >= epoch and manifest.digest == self.digest(manifest.epoch):
                    found.setdefault(manifest.epoch, (store, manifest))
        return found[min(found)] if found else None
