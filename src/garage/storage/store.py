"""Reading snapshots: the newest one that verifies is the truth."""

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from blake3 import blake3

from garage.core import state as state_trees
from garage.core.options import plain
from garage.core.types import State
from garage.errors import DamagedError, MismatchError, NoSnapshotError, StorageError
from garage.storage import manifest as manifests
from garage.storage.chunk_reader import ChunkReader
from garage.storage.manifest import Group, Leaf, Manifest
from garage.storage.problem import Problem
from garage.storage.retention import best_of, lag_of
from garage.storage.run_directory import RunDirectory, content, whole_lines
from garage.storage.signing import Signer, SigningKey, signer_of

EPISODES = "episodes"
"""Stored episodes lie below this path of the state tree; they are read only when asked for."""
UNDIGESTED = ("process/", f"{EPISODES}/")
"""Leaves below these are not part of the digest."""


_SCALARS = {"bool": bool, "int": int, "float": float, "str": str, "null": type(None), "empty": dict}
_ARRAY = re.compile(r"[<|][biufcSU][0-9]{1,9}")
_USUAL_METRIC = "Evaluation/AverageReturn"

Wanted: TypeAlias = Callable[[Manifest], Sequence[str]]
"""From a manifest to paths."""


@dataclass(frozen=True)
class StoredSnapshot:
    """A snapshot as it was read, every byte checked.

    Attributes:
        manifest: what it says of itself.
        state: the state tree, or the part of it that was asked for.
        opaque: pickles by path, of objects that have no state of their own.
        recipe: what rebuilds the objects; None if the run has none, or it was not asked for.
        problems: why newer snapshots were passed over, one line each.
        signer: who signed it. Unpickle nothing of it unless that was this user's key, or the user says so.
    """

    manifest: Manifest
    state: State
    opaque: dict[str, bytes]
    recipe: bytes | None
    problems: tuple[str, ...]
    signer: Signer


