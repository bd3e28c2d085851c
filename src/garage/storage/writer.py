"""Writing a run: packs, then the row of metrics, then the manifest; what is true at any time is one of two states."""

import contextlib
import math
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from blake3 import blake3

from garage.core import state as state_trees
from garage.core.tracked import RESTORED, Block
from garage.core.types import State
from garage.errors import DamagedError, InUseError, NoSnapshotError, StorageError, WriteError
from garage.storage import manifest as manifests
from garage.storage import packs, signing
from garage.storage.disk import UNFINISHED, Disk
from garage.storage.linking import Beginning, link_packs, remove_unfinished_forks, with_state
from garage.storage.lock import WriterLock
from garage.storage.manifest import Chunk, Group, Leaf, Log, Manifest, Parent
from garage.storage.metrics_log import MetricsLog
from garage.storage.packs import GroupBytes, LeafBytes
from garage.storage.retention import Retention
from garage.storage.run_directory import RunDirectory, RunInfo, content, now, whole_lines
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
    """

    epoch: int
    state: State
    opaque: dict[str, bytes]
    metrics: dict[str, Any] | None
    train_args: dict[str, Any]
    stats: dict[str, Any]
    fingerprint: dict[str, Any]


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
        self._events = threading.Lock()
        self._lock = WriterLock(self.directory.lock_path, self._disk)
        try:
            self._packs_aside: set[str] = set()
            self._token = object()
            self.problems: list[str] = []
            self._recipe_problem = recipe_problem
            self._recipe = None if recipe is None else blake3(recipe).hexdigest()
            self._open(recipe, last_epoch, begins_with)
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
        """Whether a block of a tracked group lies in a pack and will until its group changes there; in any thread.

        What this writer wrote of a group, or what it was restored from, is in all captures of the group since, until
        it changes: so whichever of them are written or dropped, the newest snapshot names it.
        """
        return block.hash in self._chunks and (block.keeper is self._token or block.keeper is RESTORED)

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
            self._log.append(row_json(capture.epoch, digest, capture.metrics))
            self._judge(capture.epoch, capture.metrics)
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
        with self._unless_taken():
            placed, n_written = packs.store(self.directory, self._disk, all_chunks, self._chunks)
            self._log.sync()
        parts = _Parts([*cut[: len(needed)], *episodes], cut[len(needed) :], groups, placed)
        with self._unless_taken():
            self._write_manifest(capture, entry, parts, requested=requested)
        self.add_event(
            "snapshot",
            epoch=capture.epoch,
            requested=requested,
            stall_seconds=round(stall_seconds, 6),
            write_seconds=round(time.perf_counter() - begun, 6),
            bytes=n_written,
        )
        self._retain()

    def add_event(self, event: str, **details: object) -> None:
        """Append one event to events.jsonl.

        Raises:
            InUseError: another process has taken over.
            WriteError: the disk refused.
        """
        self._lock.check()
        with self._events:
            self.directory.add_event(event, details, self._disk)

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
        self._lock = WriterLock(self.directory.lock_path, self._disk)
        if not self._is_as_left():
            self._lock.release()
            msg = (
                f"{self.directory.path} was changed by another process since this trainer wrote to it. "
                "Restore from it with a new Trainer, and resume that one."
            )
            raise InUseError(msg)

    @contextlib.contextmanager
    def _unless_taken(self) -> Iterator[None]:
        """Do it if nobody has taken over; who has removes our unfinished files, which looks like a refusal."""
        self._check()
        try:
            yield
        except WriteError:
            self._check()
            raise

    def _check(self) -> None:
        """Make sure that the lock and the newest manifest are our own; for the thread that writes manifests."""
        self._lock.check()
        newest = max(self.directory.manifest_epochs(), default=None)
        if newest is None:
            return
        path, known = self.directory.manifest_path(newest), self._manifests.get(newest)
        if known is not None and known.checksum.encode() in content(path):
            return
        try:
            found = self._read_manifest(newest)
            who = f"by run {found.run} ({found.name}) at {found.written_at}"
        except StorageError as error:
            who = f"and cannot be read: {error}"
        msg = f"{path} was not written by this process, but {who}. Nothing was overwritten; end one of the two runs."
        raise InUseError(msg)

    def _is_as_left(self) -> bool:
        path = self.directory.metrics_path
        if (path.stat().st_size if path.is_file() else 0) != self._log.state.bytes:
            return False
        try:
            found = {epoch: self._read_manifest(epoch).checksum for epoch in self.directory.manifest_epochs()}
        except StorageError:
            return False
        return found == {epoch: manifest.checksum for epoch, manifest in self._manifests.items()}

    def _read_manifest(self, epoch: int) -> Manifest:
        return manifests.read(self.directory.manifest_path(epoch))

    def _open(self, recipe: bytes | None, last_epoch: int | None, begins_with: Beginning | None) -> None:
        with contextlib.suppress(NoSnapshotError, DamagedError):
            self.directory.info()  # of another format version? then hands off
        self._manifests, aside = self._found(last_epoch)
        newest = None if last_epoch is None else self._manifests[last_epoch]
        if self._lock.from_silent:
            renew_logs(self.directory, self._disk)
        self.directory.cut_torn_event(self._disk)
        self.directory.write_info(self.info, self._disk)
        if recipe is not None and self._recipe is not None:
            self._write_recipe(recipe, self._recipe)
        for path, target in aside:
            self._disk.move(path, target)
        self._chunks: dict[str, Chunk] = {} if newest is None else _checked_chunks(newest)
        rows = b"" if begins_with is None else rows_up_to(RunDirectory(begins_with.path), begins_with.manifest.log)
        self._open_log(newest, rows)
        keep_best = self.retention.keep_best
        self._judgements = {} if keep_best is None else self.directory.judgements(keep_best)
        if begins_with is not None and self.retention.mode != "none":
            self._take_over(begins_with)
        self._remove_left_overs()

    def _write_recipe(self, recipe: bytes, recipe_hash: str) -> None:
        first, later = self.directory.recipe_paths(recipe_hash)
        if not first.exists():
            self._disk.write_whole(first, [recipe])
        elif blake3(first.read_bytes()).hexdigest() != recipe_hash:
            self._disk.write_whole(later, [recipe])

    def _found(self, last_epoch: int | None) -> tuple[dict[int, Manifest], list[tuple[Path, Path]]]:
        """The manifests up to ``last_epoch``, and where to move damaged and later ones, out of the readers' sight."""
        kept, aside = {}, []
        abandoned = self.directory.abandoned()
        newest = -1 if last_epoch is None else last_epoch
        for epoch in self.directory.manifest_epochs():
            folder = "damaged"
            with contextlib.suppress(DamagedError):
                manifest = self._read_manifest(epoch)
                if manifest.epoch == epoch <= newest and manifest.checksum not in abandoned:
                    kept[epoch] = manifest
                    continue
                folder = "abandoned"
            path = self.directory.manifest_path(epoch)
            aside.append((path, path.parent / folder / f"{epoch:06d}-{now().replace(':', '')}.json"))
        if last_epoch is not None and last_epoch not in kept:
            msg = (
                f"Cannot go on from epoch {last_epoch} of {self.directory.path}: its snapshot is no longer there, or "
                f"no longer whole; it has: {', '.join(map(str, kept)) or 'none'}. Restore again, then resume."
            )
            raise NoSnapshotError(msg)
        return kept, aside

    def _take_over(self, beginning: Beginning) -> None:
        """Begin with the snapshot of another run, so that there is one to go on from before the first is saved."""
        theirs, source = beginning.manifest, RunDirectory(beginning.path)
        try:
            link_packs(theirs, source, self.directory, self._disk)
        except FileNotFoundError as error:
            self.problems.append(
                f"The snapshot of epoch {theirs.epoch} is no longer in {source.path}, so until it has saved its first "
                f"epoch {self.directory.path} has none to go on from: {error.filename} is missing."
            )
            return
        manifest = msgspec.structs.replace(
            with_state(theirs, beginning.changes, self.directory, self._disk),
            run=self.info.id,
            name=self.info.name,
            parent=self.info.parent,
            recipe=self._recipe,
            recipe_problem=self._recipe_problem,
            log=self._log.state,
        )
        data, path = signing.encode(manifest, self._key), self.directory.manifest_path(manifest.epoch)
        self._disk.write_whole(path, [data])
        self._manifests[manifest.epoch] = manifests.decode(data, str(path))
        self._chunks = _checked_chunks(manifest)
        self.add_event("fork", epoch=manifest.epoch, parent=self.info.parent)

    def _open_log(self, newest: Manifest | None, rows: bytes) -> None:
        """Bring metrics.jsonl to what the newest manifest says of it."""
        path = self.directory.metrics_path
        if newest is None:
            if path.is_file() and path.stat().st_size:
                self._disk.move(path, path.with_name(f"metrics-abandoned-{now().replace(':', '')}.jsonl"))
            parent = self.info.parent
            readable = b"".join(_readable_rows(rows, math.inf if parent is None else parent.epoch))
            self._disk.write_whole(path, [readable])
            if readable != rows:
                self.add_event("damaged_metrics", bytes=len(rows), kept=len(readable))
            self._log = MetricsLog(path, readable, self._disk)
            return
        data = content(path)
        belongs = data[: newest.log.bytes]
        if blake3(belongs).hexdigest() == newest.log.hash:
            if len(data) > len(belongs):
                self._disk.truncate(path, len(belongs))
            self._log = MetricsLog(path, belongs, self._disk)
            return
        # The log is damaged, the snapshot is not: keep the damaged one aside and go on with the rows that can be read.
        if data:
            self._disk.write_whole(path.with_name(f"metrics-damaged-{now().replace(':', '')}.jsonl"), [data])
        readable = b"".join(_readable_rows(data, newest.epoch))
        self._disk.write_whole(path, [readable])
        self.add_event("damaged_metrics", bytes=len(data), kept=len(readable))
        self.problems.append(
            f"{path} was not as written: its rows up to epoch {newest.epoch} are kept as far as they can be read, but "
            "may be wrong. The file as it was found lies beside it, as metrics-damaged-….jsonl"
        )
        self._log = MetricsLog(path, readable, self._disk)

    def _write_manifest(self, capture: Capture, entry: Entry, parts: _Parts, *, requested: bool) -> None:
        replaced = self._manifests.get(capture.epoch)
        manifest = Manifest(
            run=self.info.id,
            name=self.info.name,
            parent=self.info.parent,
            epoch=capture.epoch,
            requested=requested or (replaced is not None and replaced.requested),
            digest=entry.digest,
            written_at=now(),
            train_args=capture.train_args,
            stats=capture.stats,
            metrics={key: state_trees.json_scalar(value) for key, value in (capture.metrics or {}).items()},
            fingerprint=capture.fingerprint,
            recipe=self._recipe,
            recipe_problem=self._recipe_problem,
            log=entry.log,
            leaves=tuple(parts.leaves),
            opaque=tuple(parts.opaque),
            groups=tuple(parts.groups),
            chunks=tuple(parts.chunks),
        )
        data = signing.encode(manifest, self._key)
        path = self.directory.manifest_path(capture.epoch)
        if path.exists():
            self.add_event("replaced", epoch=capture.epoch)
        try:
            self._disk.write_whole(path, [data])
        finally:
            # After a refused sync of the folder it is there all the same, and its packs must stay.
            if content(path) == data:
                self._manifests[capture.epoch] = manifests.decode(data, str(path))
        self._chunks |= {chunk.hash: chunk for chunk in parts.chunks}
        for captured in entry.groups:
            for block in captured.group.blocks:
                block.keeper = self._token

    def _judge(self, epoch: int, metrics: dict[str, Any]) -> None:
        if self.retention.keep_best in metrics:
            self._judgements[epoch] = float(metrics[self.retention.keep_best])

    def _retain(self) -> None:
        """Remove superseded manifests first, then the packs that no manifest names."""
        requested = frozenset(epoch for epoch, manifest in self._manifests.items() if manifest.requested)
        gone = self.retention.superseded(sorted(self._manifests), requested=requested, judgements=self._judgements)
        if not gone:
            return
        packs_before = {pack for manifest in self._manifests.values() for pack in manifest.packs()}
        for epoch in gone:
            self._lock.check()
            self._disk.remove(self.directory.manifest_path(epoch))
            del self._manifests[epoch]
        # Else a power cut could leave a manifest whose packs are gone.
        self._disk.settle(self.directory.snapshots_path)
        packs_after = {pack for manifest in self._manifests.values() for pack in manifest.packs()}
        self._chunks = {name: chunk for name, chunk in self._chunks.items() if chunk.pack in packs_after}
        for pack in packs_before - packs_after - self._packs_aside:
            self._lock.check()
            self._disk.remove(self.directory.pack_path(pack))

    def _remove_left_overs(self) -> None:
        """Unfinished files, and packs that no manifest names, of a writer that died; the lock is ours, so nobody's."""
        existing = packs.pack_names(self.directory)
        named = {pack for manifest in self._manifests.values() for pack in manifest.packs()}
        for path in self.directory.snapshots_path.glob("abandoned/*.json"):
            with contextlib.suppress(DamagedError):
                self._packs_aside |= manifests.read(path).packs()
        if any(self.directory.snapshots_path.glob("damaged/*.json")):
            self._packs_aside |= existing.keys() - named  # a manifest that cannot be read may need any of them
        for pack in existing.keys() - named - self._packs_aside:
            self._disk.remove(existing[pack])
        for path in self.directory.path.rglob(f"{UNFINISHED}[0-9]*"):
            self._disk.remove(path)
        self.problems += remove_unfinished_forks(self.directory.path.absolute().parent, self._disk)


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
        directory.cut_torn_event(disk)
        directory.add_event("rewind", {"to": epoch, "abandoned": abandoned}, disk, sync=True)
        return sorted(later)


