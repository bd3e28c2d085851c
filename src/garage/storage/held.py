"""The snapshots of a directory as its one writer knows them: what it may name, what it replaces, what may go."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Self

from garage.core.tracked import RESTORED, Block
from garage.errors import DamagedError, InUseError, StorageError, WriteError
from garage.storage import manifest as manifests
from garage.storage.disk import Disk
from garage.storage.events import Events
from garage.storage.manifest import Chunk, Manifest
from garage.storage.opening import Found
from garage.storage.packs import GroupBytes
from garage.storage.pins import pinned, turn_to_remove_or_pin
from garage.storage.retention import Retention
from garage.storage.run_directory import RunDirectory, content
from garage.storage.store import EPISODES


class _Kept(NamedTuple):
    """What the writer needs to know of a manifest, which is a hundredth of it."""

    epoch: int
    digest: str
    checksum: str
    requested: bool
    packs: frozenset[str]

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        return cls(manifest.epoch, manifest.digest, manifest.checksum, manifest.requested, frozenset(manifest.packs()))


class HeldSnapshots:
    """Writes manifests, and removes those that are superseded with the packs that only they name.

    Args:
        directory: of the run.
        found: what it holds now.
        retention: which snapshots are kept.
        disk: through which everything is written.
        events: of the directory, and the writer's lock.
    """

    def __init__(self, directory: RunDirectory, found: Found, retention: Retention, disk: Disk, events: Events) -> None:
        self._directory, self._retention, self._disk, self._events = directory, retention, disk, events
        self._kept = {epoch: _Kept.of(manifest) for epoch, manifest in found.manifests.items()}
        self._packs_aside = found.packs_aside
        self._token = object()
        keep_best = retention.keep_best
        self._judgements = {} if keep_best is None else directory.judgements(keep_best)
        self.chunks: dict[str, Chunk] = {} if found.newest is None else _checked_chunks(found.newest)
        """By hash, where bytes lie that need not be written again."""

    def keeps(self, block: Block) -> bool:
        """Whether a block of a tracked group lies in a pack and will until its group changes there; in any thread.

        What this writer wrote of a group, or what it was restored from, is in all captures of the group since, until
        it changes: so whichever of them are written or dropped, the newest snapshot names it.
        """
        return block.hash in self.chunks and (block.keeper is self._token or block.keeper is RESTORED)

    def judge(self, epoch: int, metrics: dict[str, Any]) -> None:
        """Remember what the row of an epoch says of the snapshot that it judges."""
        if self._retention.keep_best in metrics:
            self._judgements[epoch] = float(metrics[self._retention.keep_best])

    def was_requested(self, epoch: int) -> bool:
        """Whether a user's own ``save`` has asked for the snapshot of that epoch before."""
        return epoch in self._kept and self._kept[epoch].requested

    def write(self, manifest: Manifest, data: bytes, groups: Sequence[GroupBytes]) -> None:
        """Let a manifest appear.

        Args:
            manifest: what it says; all chunks that it names are on the device.
            data: the file.
            groups: tracked groups of the snapshot, whose blocks this writer keeps from now on.

        Raises:
            InUseError: another process has taken over.
            WriteError: the disk refused.
        """
        epoch, path = manifest.epoch, self._directory.manifest_path(manifest.epoch)
        kept = _Kept.of(manifest)._replace(checksum=manifests.checksum(data))
        with self.unless_taken():
            if epoch in self._checked_epochs():
                self._events.add("replaced", epoch=epoch)
            try:
                self._disk.write_whole(path, [data])
                self._kept[epoch] = kept
            except BaseException:
                # After a refused sync of the folder it is there all the same, and its packs must stay.
                if content(path) == data:
                    self._kept[epoch] = kept
                raise
        self.chunks |= {chunk.hash: chunk for chunk in manifest.chunks}
        for captured in groups:
            for block in captured.group.blocks:
                block.keeper = self._token

    def retain(self) -> None:
        """Remove superseded manifests first, then the packs that no manifest names."""
        if not self._retention.drops:
            return
        requested = frozenset(epoch for epoch, kept in self._kept.items() if kept.requested)
        superseded = self._retention.superseded(sorted(self._kept), requested=requested, judgements=self._judgements)
        if not superseded:
            return
        packs_before = self._named_packs()
        with turn_to_remove_or_pin(self._directory):
            gone = self._not_pinned(superseded)
            for epoch in gone:
                self._events.lock.check()
                self._disk.remove(self._directory.manifest_path(epoch))
                del self._kept[epoch]
        if not gone:
            return
        # Else a power cut could leave a manifest whose packs are gone.
        self._disk.settle(self._directory.snapshots_path)
        packs_after = self._named_packs()
        self.chunks = {name: chunk for name, chunk in self.chunks.items() if chunk.pack in packs_after}
        for pack in packs_before - packs_after - self._packs_aside:
            self._events.lock.check()
            self._disk.remove(self._directory.pack_path(pack))

    @contextlib.contextmanager
    def unless_taken(self) -> Iterator[None]:
        """Do it if nobody has taken over; who has removes our unfinished files, which looks like a refusal."""
        self._events.lock.check()
        try:
            yield
        except WriteError:
            self._events.lock.check()
            self._checked_epochs()
            raise

    def are_as_left(self) -> bool:
        """Whether the manifests on the disk are those that this writer knows."""
        try:
            paths = {epoch: self._directory.manifest_path(epoch) for epoch in self._directory.manifest_epochs()}
            found = {epoch: manifests.read(path).checksum for epoch, path in paths.items()}
        except StorageError:
            return False
        return found == {epoch: kept.checksum for epoch, kept in self._kept.items()}

    def _checked_epochs(self) -> list[int]:
        """Epochs that have a manifest, the newest of which is our own; for the thread that writes them."""
        epochs = self._directory.manifest_epochs()
        if not epochs:
            return []
        path, known = self._directory.manifest_path(epochs[-1]), self._kept.get(epochs[-1])
        if known is not None and known.checksum.encode() in content(path):
            return epochs
        try:
            found = manifests.read(path)
            who = f"by run {found.run} ({found.name}) at {found.written_at}"
        except StorageError as error:
            who = f"and cannot be read: {error}"
        msg = f"{path} was not written by this process, but {who}. Nothing was overwritten; end one of the two runs."
        raise InUseError(msg)

    def _not_pinned(self, superseded: list[int]) -> list[int]:
        try:
            kept = pinned(self._directory, self._kept.values())
        except DamagedError:  # was said when the run was opened; until it is mended, all count as pinned
            return []
        return [epoch for epoch in superseded if epoch not in kept]

    def _named_packs(self) -> set[str]:
        return {pack for kept in self._kept.values() for pack in kept.packs}


def _checked_chunks(manifest: Manifest) -> dict[str, Chunk]:
    """Those that were read and found whole with the snapshot; of its episodes and of other snapshots none was."""
    leaves = [leaf for leaf in manifest.leaves if not leaf.path.startswith(f"{EPISODES}/")]
    indices = {piece.chunk for leaf in (*leaves, *manifest.opaque) for piece in leaf.pieces}
    indices |= {index for group in manifest.groups for index in group.blocks}
    return {manifest.chunks[index].hash: manifest.chunks[index] for index in indices}
