"""Chunks: bytes named by their hash; packs: files of chunks, written once and named by their content."""

import contextlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import zstandard
from blake3 import blake3

from garage.core import state as state_trees
from garage.core import tracked
from garage.core.tracked import CapturedGroup, TrackedGroup
from garage.core.types import Array, State
from garage.errors import DamagedError, WriteError
from garage.storage.disk import Disk
from garage.storage.files import open_file
from garage.storage.manifest import Chunk, Group, GroupColumn, Leaf, Piece
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
_DOUBT_AFTER = 2
"""So many chunks in a row that gained nothing, and the next ones are compressed only if samples of them gain."""
_SAMPLE_BYTES = 2048
_N_SAMPLES = 8
_N_WRITING = 4
"""Packs of one snapshot that are written at the same time: some are prepared, the others wait for the device."""


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


class GroupBytes:
    """A tracked group on its way to the disk.

    Args:
        path: in the state tree.
        group: as it was captured.
    """

    dtype = state_trees.GROUP

    def __init__(self, path: str, group: CapturedGroup) -> None:
        self.path, self.group = path, group
        self.shape = (group.n_rows,)
        self.hash = blake3(group.text()).hexdigest()


def as_bytes(state: State) -> tuple[tuple[LeafBytes, ...], tuple[GroupBytes, ...]]:
    """A state tree's leaves and tracked groups on their way to the disk, each sorted by path."""
    leaves, groups = [], []
    for path, leaf in state_trees.flatten(state).items():
        if isinstance(leaf, TrackedGroup | CapturedGroup):
            groups.append(GroupBytes(path, leaf.captured() if isinstance(leaf, TrackedGroup) else leaf))
        else:
            code = state_trees.encode(path, leaf)
            leaves.append(LeafBytes(path, code.dtype, code.shape, code.data))
    return tuple(leaves), tuple(groups)


class BlockBytes(NamedTuple):
    """A chunk whose hash is known already; its bytes may be with who wrote them before."""

    hash: str
    data: Array | None


def cut_groups(
    groups: Sequence[GroupBytes], chunks: Sequence[bytes | memoryview | BlockBytes]
) -> tuple[list[bytes | memoryview | BlockBytes], list[Group]]:
    """Add the blocks of groups to the chunks: all chunks, and the groups, whose blocks index them."""
    chunks, entries = list(chunks), []
    for each in groups:
        group, first = each.group, len(chunks)
        chunks += map(BlockBytes, group.hashes(), group.contents)
        entries.append(
            Group(
                path=each.path,
                rows=group.n_rows,
                capacity=group.capacity,
                block_rows=tracked.block_rows(group.columns),
                columns=tuple(GroupColumn(*column) for column in group.columns),
                hash=each.hash,
                blocks=tuple(range(first, len(chunks))),
            )
        )
    return chunks, entries


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
    directory: RunDirectory, disk: Disk, chunks: Sequence[bytes | memoryview | BlockBytes], known: Mapping[str, Chunk]
) -> tuple[list[Chunk], int]:
    """Write the chunks that are not ``known`` yet.

    Returns:
        Where each chunk lies, in the order given, and the number of bytes written.

    Raises:
        WriteError: the disk refused; or one is neither known nor at hand.
    """
    named = [
        (chunk.hash, chunk.data) if isinstance(chunk, BlockBytes) else (blake3(chunk).hexdigest(), chunk)
        for chunk in chunks
    ]
    fresh: dict[str, bytes | memoryview] = {}
    for name, data in named:
        if name in known or name in fresh:
            continue
        if data is None:
            msg = (
                f"Cannot write a snapshot into {directory.path}: a block of a tracked group that was there "
                f"({name[:12]}) is gone. The next snapshot holds all of the group again; save again."
            )
            raise WriteError(msg)
        fresh[name] = data.data if isinstance(data, np.ndarray) else data
    placed: dict[str, Chunk] = {}
    n_written = 0
    for written in _written(directory, disk, list(_packfuls(fresh))):
        n_written += pack_bytes(chunk.stored for chunk in written)
        placed |= {chunk.hash: chunk for chunk in written}
    return [placed.get(name) or known[name] for name, _ in named], n_written