class SnapshotStore:
    """The snapshots of one run. Reading changes nothing on the disk.

    Args:
        path: the run's directory.
        key: the user's, to tell whether it signed a snapshot; without one, none counts as signed by it.
    """

    def __init__(self, path: Path, key: SigningKey | None = None) -> None:
        self.directory, self._key = RunDirectory(path), key

    def epochs(self) -> list[int]:
        """Epochs that have a manifest which is whole and not abandoned, ascending."""
        return [manifest.epoch for manifest in self.manifests()[0]]

    def manifests(self) -> tuple[list[Manifest], list[str]]:
        """The manifests that are whole and not abandoned, ascending, and a line for each that is damaged.

        Raises:
            FormatVersionError: one is of another format version.
        """
        abandoned = self.directory.abandoned()
        whole, problems = [], []
        for epoch in self.directory.manifest_epochs():
            try:
                manifest = manifests.read(self.directory.manifest_path(epoch))
            except DamagedError as error:
                problems.append(str(error))
                continue
            if manifest.epoch != epoch:
                problems.append(f"The manifest {self.directory.manifest_path(epoch)} is of epoch {manifest.epoch}.")
            elif manifest.checksum not in abandoned:
                whole.append(manifest)
        return whole, problems

    def read(
        self, which: int | str = "last", *, with_recipe: bool = True, only: Sequence[str] | Wanted | None = None
    ) -> StoredSnapshot:
        """The snapshot of an epoch, or the ``"first"`` or ``"best"`` one, or the ``"last"`` one that verifies.

        Args:
            which: one of these names, or an epoch.
            with_recipe: whether its recipe is needed too; values that have somewhere to go do without it.
            only: paths such as ``algo/policy``: read what lies at or below one of them, and opaque parts that hold
                one, and of the packs only the chunks that these need. Damage elsewhere is not noticed. None for all. Or
                what says them for a manifest; if that raises a `StorageError`, the snapshot does not verify.

        Raises:
            NoSnapshotError: there is none, or not that one.
            DamagedError: there is, but none of those asked for verifies.
            FormatVersionError: it is of another format version.
        """
        whole, problems = self._found()
        for manifest in self._chosen(whole, which):
            try:
                wanted = only(manifest) if callable(only) else only
                return self._load(manifest, tuple(problems), with_recipe=with_recipe, only=wanted)
            except StorageError as error:
                problems.append(f"Epoch {manifest.epoch}: {error}")
        reasons = "\n  ".join(problems)
        msg = (
            f"No snapshot of {self.directory.path} verifies (asked for: {which}):\n  {reasons}\n"
            f"`garage verify {self.directory.path}` lists what is damaged; a copy of the directory may be whole."
        )
        raise DamagedError(msg)

    def read_episodes(self, manifest: Manifest) -> State | None:
        """The episodes stored beside a snapshot, or None if it has none.

        Raises:
            DamagedError: they are missing or are not what was written.
        """
        leaves = [leaf for leaf in manifest.leaves if leaf.path.startswith(f"{EPISODES}/")]
        if not leaves:
            return None
        episodes = _decoded(ChunkReader(self.directory, manifest.chunks), leaves)[EPISODES]
        return episodes if isinstance(episodes, dict) else None

    def value(self, manifest: Manifest, path: str) -> state_trees.Leaf:
        """One leaf or tracked group of a snapshot that has it.

        Raises:
            DamagedError: it is missing or is not what was written.
        """
        leaves = [leaf for leaf in manifest.leaves if leaf.path == path]
        groups = [group for group in manifest.groups if group.path == path]
        decoded = _decoded(ChunkReader(self.directory, manifest.chunks), leaves, groups)
        return state_trees.flatten(decoded)[path]

    def code(self, manifest: Manifest) -> tuple[bytes | None, dict[str, bytes]]:
        """What restoring without objects of one's own would unpickle: the recipe, and the opaque parts by path.

        Raises:
            DamagedError: they are missing or are not what was written.
        """
        reader = ChunkReader(self.directory, manifest.chunks)
        return self._recipe(manifest), {leaf.path: bytes(reader.leaf(leaf)) for leaf in manifest.opaque}

    def verify(self) -> list[str]:
        """A line for each of `problems`."""
        return [problem.line for problem in self.problems()]

    def problems(self) -> list[Problem]:
        """Everything that is damaged or missing, value by value; empty if all is well."""
        try:
            whole, damaged = self.manifests()
        except StorageError as error:
            return [Problem(str(error))]
        problems = [Problem(reason) for reason in damaged]
        for manifest in whole:
            problems += self._damaged_parts(manifest)
        hashes: dict[int, str] = {}
        with contextlib.suppress(DamagedError):  # below, the file is read again and its problem named
            hashes = _prefix_hashes(self.directory.metrics_path, {manifest.log.bytes for manifest in whole})
        problems += [
            Problem(f"epoch {manifest.epoch}: {self.directory.metrics_path} differs from the rows it was saved with")
            for manifest in whole
            if hashes.get(manifest.log.bytes) != manifest.log.hash
        ]
        directory = self.directory
        checks: list[Callable[[], object]] = [directory.info]
        checks += [partial(list, whole_lines(path)) for path in (directory.events_path, directory.metrics_path)]
        for check in checks:
            try:
                check()
            except StorageError as error:
                problems.append(Problem(str(error)))
        return problems

    def _damaged_parts(self, manifest: Manifest) -> Iterator[Problem]:
        epoch = manifest.epoch
        reader = ChunkReader(self.directory, manifest.chunks)
        try:
            _check_paths([*(leaf.path for leaf in manifest.leaves), *(group.path for group in manifest.groups)])
        except DamagedError as error:
            yield Problem(str(error), epoch)
        for leaf in (*manifest.leaves, *manifest.opaque):
            try:
                data = reader.checked(leaf)
            except DamagedError as error:
                packs = {manifest.chunks[piece.chunk].pack for piece in leaf.pieces if reader.has(piece)}
                yield Problem(str(error), epoch, leaf.path, packs.pop() if len(packs) == 1 else None)
                continue
            try:
                if leaf not in manifest.opaque:
                    _value(leaf, data)
            except DamagedError as error:
                yield Problem(str(error), epoch)
        for group in manifest.groups:
            for line in reader.damaged_blocks(group):
                yield Problem(line, epoch)
        try:
            self._recipe(manifest)
        except DamagedError as error:
            yield Problem(f"epoch {epoch}: {error}")

    def _found(self) -> tuple[list[Manifest], list[str]]:
        path = self.directory.path
        try:
            is_there = path.is_dir()
        except OSError as error:
            msg = f"Cannot look into {path}: {error.strerror}."
            raise DamagedError(msg) from error
        if not is_there:
            msg = f"Cannot read a snapshot from {path}: there is no such directory. `garage ls` lists the runs."
            raise NoSnapshotError(msg)
        whole, problems = self.manifests()
        if not whole and not problems:
            msg = (
                f"There is no snapshot in {path}: expected manifests in {self.directory.snapshots_path}. "
                "Was it stopped before its first epoch ended, or run with snapshot_mode='none'?"
            )
            raise NoSnapshotError(msg)
        return whole, problems

    def _chosen(self, whole: list[Manifest], which: int | str) -> list[Manifest]:
        """Candidates, the most wanted first."""
        which = plain(which)
        if which == "last":
            return whole[::-1]
        if which == "first":
            return whole[:1]
        if which == "best":
            return self._best(whole)
        if isinstance(which, bool) or not isinstance(which, int):
            msg = f"from_epoch must be 'last', 'first', 'best' or an epoch, got {which!r}."
            raise NoSnapshotError(msg)
        chosen = [manifest for manifest in whole if manifest.epoch == which]
        if not chosen and not self._is_damaged(which):
            epochs = ", ".join(str(manifest.epoch) for manifest in whole) or "none"
            msg = f"There is no snapshot of epoch {which} in {self.directory.path}; it has: {epochs}."
            raise NoSnapshotError(msg)
        return chosen

    def _is_damaged(self, epoch: int) -> bool:
        """Whether an epoch that is not among the whole ones has a manifest that is damaged, not an abandoned one."""
        path = self.directory.manifest_path(epoch)
        try:
            return epoch in self.directory.manifest_epochs() and manifests.read(path).epoch != epoch
        except DamagedError:
            return True

    def _best(self, whole: list[Manifest]) -> list[Manifest]:
        """By the metric that the run keeps the best of, in the rows of the epochs after each snapshot."""
        metric = _USUAL_METRIC
        with contextlib.suppress(StorageError):  # without run.json, the usual one judges
            metric = self.directory.info().keep_best or _USUAL_METRIC
        lag = lag_of(metric)
        best = best_of([manifest.epoch for manifest in whole], self.directory.judgements(metric), lag)
        if best is None:
            msg = (
                f"No snapshot of {self.directory.path} has been judged: a snapshot is judged by `{metric}` of "
                f"{'the epoch after it' if lag else 'its own epoch'}. Use from_epoch='last', or train with "
                "snapshot_mode='all' or 'gap', or with keep_best='Evaluation/AverageReturn'."
            )
            raise NoSnapshotError(msg)
        return [manifest for manifest in whole if manifest.epoch == best]

    def _load(
        self, manifest: Manifest, problems: tuple[str, ...], *, with_recipe: bool, only: Sequence[str] | None
    ) -> StoredSnapshot:
        signer = signer_of(manifest, self.directory.manifest_path(manifest.epoch), self._key)
        reader = ChunkReader(self.directory, manifest.chunks)
        kept_apart = f"{EPISODES}/"
        leaves = [leaf for leaf in manifest.leaves if not leaf.path.startswith(kept_apart) and _is_in(leaf.path, only)]
        groups = [group for group in manifest.groups if _is_in(group.path, only)]
        state = _decoded(reader, leaves, groups)
        wanted = [leaf for leaf in manifest.opaque if _is_in(leaf.path, only) or _holds(leaf.path, only)]
        opaque = {leaf.path: bytes(reader.leaf(leaf)) for leaf in wanted}
        recipe = self._recipe(manifest) if with_recipe else None
        return StoredSnapshot(manifest, state, opaque, recipe, problems, signer)

    def _recipe(self, manifest: Manifest) -> bytes | None:
        if manifest.recipe is None:
            return None
        refusals = []
        for path in self.directory.recipe_paths(manifest.recipe):
            try:
                data = content(path)
            except DamagedError as error:
                refusals.append(f" {error}")
            else:
                if blake3(data).hexdigest() == manifest.recipe:
                    return data
        msg = (
            f"the recipe {manifest.recipe[:12]} is missing from {self.directory.path}, or is not as written;"
            f"{''.join(refusals)} The values load without it: `garage run FILE --resume auto`, or "
            "trainer.setup(algo, env) before restore"
        )
        raise DamagedError(msg)


