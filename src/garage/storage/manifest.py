"""A snapshot's manifest: readable JSON that names every leaf and where its bytes lie.

See ``docs/storage-format.md``. A manifest carries a checksum of itself: BLAKE3 over the file with the
checksum's 64 digits replaced by zeros.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import msgspec
from blake3 import blake3

from garage.core.scalars import Scalar
from garage.errors import DamagedError, FormatVersionError, WriteError
from garage.storage.files import from_json, is_nested, read_file

FORMAT = 1
_NO_CHECKSUM = "0" * 64
_MOST_NESTED = 20
_FIELD = b'"checksum": "'

# What follows bounds the time and the memory that reading costs, whoever wrote the manifest.
_MOST_BYTES = 1 << 28  # those of a state of about a terabyte
_MOST_REPEATED = 1 << 36  # bytes that a state may have beyond those of its chunks, equal ones being stored once
_MOST_AXES = 64  # as many as NumPy's arrays have
_LONGEST_PATH = 4096
_MOST_IN_PATHS = 1 << 28  # characters of all paths, each times its keys: of that order is what lies above them
_LONGEST_DTYPE = 32
_CHUNK_BYTES = 1 << 20
_SEARCH_BYTES = 1 << 16  # that could be read while a chunk is looked for
_MOST_VISITS = 4  # to a chunk, on average: writers lay leaves back to back in the order in which they are read

FileHash: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
"""Names a file, so nothing else may stand there: no path that leads out of the run."""


class Chunk(msgspec.Struct, frozen=True):
    """Where the bytes of one chunk lie."""

    hash: str
    """BLAKE3 of the uncompressed bytes, in hex; the chunk's name."""
    pack: FileHash
    """Name of the pack, in hex."""
    offset: int
    """In the pack, bytes."""
    stored: int
    """Bytes in the pack."""
    raw: int
    """Bytes when uncompressed."""
    codec: str
    """``raw`` or ``zstd``."""


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """A part of a leaf: ``[index into chunks, offset in the uncompressed chunk, bytes]``."""

    chunk: int
    offset: int
    size: int


class Leaf(msgspec.Struct, frozen=True):
    """One leaf of the state tree, or one opaque part."""

    path: str
    dtype: str
    shape: tuple[int, ...]
    hash: str
    """BLAKE3 of its bytes, little-endian and in C order."""
    pieces: tuple[Piece, ...]


class GroupColumn(msgspec.Struct, frozen=True):
    """One column of a tracked group."""

    name: str
    dtype: str
    """NumPy's little-endian name."""
    shape: tuple[int, ...]
    """Of one row."""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """One tracked group of the state tree."""

    path: str
    rows: int
    """Those that it holds."""
    capacity: int
    """Those that it has room for."""
    block_rows: int
    """Rows of each block but the last."""
    columns: tuple[GroupColumn, ...]
    """Sorted by name."""
    hash: str
    """BLAKE3 over its columns and the hashes of its blocks."""
    blocks: tuple[int, ...]
    """Indices into chunks: one whole chunk a block, its columns back to back."""


class Log(msgspec.Struct, frozen=True):
    """How much of metrics.jsonl belongs to the snapshot."""

    bytes: Annotated[int, msgspec.Meta(ge=0)]
    rows: int
    hash: str


class Parent(msgspec.Struct, frozen=True):
    """The snapshot that a run went on from."""

    run: str
    epoch: int
    digest: str
    path: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One snapshot."""

    format: int = FORMAT
    hash: str = "blake3"
    run: str
    name: str
    parent: Parent | None
    epoch: int
    requested: bool = False
    """Whether a user's own ``save`` asked for it, so that modes which keep gaps keep it too."""
    digest: str
    written_at: str
    train_args: dict[str, Scalar]
    stats: dict[str, Scalar]
    metrics: dict[str, Scalar]
    fingerprint: dict[str, Any]
    recipe: FileHash | None
    recipe_problem: str | None
    log: Log
    leaves: tuple[Leaf, ...]
    opaque: tuple[Leaf, ...]
    groups: tuple[Group, ...] = ()
    policies: dict[str, Any] = {}
    """What policies are, by name; see `garage.experiment.policy_descriptions`."""
    chunks: tuple[Chunk, ...]
    signature: str | None = None
    """Key and code of whoever wrote it, see `garage.storage.signing`; None if it is unsigned."""
    checksum: str = _NO_CHECKSUM

    def packs(self) -> set[str]:
        """Names of the packs that it needs."""
        return {chunk.pack for chunk in self.chunks}


class _Version(msgspec.Struct):
    format: int


def encode(manifest: Manifest) -> bytes:
    """As the bytes of a file, with its checksum; `garage.storage.signing` signs it too.

    Raises:
        WriteError: no reader would take it.
    """
    data = with_checksum(msgspec.json.format(msgspec.json.encode(manifest), indent=1))
    problem = _excess(manifest)
    if len(data) > _MOST_BYTES:
        problem = f"its manifest has {len(data):,} bytes, and at most {_MOST_BYTES:,} are possible"
    if problem is not None:
        msg = (
            f"The snapshot of epoch {manifest.epoch} cannot be written: {problem}. What was committed before is "
            "intact. Put large data into a tracked group, and fewer things into the state."
        )
        raise WriteError(msg)
    return data


