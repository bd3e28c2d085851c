"""Writing a run: packs, then the row of metrics, then the manifest; what is true at any time is one of two states."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from garage.core import state as state_trees
from garage.core.tracked import Block
from garage.core.types import State
from garage.errors import InUseError
from garage.storage import packs, signing
from garage.storage.disk import Disk
from garage.storage.events import Events
from garage.storage.held import HeldSnapshots
from garage.storage.linking import Beginning
from garage.storage.lock import WriterLock
from garage.storage.manifest import Chunk, Group, Leaf, Log, Manifest, Parent
from garage.storage.opening import Opening, Recipe, renew_logs
from garage.storage.packs import GroupBytes, LeafBytes
from garage.storage.retention import Retention
from garage.storage.run_directory import RunDirectory, RunInfo, now, whole_lines
from garage.storage.signing import SigningKey
from garage.storage.store import EPISODES, UNDIGESTED, SnapshotStore, row_json


@dataclass(frozen=True)
class Capture:
    """Everything of one finished epoch, as it was at that moment.

    Attributes:
        epoch: which.
        state: the state tree; nobody changes its arrays any more.
        opaque: pickles by path.
        metrics: of the epoch; None for a state that no epoch has led to, which gets no row.
        train_args: the first table that ``restore`` prints.
        stats: the second.
        fingerprint: versions, CPU and threads.
        policies: what policies are, as the manifest says it.
    """

    epoch: int
    state: State
    opaque: dict[str, bytes]
    metrics: dict[str, Any] | None
    train_args: dict[str, Any]
    stats: dict[str, Any]
    fingerprint: dict[str, Any]
    policies: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """What is known of an epoch once its row has been appended.

    Attributes:
        digest: of its state.
        leaves: of its state, as bytes.
        groups: of its state.
        log: of metrics.jsonl up to its row.
    """

    digest: str
    leaves: tuple[LeafBytes, ...]
    groups: tuple[GroupBytes, ...]
    log: Log


class _Parts(NamedTuple):
    """What a snapshot is made of, as its manifest says it."""

    leaves: list[Leaf]
    opaque: list[Leaf]
    groups: list[Group]
    chunks: list[Chunk]


class RunWriter:
    """The one writer of a run's directory, from construction to `close`.

    `enter` and `snapshot` may run in two threads, each of them in one at a time.

    Construction cleans up after a writer that died: manifests past ``last_epoch``, which are damaged or abandoned,
    are set aside, rows past it cut, unfinished files and packs that no manifest names removed. What was found
    damaged is listed in ``problems``.

    Args:
        info: who the run is.
        path: its directory, made if it is not there.
        retention: which snapshots are kept.
        recipe: what rebuilds the objects, or None.
        recipe_problem: why there is no recipe, or None.
        last_epoch: the epoch of this directory's snapshot that the run goes on from, or None.
        begins_with: the snapshot of another run that this one goes on from; it and the rows up to it are taken over.
            Whoever gives a key as well vouches for its opaque parts.
        key: what manifests are signed with; None leaves them unsigned.
        disk: through which everything is written.

    Raises:
        InUseError: another process writes there.
        NoSnapshotError: ``last_epoch`` has no snapshot there that is whole.
        FormatVersionError: something there is of another format version.
        WriteError: the disk refused.
    """

    def __init__(  # noqa: PLR0913 - a run is all of these, and they are given once
        self,
        info: RunInfo,
        path: Path,
        *,
        retention: Retention,
        recipe: bytes | None,
        recipe_problem: str | None,
        last_epoch: int | None = None,
        begins_with: Beginning | None = None,
        key: SigningKey | None = None,
        disk: Disk | None = None,
    ) -> None:
        self.directory, self.info, self.retention = RunDirectory(path), info, retention
        self._disk, self._key = disk or Disk(), key
        self._recipe = Recipe.of(recipe, recipe_problem)
        self._lock = WriterLock(self.directory.lock_path, self._disk)
        self._events = Events(self.directory, self._disk, self._lock)
        try:
            opening = Opening(self.directory, info, recipe=self._recipe, disk=self._disk, events=self._events, key=key)
            found = opening.run(
                last_epoch, begins_with, takes_over=retention.mode != "none", from_silent=self._lock.from_silent
            )
            self._log, self.problems = found.log, found.problems
            self._held = HeldSnapshots(self.directory, found, retention, self._disk, self._events)
        except BaseException:
            self._lock.release()
            raise

    def commit(self, capture: Capture, *, requested: bool = False) -> str:
        """Write one epoch and return its digest.

        The epoch's row is written in every mode; the snapshot if the mode saves that epoch, or if ``requested``.

        Raises:
            InUseError: another process has taken over.
            WriteError: the disk refused; what was committed before is intact.
        """
        entry = self.enter(capture)
        if requested or self.retention.saves(capture.epoch):
            self.snapshot(capture, entry, requested=requested)
        return entry.digest

    def keeps(self, block: Block) -> bool:
        """See `HeldSnapshots.keeps`."""
        return self._held.keeps(block)

    def enter(self, capture: Capture) -> Entry:
        """Compute an epoch's digest and append its row, unless it is there: a user's own ``save`` may come after it.

        Raises:
            InUseError: another process has taken over.
            WriteError: the disk refused; what was committed before is intact.
        """
        leaves, groups = packs.as_bytes(capture.state)
        everything: list[LeafBytes | GroupBytes] = [*leaves, *groups]
        digest = state_trees.digest(
            (leaf.path, leaf.dtype, leaf.shape, leaf.hash)
            for leaf in everything
            if not leaf.path.startswith(UNDIGESTED)
        )
        self._lock.check()
        if capture.metrics is not None:
            self._held.judge(capture.epoch, capture.metrics)  # first, for a row that the disk refuses judges too
            self._log.append(row_json(capture.epoch, digest, capture.metrics))
        return Entry(digest, leaves, groups, self._log.state)

    def snapshot(self, capture: Capture, entry: Entry, *, requested: bool, stall_seconds: float = 0.0) -> None:
        """Write the snapshot of an epoch whose row has been entered.

        Args:
            capture: the epoch.
            entry: what `enter` returned for it.
            requested: whether a user's own ``save`` asked for it.
            stall_seconds: what training had to wait for it, for the record.

        Raises:
            InUseError: another process has taken over.
            WriteError: the disk refused; what was committed before is intact.
        """
        begun = time.perf_counter()
        opaque = [LeafBytes(path, "opaque", (), data) for path, data in capture.opaque.items()]
        # Stored episodes share no chunk with the state, which damage to them must not touch.
        kept_apart = [leaf for leaf in entry.leaves if leaf.path.startswith(f"{EPISODES}/")]
        needed = [leaf for leaf in entry.leaves if leaf not in kept_apart]
        chunks, cut = packs.cut([*needed, *opaque])
        chunks, episodes = packs.cut(kept_apart, chunks)
        all_chunks, groups = packs.cut_groups(entry.groups, chunks)
        with self._held.unless_taken():
            placed, n_written = packs.store(self.directory, self._disk, all_chunks, self._held.chunks)
            self._log.sync()
        parts = _Parts([*cut[: len(needed)], *episodes], cut[len(needed) :], groups, placed)
        manifest = self._manifest_of(capture, entry, parts, requested=requested)
        self._held.write(manifest, signing.encode(manifest, self._key), entry.groups)
        self.add_event(
            "snapshot",
            epoch=capture.epoch,
            requested=requested,
            stall_seconds=round(stall_seconds, 6),
            write_seconds=round(time.perf_counter() - begun, 6),
            bytes=n_written,
        )
        self._held.retain()

    def add_event(self, event: str, **details: object) -> None:
        """Append one event to events.jsonl.

        Raises:
            InUseError: another process has taken over.
            WriteError: the disk refused.
        """
        self._events.add(event, **details)

    def write_file(self, name: str, data: bytes) -> None:
        """Write a whole file of the run.

        Raises:
            InUseError: another process has taken over.
            WriteError: the disk refused.
        """
        self._lock.check()
        self._disk.write_whole(self.directory.path / name, [data])

    def rows(self) -> list[dict[str, Any]]:
        """All rows of metrics so far."""
        return list(whole_lines(self.directory.metrics_path))

    def close(self) -> None:
        """Let others write."""
        self._lock.release()

    def reopen(self) -> None:
        """Go on writing after `close`.

        Raises:
            InUseError: another process writes there, or has written there since.
        """
        self._lock = self._events.lock = WriterLock(self.directory.lock_path, self._disk)
        path = self.directory.metrics_path
        n_bytes = path.stat().st_size if path.is_file() else 0
        if n_bytes != self._log.state.bytes or not self._held.are_as_left():
            self._lock.release()
            msg = (
                f"{self.directory.path} was changed by another process since this trainer wrote to it. "
                "Restore from it with a new Trainer, and resume that one."
            )
            raise InUseError(msg)

    def _manifest_of(self, capture: Capture, entry: Entry, parts: _Parts, *, requested: bool) -> Manifest:
        return Manifest(
            run=self.info.id,
            name=self.info.name,
            parent=self.info.parent,
            epoch=capture.epoch,
            requested=requested or self._held.was_requested(capture.epoch),
            digest=entry.digest,
            written_at=now(),
            train_args=capture.train_args,
            stats=capture.stats,
            metrics={key: state_trees.json_scalar(value) for key, value in (capture.metrics or {}).items()},
            fingerprint=capture.fingerprint,
            recipe=self._recipe.hash,
            recipe_problem=self._recipe.problem,
            log=entry.log,
            leaves=tuple(parts.leaves),
            opaque=tuple(parts.opaque),
            groups=tuple(parts.groups),
            policies=capture.policies,
            chunks=tuple(parts.chunks),
        )


def rewind(directory: RunDirectory, epoch: int, disk: Disk | None = None) -> list[int]:
    """Abandon the snapshots after ``epoch``, and return their epochs; they and their rows are kept aside.

    The event is the commit: from then on readers ignore those manifests, whether or not they have been moved.
    The rows after ``epoch`` are cut by the next `RunWriter`.

    Raises:
        InUseError: another process writes there.
        WriteError: the disk refused.
    """
    disk = disk or Disk()
    with WriterLock(directory.lock_path, disk) as lock:
        if lock.from_silent:
            renew_logs(directory, disk)
        whole, _ = SnapshotStore(directory.path).manifests()
        later = {manifest.epoch: manifest.checksum for manifest in whole if manifest.epoch > epoch}
        if not later:
            return []
        if directory.metrics_path.is_file():
            aside = directory.metrics_path.with_name(f"metrics-abandoned-{now().replace(':', '')}.jsonl")
            disk.write_whole(aside, [directory.metrics_path.read_bytes()])
        abandoned = {str(key): checksum for key, checksum in later.items()}
        directory.mend_events(disk)
        directory.add_event("rewind", {"to": epoch, "abandoned": abandoned}, disk, sync=True)
        return sorted(later)


def parent_of(manifest: Manifest, path: Path) -> Parent:
    """How a run names the snapshot that it goes on from."""
    return Parent(manifest.run, manifest.epoch, manifest.digest, str(path.absolute()))