def renew_logs(directory: RunDirectory, disk: Disk) -> None:
    """Copy the logs to new files: a holder that fell silent in the middle of a line may wake up and append the rest."""
    for path in (directory.metrics_path, directory.events_path):
        if path.is_file():
            disk.write_whole(path, [content(path)])


def rows_up_to(directory: RunDirectory, log: Log) -> bytes:
    """The bytes of metrics.jsonl that belong to a snapshot."""
    return content(directory.metrics_path)[: log.bytes]


def parent_of(manifest: Manifest, path: Path) -> Parent:
    """How a run names the snapshot that it goes on from."""
    return Parent(manifest.run, manifest.epoch, manifest.digest, str(path.absolute()))


def _checked_chunks(manifest: Manifest) -> dict[str, Chunk]:
    """Those that were read and found whole with the snapshot; of its episodes and of other snapshots none was."""
    leaves = [leaf for leaf in manifest.leaves if not leaf.path.startswith(f"{EPISODES}/")]
    indices = {piece.chunk for leaf in (*leaves, *manifest.opaque) for piece in leaf.pieces}
    indices |= {index for group in manifest.groups for index in group.blocks}
    return {manifest.chunks[index].hash: manifest.chunks[index] for index in indices}


def _readable_rows(data: bytes, last_epoch: float) -> Iterable[bytes]:
    for line in data.split(b"\n")[:-1]:
        with contextlib.suppress(ValueError, TypeError, KeyError):
            if msgspec.json.decode(line)["epoch"] <= last_epoch:
                yield line + b"\n"