def _is_in(path: str, only: Sequence[str] | None) -> bool:
    """Whether a path is one of those, or lies below one."""
    return only is None or any(path == wanted or path.startswith(f"{wanted}/") for wanted in only)


def _holds(path: str, only: Sequence[str] | None) -> bool:
    """Whether one of those lies below a path."""
    return only is not None and any(wanted.startswith(f"{path}/") for wanted in only)


def _decoded(reader: ChunkReader, leaves: Iterable[Leaf], groups: Iterable[Group] = ()) -> State:
    leaves, groups = tuple(leaves), tuple(groups)
    _check_paths([*(leaf.path for leaf in leaves), *(group.path for group in groups)])
    values: dict[str, state_trees.Leaf] = {leaf.path: _value(leaf, reader.leaf(leaf)) for leaf in leaves}
    return state_trees.rebuild(values | {group.path: reader.group(group) for group in groups})


def _check_paths(paths: list[str]) -> None:
    """They are those of a tree: each once, and none is a folder of another one."""
    places: set[str] = set()
    for path in paths:
        keys = path.split("/")
        if not all(key and key.isprintable() for key in keys) or len(keys) > state_trees.MOST_KEYS:
            msg = f"{path[:100]!r} is no path of a state tree"
            raise DamagedError(msg)
        places.update("/".join(keys[:n]) for n in range(1, len(keys)))
    doubled = sorted(places.intersection(paths)) or [path for path, n in Counter(paths).items() if n > 1]
    if doubled:
        msg = f"its state tree has two different things at `{doubled[0]}`"
        raise DamagedError(msg)