def _written(
    directory: RunDirectory, disk: Disk, batches: Sequence[Sequence[tuple[str, bytes | memoryview]]]
) -> Iterable[list[Chunk]]:
    """Each batch as a pack. Of several, some are prepared while the device takes others."""

    def write(batch: Sequence[tuple[str, bytes | memoryview]]) -> list[Chunk]:
        compressor = _Compressor()
        return write_pack(directory, disk, [compressor.stored(name, chunk) for name, chunk in batch])

    if len(batches) <= 1:
        return [write(batch) for batch in batches]
    with ThreadPoolExecutor(_N_WRITING, thread_name_prefix="garage packs") as pool:
        return list(pool.map(write, batches))


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
    if offset <= SMALL_BYTES:  # one write, not one a part
        parts = [b"".join(parts)]
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
    with OpenPacks(directory) as files:
        return StoredChunk(chunk.hash, chunk.raw, chunk.codec, files.stored(chunk))


class OpenPacks:
    """Reads chunks, and checks each against its hash. Keeps one pack open, for neighbours mostly lie in one.

    For one thread at a time.

    Args:
        directory: the run.
    """

    def __init__(self, directory: RunDirectory) -> None:
        self._directory, self._opened = directory, contextlib.ExitStack()
        self._name = ""
        self._file: io.BufferedReader | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()

    def stored(self, chunk: Chunk) -> memoryview:
        """A chunk's bytes as they lie in the pack.

        Raises:
            DamagedError: it is missing or is not what was written.
        """
        return self._checked(chunk)[0]

    def raw(self, chunk: Chunk) -> bytes | memoryview:
        """A chunk's bytes, uncompressed.

        Raises:
            DamagedError: it is missing or is not what was written.
        """
        return self._checked(chunk)[1]

    def fill(self, chunk: Chunk, parts: Sequence[memoryview]) -> None:
        """Put a chunk's bytes, uncompressed, where they belong; after an error nothing there may be used.

        What is not compressed is read into its place, with no copy in between.

        Args:
            chunk: which.
            parts: where its bytes go, one part after the other; together as long as it is.

        Raises:
            DamagedError: it is missing or is not what was written.
        """
        room = sum(part.nbytes for part in parts)
        if chunk.codec == "zstd" or not chunk.stored == chunk.raw == room:
            data = memoryview(self.raw(chunk))
            if data.nbytes != room:
                raise DamagedError(_not_as_written(self._directory, chunk))
            start = 0
            for part in parts:
                part[:] = data[start : start + part.nbytes]
                start += part.nbytes
            return
        hasher = blake3()
        with self._at(chunk) as file:
            for part in parts:
                hasher.update(part[: _read_into(file, part)])
        if hasher.hexdigest() != chunk.hash:
            raise DamagedError(_not_as_written(self._directory, chunk))

    def _checked(self, chunk: Chunk) -> tuple[memoryview, bytes | memoryview]:
        """As it is stored, and uncompressed."""
        with self._at(chunk) as file:
            stored = memoryview(bytearray(chunk.stored))
            stored = stored[: _read_into(file, stored)]
            data = _decompressed(stored, chunk.raw) if chunk.codec == "zstd" else stored
        if blake3(data).hexdigest() != chunk.hash:
            raise DamagedError(_not_as_written(self._directory, chunk))
        return stored, data

    @contextlib.contextmanager
    def _at(self, chunk: Chunk) -> Iterator[io.BufferedReader]:
        """The pack, to read from where the chunk begins; what goes wrong is damage."""
        sizes_fit = 0 <= chunk.raw <= CHUNK_BYTES and 0 <= chunk.stored <= 2 * CHUNK_BYTES
        if not sizes_fit or chunk.offset < 0 or chunk.offset.bit_length() > _OFFSET_BITS:
            msg = f"the chunk {chunk.hash[:12]} has impossible sizes"
            raise DamagedError(msg)
        path = self._directory.pack_path(chunk.pack)
        try:
            if self._file is None or self._name != chunk.pack:
                self._opened.close()
                self._file = None
                self._file, self._name = self._opened.enter_context(open_file(path)), chunk.pack
            self._file.raw.seek(chunk.offset, io.SEEK_SET)
            yield self._file
        except OSError as error:
            msg = f"cannot read the pack {path}: {error.strerror}"
            raise DamagedError(msg) from error
        except zstandard.ZstdError as error:
            raise DamagedError(_not_as_written(self._directory, chunk)) from error


