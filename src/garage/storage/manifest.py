"""A snapshot's manifest: readable JSON that names every leaf and where its bytes lie.

See ``docs/storage-format.md``. A manifest carries a checksum of itself: BLAKE3 over the file with the
checksum's 64 digits replaced by zeros.
"""

from pathlib import Path
from typing import Annotated, Any, TypeAlias

import msgspec
from blake3 import blake3

from garage.core.scalars import Scalar
from garage.errors import DamagedError, FormatVersionError
from garage.storage.files import from_json, is_nested, read_file

FORMAT = 1
_NO_CHECKSUM = "0" * 64
_MOST_NESTED = 20
_FIELD = b'"checksum": "'

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
    """As the bytes of a file, with its checksum; `garage.storage.signing` signs it too."""
    return with_checksum(msgspec.json.format(msgspec.json.encode(manifest), indent=1))


def with_checksum(data: bytes) -> bytes:
    """A manifest's bytes with the checksum that is right for them."""
    blank = without_checksum(data)
    start = blank.rfind(_FIELD) + len(_FIELD)
    return blank[:start] + blake3(blank).hexdigest().encode() + blank[start + 64 :]


def without_checksum(data: bytes) -> bytes:
    """A manifest's bytes with zeros in place of the checksum's digits."""
    start = data.rfind(_FIELD) + len(_FIELD)
    return data[:start] + _NO_CHECKSUM.encode() + data[start + 64 :]


def read(path: Path) -> Manifest:
    """The manifest at ``path``.

    Raises:
        DamagedError: it cannot be read, or is not what was written.
        FormatVersionError: it is whole, but of another format version.
    """
    try:
        data = read_file(path)
    except OSError as error:
        msg = f"Cannot read the manifest {path}: {error.strerror}."
        raise DamagedError(msg) from error
    return decode(data, str(path))


def decode(data: bytes, where: str) -> Manifest:
    """The inverse of `encode`; ``where`` is for messages."""
    start = data.rfind(_FIELD) + len(_FIELD)
    checksum = data[start : start + 64]
    if blake3(without_checksum(data)).hexdigest().encode() != checksum:
        msg = f"The manifest {where} is damaged: its checksum does not match its {len(data)} bytes."
        raise DamagedError(msg)
    try:
        version = from_json(data, _Version).format
        if version == FORMAT:
            manifest = from_json(data, Manifest)
            if not is_nested(manifest.fingerprint, _MOST_NESTED):
                return manifest
            msg = f"The manifest {where} is damaged: its fingerprint is nested more than {_MOST_NESTED} times."
            raise DamagedError(msg)
    except ValueError as error:  # also what is not UTF-8
        msg = f"The manifest {where} is damaged: {error}."
        raise DamagedError(msg) from error
    msg = (
        f"{where} has format version {version}; this garage reads version {FORMAT}. "
        "Use the garage that wrote it, or one that is newer."
    )
    raise FormatVersionError(msg)