def _value(leaf: Leaf, data: bytes | bytearray) -> state_trees.Leaf:
    msg = f"Cannot read `{leaf.path}`: {len(data)} bytes are not a value of dtype {leaf.dtype!r}."
    kind = _SCALARS.get(leaf.dtype)
    # NumPy reads some names as Python, and an axis of -1 as any; both are refused here.
    if (kind is None and not _ARRAY.fullmatch(leaf.dtype)) or min(leaf.shape, default=0) < 0:
        raise DamagedError(msg)
    try:
        value = state_trees.decode(leaf.path, leaf.dtype, leaf.shape, data)
    except MismatchError as error:
        raise DamagedError(str(error)) from error
    except (RecursionError, OverflowError, MemoryError) as error:
        raise DamagedError(msg) from error
    if kind is not None and (type(value) is not kind or (kind is dict and value)):
        raise DamagedError(msg)
    return value


def _prefix_hashes(path: Path, sizes: set[int]) -> dict[int, str]:
    """BLAKE3 of the first bytes of a file, for several sizes in one pass; sizes beyond its end are left out."""
    hashes: dict[int, str] = {}
    hasher, position = blake3(), 0
    data = content(path)
    for size in sorted(sizes):
        if size > len(data):
            break
        hasher.update(data[position:size])
        position = size
        hashes[size] = hasher.hexdigest()
    return hashes


def row_json(epoch: int, digest: str, metrics: dict[str, Any]) -> dict[str, Any]:
    """A row of metrics.jsonl."""
    return {"epoch": epoch, "digest": digest, **{key: state_trees.json_scalar(metrics[key]) for key in sorted(metrics)}}
