"""Chunks: bytes named by their hash; packs: files of chunks, written once and named by their content."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import zstandard
from blake3 import blake3

from garage.errors import DamagedError
from garage.storage.disk import Disk
from garage.storage.manifest import Chunk, Leaf, Piece
from garage.storage.run_directory import RunDirectory

CHUNK_BYTES = 1 << 20
"""Chunks are at most so long when uncompressed."""
PACK_BYTES = 32 << 20
"""Packs are at most so long, unless one chunk is longer."""
SMALL_BYTES = 64 << 10
"""Leaves up to this size share chunks."""
MAGIC = b"garage pack 1\n\0\0"
_ALIGNMENT = 64
_OFFSET_BITS = 63
_LEAST_GAIN = 0.9


class LeafBytes:
    """A leaf on its way to the disk.

    Args:
        path: in the state tree.
        dtype: see ``garage.core.state.LeafCode``.
        shape: of an array.
        data: its bytes.
    """

    def __init__(self, path: str, dtype: str, shape: tuple[int, ...], data: bytes | memoryview) -> None:
        self.path, self.dtype, self.shape = path, dtype, shape
        self.data = memoryview(data)
        self.hash = blake3(self.data).hexdigest()


def cut(
    leaves: Sequence[LeafBytes], chunks: Sequence[bytes | memoryview] = ()
) -> tuple[list[bytes | memoryview], list[Leaf]]:
    """Cut leaves into chunks of at most `CHUNK_BYTES`; small ones are laid back to back.

    Args:
        leaves: what to cut.
        chunks: those of other leaves, which share none with these.

    Returns:
        All chunks' bytes, and the leaves with pieces that index them.
    """
    chunks = list(chunks)
    pieces: list[list[Piece]] = [[] for _ in leaves]
    shared: list[memoryview] = []
    size = 0
    for leaf, own in zip(leaves, pieces, strict=True):
        if leaf.data.nbytes > SMALL_BYTES:
            continue
        if size + leaf.data.nbytes > CHUNK_BYTES:
            chunks.append(b"".join(shared))
            shared, size = [], 0
        own.append(Piece(len(chunks), size, leaf.data.nbytes))
        shared.append(leaf.data)
        size += leaf.data.nbytes
    if shared:
        chunks.append(b"".join(shared))
    for leaf, own in zip(leaves, pieces, strict=True):
        if leaf.data.nbytes <= SMALL_BYTES:
            continue
        for start in range(0, leaf.data.nbytes, CHUNK_BYTES):
            part = leaf.data[start : start + CHUNK_BYTES]
            own.append(Piece(len(chunks), 0, part.nbytes))
            chunks.append(part)
    return chunks, [
        Leaf(leaf.path, leaf.dtype, leaf.shape, leaf.hash, tuple(own)) for leaf, own in zip(leaves, pieces, strict=True)
    ]


def store(
    directory: RunDirectory, disk: Disk, chunks: Sequence[bytes | memoryview], known: Mapping[str, Chunk]
) -> tuple[list[Chunk], int]:
    """Write the chunks that are not ``known`` yet.

    Returns:
        Where each chunk lies, in the order given, and the number of bytes written.
    """
    names = [blake3(chunk).hexdigest() for chunk in chunks]
    fresh = {name: chunk for name, chunk in zip(names, chunks, strict=True) if name not in known}
    placed: dict[str, Chunk] = {}
    n_written = 0
    for batch in _packfuls(fresh):
        entries = []
        for name, chunk in batch:
            stored, codec = _compressed(chunk)
            entries.append(StoredChunk(name, memoryview(chunk).nbytes, codec, stored))
        written = write_pack(directory, disk, entries)
        n_written += pack_bytes(chunk.stored for chunk in written)
        placed |= {chunk.hash: chunk for chunk in written}
    return [placed.get(name) or known[name] for name in names], n_written


class StoredChunk(NamedTuple):
    """A chunk as it lies in a pack."""

    hash: str
    raw: int
    codec: str
    data: bytes | memoryview


def write_pack(directory: RunDirectory, disk: Disk, chunks: Sequence[StoredChunk]) -> list[Chunk]:
    """Write one pack, and return where each chunk lies in it."""
    parts: list[bytes | memoryview] = [MAGIC.ljust(_ALIGNMENT, b"\0")]
    offsets, offset = [], _ALIGNMENT
    for chunk in chunks:
        offsets.append(offset)
        padding = -len(chunk.data) % _ALIGNMENT
        parts += [chunk.data, b"\0" * padding]
        offset += len(chunk.data) + padding
    hasher = blake3()
    for part in parts:
        hasher.update(part)
    pack = hasher.hexdigest()
    disk.write_whole(directory.pack_path(pack), parts)
    return [
        Chunk(chunk.hash, pack, start, len(chunk.data), chunk.raw, chunk.codec)
        for chunk, start in zip(chunks, offsets, strict=True)
    ]


def pack_bytes(stored: Iterable[int]) -> int:
    """How long a pack of chunks of those stored sizes is."""
    return _ALIGNMENT + sum(size + -size % _ALIGNMENT for size in stored)


def read_stored(directory: RunDirectory, chunk: Chunk) -> StoredChunk:
    """A chunk as it lies in its pack, checked against its hash.

    Raises:
        DamagedError: it is missing or is not what was written.
    """
    return StoredChunk(chunk.hash, chunk.raw, chunk.codec, _read(directory, chunk)[0])


class ChunkReader:
    """Reads chunks and checks every one against its hash.

    Args:
        directory: the run.
        chunks: of one manifest.
    """

    def __init__(self, directory: RunDirectory, chunks: Sequence[Chunk]) -> None:
        self._directory, self._chunks = directory, chunks
        self._last: tuple[int, bytes] = (-1, b"")

    def leaf(self, leaf: Leaf) -> bytes:
        """The bytes of a leaf.

        Raises:
            DamagedError: a chunk is missing or is not what was written; the message names the leaf.
        """
        parts = []
        for piece in leaf.pieces:
            if not 0 <= piece.chunk < len(self._chunks):
                raise DamagedError(_damaged(leaf, f"its manifest has no chunk {piece.chunk}"))
            data = self._chunk(piece.chunk, leaf)
            if not 0 <= piece.offset <= piece.offset + piece.size <= len(data):
                raise DamagedError(_damaged(leaf, "its piece lies outside its chunk"))
            parts.append(data[piece.offset : piece.offset + piece.size])
        data = b"".join(parts)
        if blake3(data).hexdigest() != leaf.hash:
            raise DamagedError(_damaged(leaf, "its bytes do not match its hash"))
        return data

    def _chunk(self, index: int, leaf: Leaf) -> bytes:
        if self._last[0] != index:
            self._last = (index, self._read(self._chunks[index], leaf))
        return self._last[1]

    def _read(self, chunk: Chunk, leaf: Leaf) -> bytes:
        try:
            return _read(self._directory, chunk)[1]
        except DamagedError as error:
            raise DamagedError(_damaged(leaf, str(error))) from error


def pack_names(directory: RunDirectory) -> dict[str, Path]:
    """All packs of a run by name."""
    return {
        f"{path.parent.name}{path.name}": path
        for path in directory.packs_path.glob("[0-9a-f][0-9a-f]/*")
        if not path.name.startswith(".")
    }


def _read(directory: RunDirectory, chunk: Chunk) -> tuple[bytes, bytes]:
    """A chunk's bytes as they are stored, and uncompressed."""
    path = directory.pack_path(chunk.pack)
    sizes_fit = 0 <= chunk.raw <= CHUNK_BYTES and 0 <= chunk.stored <= 2 * CHUNK_BYTES
    if not sizes_fit or chunk.offset < 0 or chunk.offset.bit_length() > _OFFSET_BITS:
        msg = f"the chunk {chunk.hash[:12]} has impossible sizes"
        raise DamagedError(msg)
    not_as_written = f"the chunk {chunk.hash[:12]} of {path} is not as written"
    try:
        with path.open("rb") as file:
            file.seek(chunk.offset)
            stored = file.read(chunk.stored)
        data = _decompressed(stored, chunk.raw) if chunk.codec == "zstd" else stored
    except OSError as error:
        msg = f"cannot read the pack {path}: {error.strerror}"
        raise DamagedError(msg) from error
    except zstandard.ZstdError as error:
        raise DamagedError(not_as_written) from error
    if blake3(data).hexdigest() != chunk.hash:
        raise DamagedError(not_as_written)
    return stored, data


def _packfuls(chunks: Mapping[str, bytes | memoryview]) -> Iterable[list[tuple[str, bytes | memoryview]]]:
    per_pack = PACK_BYTES // CHUNK_BYTES
    items = iter(chunks.items())
    while batch := list(itertools.islice(items, per_pack)):
        yield batch


def _compressed(chunk: bytes | memoryview) -> tuple[bytes | memoryview, str]:
    """By zstd level 1 where that gains at least a tenth."""
    smaller = zstandard.ZstdCompressor(level=1).compress(chunk)
    return (smaller, "zstd") if len(smaller) <= _LEAST_GAIN * memoryview(chunk).nbytes else (memoryview(chunk), "raw")


def _decompressed(data: bytes, size: int) -> bytes:
    """At most ``size`` bytes; the frame's own word on its size comes first for the library, so it is asked before."""
    if zstandard.frame_content_size(data) > size:
        msg = "the frame is longer than it should be"
        raise zstandard.ZstdError(msg)
    return zstandard.ZstdDecompressor().decompress(data, max_output_size=size)


def _damaged(leaf: Leaf, reason: str) -> str:
    return f"Cannot read `{leaf.path}`: {reason}."