def pack_names(directory: RunDirectory) -> dict[str, Path]:
    """All packs of a run by name."""
    return {
        f"{path.parent.name}{path.name}": path
        for path in directory.packs_path.glob("[0-9a-f][0-9a-f]/*")
        if not path.name.startswith(".")
    }


def _read_into(file: io.BufferedReader, part: memoryview) -> int:
    """Read, past the buffer, until the part is full or the file ends; return the bytes read."""
    n_bytes = 0
    while n_bytes < part.nbytes and (n := file.raw.readinto(part[n_bytes:])):
        n_bytes += n
    return n_bytes


def _not_as_written(directory: RunDirectory, chunk: Chunk) -> str:
    return f"the chunk {chunk.hash[:12]} of {directory.pack_path(chunk.pack)} is not as written"


def _packfuls(chunks: Mapping[str, bytes | memoryview]) -> Iterable[list[tuple[str, bytes | memoryview]]]:
    batch: list[tuple[str, bytes | memoryview]] = []
    size = 0
    for name, chunk in chunks.items():
        n_bytes = memoryview(chunk).nbytes
        if size + n_bytes > PACK_BYTES:
            yield batch
            batch, size = [], 0
        batch.append((name, chunk))
        size += n_bytes
    if batch:
        yield batch


class _Compressor:
    """zstd level 1 where it gains at least a tenth. Where the chunks before did not, a sample decides."""

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdCompressor(level=1)
        self._n_failed = 0

    def stored(self, name: str, chunk: bytes | memoryview) -> StoredChunk:
        """The chunk of that hash as it is stored."""
        data = memoryview(chunk)
        if self._n_failed >= _DOUBT_AFTER and not self._gains(_sample(data))[1]:
            return StoredChunk(name, data.nbytes, "raw", data)
        smaller, gains = self._gains(data)
        self._n_failed = 0 if gains else self._n_failed + 1
        return StoredChunk(name, data.nbytes, "zstd" if gains else "raw", smaller if gains else data)

    def _gains(self, data: bytes | memoryview) -> tuple[bytes, bool]:
        smaller = self._zstd.compress(data)
        return smaller, len(smaller) <= _LEAST_GAIN * len(data)


def _sample(data: memoryview) -> bytes | memoryview:
    """A few pieces, evenly spread; all of what is short."""
    step = data.nbytes // _N_SAMPLES
    if step <= _SAMPLE_BYTES:
        return data
    first = (step - _SAMPLE_BYTES) // 2
    return b"".join(data[start : start + _SAMPLE_BYTES] for start in range(first, first + _N_SAMPLES * step, step))


def _decompressed(data: memoryview, size: int) -> bytes:
    """At most ``size`` bytes; the frame's own word on its size comes first for the library, so it is asked before."""
    if zstandard.frame_content_size(data) > size:
        msg = "the frame is longer than it should be"
        raise zstandard.ZstdError(msg)
    return zstandard.ZstdDecompressor().decompress(data, max_output_size=size)