def with_checksum(data: bytes) -> bytes:
    """A manifest's bytes with the checksum that is right for them."""
    blank = without_checksum(data)
    start = blank.rfind(_FIELD) + len(_FIELD)
    return blank[:start] + blake3(blank).hexdigest().encode() + blank[start + 64 :]


def without_checksum(data: bytes) -> bytes:
    """A manifest's bytes with zeros in place of the checksum's digits."""
    start = data.rfind(_FIELD) + len(_FIELD)
    return data[:start] + _NO_CHECKSUM.encode() + data[start + 64 :]


def checksum(data: bytes) -> str:
    """What a manifest's bytes say that their checksum is."""
    start = data.rfind(_FIELD) + len(_FIELD)
    return data[start : start + 64].decode(errors="replace")


def read(path: Path) -> Manifest:
    """The manifest at ``path``.

    Raises:
        DamagedError: it cannot be read, or is not what was written.
        FormatVersionError: it is whole, but of another format version.
    """
    try:
        n_bytes = path.stat().st_size
        if n_bytes > _MOST_BYTES:
            msg = f"The manifest {path} is damaged: it has {n_bytes:,} bytes, more than any writer writes."
            raise DamagedError(msg)
        data = read_file(path)
    except OSError as error:
        msg = f"Cannot read the manifest {path}: {error.strerror}."
        raise DamagedError(msg) from error
    return decode(data, str(path))


def decode(data: bytes, where: str) -> Manifest:
    """The inverse of `encode`; ``where`` is for messages."""
    if blake3(without_checksum(data)).hexdigest() != checksum(data):
        msg = f"The manifest {where} is damaged: its checksum does not match its {len(data)} bytes."
        raise DamagedError(msg)
    try:
        version = from_json(data, _Version).format
        if version in READERS:
            manifest = READERS[version](data)
            problem = _excess(manifest)
            if problem is None:
                return manifest
            msg = f"The manifest {where} is damaged: {problem}."
            raise DamagedError(msg)
    except (ValueError, MemoryError) as error:  # also what is not UTF-8
        msg = f"The manifest {where} is damaged: {error}."
        raise DamagedError(msg) from error
    msg = (
        f"{where} has format version {version}; this garage reads version {FORMAT}. "
        "Use the garage that wrote it, or one that is newer."
    )
    raise FormatVersionError(msg)


def _version_1(data: bytes) -> Manifest:
    return from_json(data, Manifest)


READERS: dict[int, Callable[[bytes], Manifest]] = {1: _version_1}
"""What reads a manifest of each format version as one of this version. None is ever removed: see design note 7."""


def _excess(manifest: Manifest) -> str | None:
    """What in it is more than any writer writes, as the end of a sentence; None if nothing is."""
    for name, part in (("fingerprint", manifest.fingerprint), ("policies", manifest.policies)):
        if is_nested(part, _MOST_NESTED):
            return f"its `{name}` is nested more than {_MOST_NESTED} times"
    leaves = (*manifest.leaves, *manifest.opaque)
    columns = [column for group in manifest.groups for column in group.columns]
    paths = [*(leaf.path for leaf in leaves), *(group.path for group in manifest.groups)]
    for path in paths:
        if len(path) > _LONGEST_PATH:
            return f"the path {path[:20]!r}… has {len(path):,} characters, and at most {_LONGEST_PATH:,} are possible"
    if sum(len(path) * (path.count("/") + 1) for path in paths) > _MOST_IN_PATHS:
        return f"its {len(paths):,} paths are too long together"
    for dtype, shape in [(entry.dtype, entry.shape) for part in (leaves, columns) for entry in part]:
        if len(dtype) > _LONGEST_DTYPE or len(shape) > _MOST_AXES:
            return f"an array has {len(shape):,} axes and the dtype {dtype[:_LONGEST_DTYPE]!r}"
    return _repetition(leaves, manifest.groups, manifest.chunks)


def _repetition(leaves: Sequence[Leaf], groups: Sequence[Group], chunks: Sequence[Chunk]) -> str | None:
    """Whether reading would cost more than what was written accounts for: a few chunks may be named a million times."""
    raw = [min(max(chunk.raw, 0), _CHUNK_BYTES) for chunk in chunks]
    cost = [max(size, _SEARCH_BYTES) for size in raw]
    claimed = sum(raw[index] for group in groups for index in group.blocks if 0 <= index < len(raw))
    visited, last = 0, -1
    for leaf in leaves:
        for piece in leaf.pieces:
            claimed += min(max(piece.size, 0), _CHUNK_BYTES)
            if piece.chunk != last and 0 <= piece.chunk < len(raw):
                last = piece.chunk
                visited += cost[last]
    distinct = {chunk.hash: number for number, chunk in enumerate(chunks)}.values()
    held = sum(raw[number] for number in distinct)
    if claimed > held + _MOST_REPEATED:
        return f"its state has {claimed:,} bytes and its chunks {held:,}; {_MOST_REPEATED:,} more are possible"
    if visited > _MOST_VISITS * sum(cost[number] for number in distinct) + claimed:
        return f"its chunks would have to be read again and again, {visited:,} bytes in all"
    return None
