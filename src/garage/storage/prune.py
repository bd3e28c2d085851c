"""Forgetting snapshots: manifests first, then packs that nobody names, then the gaps within packs are closed.

The order is that of the writer, so at any time each snapshot that is there is whole: a manifest is removed before the
packs that only it names; a new pack is on the device before a manifest names it, by one rename; and an old pack goes
when no manifest names it any more.
"""

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import msgspec

from garage.errors import ArgumentError, DamagedError
from garage.storage import manifest as manifests
from garage.storage import packs
from garage.storage.disk import Disk
from garage.storage.lock import WriterLock
from garage.storage.manifest import Chunk, Manifest
from garage.storage.opening import renew_logs
from garage.storage.packs import StoredChunk
from garage.storage.pins import pinned, turn_to_remove_or_pin
from garage.storage.run_directory import RunDirectory
from garage.storage.signing import Signer, SigningKey, encode_like, signer_of
from garage.storage.store import SnapshotStore

_NAMED = ("all", "last", "first", "best")
_PER_PACK = packs.PACK_BYTES // packs.CHUNK_BYTES
_LEAST_ALIVE = 0.5


@dataclass(frozen=True)
class Keep:
    """Which snapshots to keep; always kept are the newest whole one, newer ones, and what is pinned or was asked for.

    Attributes:
        named: of ``all``, ``last``, ``first``, ``best``.
        epochs: these.
        gaps: those whose epoch is divisible by one of these.
    """

    named: frozenset[str] = frozenset()
    epochs: frozenset[int] = frozenset()
    gaps: frozenset[int] = frozenset()

    @classmethod
    def of(cls, words: Iterable[str]) -> Self:
        """From words such as ``best``, ``gap:10`` and ``17``.

        Raises:
            ArgumentError: a word is none of these.
        """
        named, epochs, gaps = set(), set(), set()
        for word in words:
            number = word.removeprefix("gap:")
            is_number = number.isdecimal() and number.isascii()
            if word in _NAMED:
                named.add(word)
            elif is_number and number == word:
                epochs.add(int(number))
            elif is_number and int(number) > 0:
                gaps.add(int(number))
            else:
                msg = (
                    f"Cannot keep {word!r}: expected {', '.join(_NAMED)}, an epoch such as 17, or gap:10 for the "
                    "epochs divisible by 10; several with commas between them."
                )
                raise ArgumentError(msg)
        return cls(frozenset(named), frozenset(epochs), frozenset(gaps))


class Pruned(msgspec.Struct, kw_only=True):
    """What a pruning did, or would do."""

    kept: list[int]
    """Epochs, ascending."""
    forgotten: list[int]
    """Likewise."""
    packs_removed: int = 0
    """Those that no snapshot needs any more."""
    packs_rewritten: int = 0
    """Those of which less than half was needed."""
    bytes_freed: int = 0
    """Of files that are gone, less those of new ones. A pack that another run shares frees nothing."""
    problems: list[str] = []
    """What was left as it is, and why."""


@dataclass
class _Plan:
    """What is to be done.

    Attributes:
        kept: manifests.
        forgotten: likewise.
        dead: packs that no kept manifest names.
        sparse: packs to rewrite, with the chunks that live.
        left_overs: unfinished files of a writer that was killed.
        problems: see `Pruned`.
    """

    kept: list[Manifest]
    forgotten: list[Manifest]
    dead: dict[str, Path] = field(default_factory=dict)
    sparse: dict[str, list[Chunk]] = field(default_factory=dict)
    left_overs: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def prune(
    directory: RunDirectory,
    keep: Keep,
    *,
    dry_run: bool = False,
    key: SigningKey | None = None,
    disk: Disk | None = None,
) -> Pruned:
    """Forget the snapshots that are not kept, and give back the room that no snapshot needs.

    Digests and values of kept snapshots stay as they are; only the places of their bytes change.

    Args:
        directory: the run.
        keep: which snapshots to keep.
        dry_run: change nothing, only say what would be done.
        key: the user's. Manifests that are signed with another one stay as they are, and so do their packs.
        disk: through which everything is written.

    Raises:
        NoSnapshotError: there is no run here, or no snapshot that is asked for.
        DamagedError: none of the snapshots is whole, or one that is asked for is not; or it cannot be told which are
            pinned.
        InUseError: another process writes there.
        WriteError: the disk refused; every snapshot that is there is whole.
    """
    disk = disk or Disk()
    directory.info()
    if dry_run:
        plan = _planned(directory, keep, key)
        return _said(plan, _n_bytes(directory, plan) - _rewritten_bytes(plan))
    with WriterLock(directory.lock_path, disk) as lock:
        if lock.from_silent:
            renew_logs(directory, disk)
        with turn_to_remove_or_pin(directory):
            plan = _planned(directory, keep, key)
            freed = _n_bytes(directory, plan)
            if plan.forgotten or plan.dead or plan.sparse:
                directory.mend_events(disk)
                directory.add_event("prune", {"kept": _epochs(plan.kept), "forgotten": _epochs(plan.forgotten)}, disk)
            for path in (*(directory.manifest_path(epoch) for epoch in _epochs(plan.forgotten)), *plan.left_overs):
                lock.check()
                disk.remove(path)
        if plan.forgotten:
            disk.settle(directory.snapshots_path)
        for path in plan.dead.values():
            lock.check()
            disk.remove(path)
        freed -= _rewrite(directory, plan, key, lock, disk)
        return _said(plan, freed)


def _planned(directory: RunDirectory, keep: Keep, key: SigningKey | None) -> _Plan:
    store = SnapshotStore(directory.path)
    whole, problems = store.manifests()
    kept = _kept(store, whole, problems, keep)
    plan = _Plan([each for each in whole if each.epoch in kept], [each for each in whole if each.epoch not in kept])
    existing = packs.pack_names(directory)
    named = _named(plan.kept)
    aside = _set_aside(directory, existing.keys() - _named(whole), problems)
    plan.problems += problems
    plan.dead = {name: path for name, path in existing.items() if name not in named | aside}
    living: dict[str, dict[int, Chunk]] = {}
    for manifest in plan.kept:
        for chunk in manifest.chunks:
            living.setdefault(chunk.pack, {})[chunk.offset] = chunk
    fixed = aside | _named(each for each in plan.kept if not _can_change(directory, each, key))
    for name in sorted(existing.keys() & living.keys() - fixed):
        status = existing[name].stat()
        chunks = [chunk for _, chunk in sorted(living[name].items())]
        # One that another run shares would still be there afterwards, beside its copy.
        if status.st_nlink == 1 and sum(chunk.stored for chunk in chunks) < _LEAST_ALIVE * status.st_size:
            plan.sparse[name] = chunks
    plan.left_overs = directory.unfinished_paths()
    return plan


def _kept(store: SnapshotStore, whole: Sequence[Manifest], problems: Sequence[str], keep: Keep) -> set[int]:
    """Epochs to keep; each that is asked for, and the newest whole one, is read and found whole."""
    asked: list[int | str] = [*sorted(keep.epochs), *sorted(keep.named - {"all", "last"})]
    if not whole and not problems and not asked:
        return set()
    newest = store.read("last", with_recipe=False).manifest.epoch
    epochs = {each.epoch for each in whole}
    if "all" in keep.named:
        return epochs
    return {
        *(store.read(which, with_recipe=False).manifest.epoch for which in asked),
        *(each.epoch for each in whole if each.requested or each.epoch >= newest),
        *pinned(store.directory, whole),
        *(epoch for epoch in epochs for gap in keep.gaps if epoch % gap == 0),
    }


def _can_change(directory: RunDirectory, manifest: Manifest, key: SigningKey | None) -> bool:
    """Whether what is made from a manifest is trusted as much as it."""
    return signer_of(manifest, directory.manifest_path(manifest.epoch), key) in {Signer.THIS_KEY, Signer.NOBODY}


def _epochs(these: Iterable[Manifest]) -> list[int]:
    return [manifest.epoch for manifest in these]


def _named(these: Iterable[Manifest]) -> set[str]:
    return {pack for manifest in these for pack in manifest.packs()}


def _set_aside(directory: RunDirectory, unnamed: set[str], problems: list[str]) -> set[str]:
    """Packs that manifests need which a rewind abandoned; and all ``unnamed`` ones if a damaged one may need them.

    Nothing of those manifests may change: the rewind names them by their checksums.
    """
    needed: set[str] = set()
    damaged = bool(problems) or any(directory.snapshots_path.glob("damaged/*.json"))
    abandoned = directory.abandoned()
    for path in directory.snapshots_path.glob("abandoned/*.json"):
        try:
            needed |= manifests.read(path).packs()
        except DamagedError:
            damaged = True
    for epoch in directory.manifest_epochs():
        with contextlib.suppress(DamagedError):  # among the problems
            manifest = manifests.read(directory.manifest_path(epoch))
            if manifest.checksum in abandoned:
                needed |= manifest.packs()
    if damaged and unnamed - needed:
        problems.append(
            f"Packs that no manifest names were kept ({len(unnamed - needed)}): damaged manifests in "
            f"{directory.snapshots_path} or its folders may need them. Remove those, then prune again."
        )
    return needed | unnamed if damaged else needed


def _n_bytes(directory: RunDirectory, plan: _Plan) -> int:
    """Of the files that will be gone."""
    gone = [directory.manifest_path(manifest.epoch) for manifest in plan.forgotten]
    gone += [*plan.dead.values(), *plan.left_overs, *map(directory.pack_path, plan.sparse)]
    statuses = [path.stat() for path in gone if path.exists()]
    return sum(status.st_size for status in statuses if status.st_nlink == 1)


def _rewritten_bytes(plan: _Plan) -> int:
    chunks = [chunk.stored for living in plan.sparse.values() for chunk in living]
    return sum(packs.pack_bytes(chunks[n : n + _PER_PACK]) for n in range(0, len(chunks), _PER_PACK))


def _rewrite(directory: RunDirectory, plan: _Plan, key: SigningKey | None, lock: WriterLock, disk: Disk) -> int:
    """Move the chunks that live out of the sparse packs, and remove those; return the bytes that new packs take."""
    places: dict[tuple[str, int], Chunk] = {}
    waiting: list[tuple[Chunk, StoredChunk]] = []
    size = 0
    for name, chunks in list(plan.sparse.items()):
        try:
            waiting += [(chunk, packs.read_stored(directory, chunk)) for chunk in chunks]
        except DamagedError as error:
            size += directory.pack_path(name).stat().st_size
            plan.problems.append(f"A pack was left as it is, with its gaps: {error}.")
            del plan.sparse[name]
        while len(waiting) >= _PER_PACK:
            size += _move(directory, waiting[:_PER_PACK], places, disk)
            del waiting[:_PER_PACK]
    if waiting:
        size += _move(directory, waiting, places, disk)
    moved = []
    for manifest in plan.kept:
        found = tuple(places.get((chunk.pack, chunk.offset), chunk) for chunk in manifest.chunks)
        moved.append(msgspec.structs.replace(manifest, chunks=found))
        if found != manifest.chunks:
            lock.check()
            path = directory.manifest_path(manifest.epoch)
            disk.write_whole(path, [encode_like(moved[-1], manifest, path, key)])
    for name in plan.sparse.keys() - _named(moved):
        lock.check()
        disk.remove(directory.pack_path(name))
    return size


def _move(
    directory: RunDirectory,
    chunks: Sequence[tuple[Chunk, StoredChunk]],
    places: dict[tuple[str, int], Chunk],
    disk: Disk,
) -> int:
    written = packs.write_pack(directory, disk, [stored for _, stored in chunks])
    for (old, _), new in zip(chunks, written, strict=True):
        places[old.pack, old.offset] = new
    return packs.pack_bytes(chunk.stored for chunk in written)


def _said(plan: _Plan, freed: int) -> Pruned:
    return Pruned(
        kept=_epochs(plan.kept),
        forgotten=_epochs(plan.forgotten),
        packs_removed=len(plan.dead),
        packs_rewritten=len(plan.sparse),
        bytes_freed=freed,
        problems=plan.problems,
    )
