"""Reading leaves and tracked groups from packs: every chunk is checked, and lands where it belongs."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from blake3 import blake3

from garage.core import tracked
from garage.core.tracked import Column, TrackedGroup
from garage.core.types import Array
from garage.errors import ArgumentError, DamagedError, MismatchError
from garage.storage.manifest import Chunk, Group, Leaf, Piece
from garage.storage.packs import CHUNK_BYTES, OpenPacks
from garage.storage.run_directory import RunDirectory

_MOST_THREADS = 4


class ChunkReader:
    """Reads leaves and groups of one manifest, and nothing of packs but the chunks that hold them.

    Args:
        directory: the run.
        chunks: of one manifest.
    """

    def __init__(self, directory: RunDirectory, chunks: Sequence[Chunk]) -> None:
        self._directory, self._chunks = directory, chunks
        self._last: tuple[int, bytes | memoryview] = (-1, b"")

    def leaf(self, leaf: Leaf) -> bytearray:
        """The bytes of a leaf.

        Raises:
            DamagedError: a chunk is missing or is not what was written; the message names the leaf.
        """
        try:
            return self.checked(leaf)
        except DamagedError as error:
            raise DamagedError(_damaged(leaf, str(error))) from error

    def checked(self, leaf: Leaf) -> bytearray:
        """The same, with a message that does not name the leaf, for who tells of many at once."""
        data = _room_for(leaf)
        position = 0
        with OpenPacks(self._directory) as files:
            for piece in leaf.pieces:
                self._put(piece, memoryview(data)[position : position + piece.size], files)
                position += piece.size
        if blake3(data).hexdigest() != leaf.hash:
            msg = "its bytes do not match its hash"
            raise DamagedError(msg)
        return data

    def has(self, piece: Piece) -> bool:
        """Whether there is an entry of its chunk."""
        return 0 <= piece.chunk < len(self._chunks)

    def group(self, group: Group) -> TrackedGroup:
        """A whole tracked group; several packs are read by several threads.

        Raises:
            DamagedError: it is not what was written, or a block is missing; the message names the group and the rows.
        """
        columns = self._checked_columns(group)
        hashes = [self._chunks[index].hash for index in group.blocks]

        def fill(room_of: tracked.RoomOf) -> None:
            by_pack: dict[str, list[int]] = {}
            for number, index in enumerate(group.blocks):
                by_pack.setdefault(self._chunks[index].pack, []).append(number)

            def fill_from_a_pack(numbers: Sequence[int]) -> None:
                with OpenPacks(self._directory) as files:
                    for number in numbers:
                        with _naming_rows(group, number):
                            files.fill(self._chunks[group.blocks[number]], room_of(number))

            n_threads = min(_MOST_THREADS, os.cpu_count() or 1, len(by_pack))
            if n_threads <= 1:
                for numbers in by_pack.values():
                    fill_from_a_pack(numbers)
                return
            with ThreadPoolExecutor(n_threads, thread_name_prefix="garage chunks") as pool:
                list(pool.map(fill_from_a_pack, by_pack.values()))

        try:
            return TrackedGroup.restored(columns, group.capacity, group.rows, hashes, fill)
        except (MismatchError, ValueError, MemoryError, OverflowError) as error:
            raise DamagedError(_damaged(group, str(error))) from error

    def columns(
        self, group: Group, names: Iterable[str] | None = None, blocks: Iterable[int] | None = None
    ) -> dict[str, Array]:
        """Some columns of a tracked group, of all rows or of those of some blocks, in that order.

        Every block asked for is read whole, for its hash is over all its columns.

        Args:
            group: an entry of the manifest.
            names: of columns; None for all.
            blocks: numbers of blocks, from 0; None for all.

        Raises:
            ArgumentError: there is no such column or block.
            DamagedError: a block is missing or is not what was written; the message names the group and the rows.
        """
        columns = self._checked_columns(group)
        wanted = [column.name for column in columns] if names is None else list(names)
        numbers = range(len(group.blocks)) if blocks is None else list(blocks)
        known = {column.name for column in columns}
        if not known.issuperset(wanted) or any(not 0 <= number < len(group.blocks) for number in numbers):
            msg = (
                f"Cannot read the columns {wanted} of `{group.path}`: it has the columns {sorted(known)} and "
                f"{len(group.blocks)} blocks."
            )
            raise ArgumentError(msg)
        found = []
        with OpenPacks(self._directory) as files:
            for number in numbers:
                start, stop = group_rows(group, number)
                with _naming_rows(group, number):
                    data = files.raw(self._chunks[group.blocks[number]])
                found.append(tracked.unpacked(columns, stop - start, data))
        if not found:
            found = [tracked.unpacked(columns, 0, b"")]
        return {name: np.concatenate([part[name] for part in found]) for name in wanted}

    def damaged_blocks(self, group: Group) -> Iterator[str]:
        """A line for each run of neighbouring blocks that are missing or damaged for the same reason."""
        try:
            self._checked_columns(group)
        except DamagedError as error:
            yield str(error)
            return
        reasons: list[tuple[int, int, str]] = []
        with OpenPacks(self._directory) as files:
            for number, index in enumerate(group.blocks):
                try:
                    files.raw(self._chunks[index])
                except DamagedError as error:
                    start, stop = group_rows(group, number)
                    if reasons and reasons[-1][1:] == (start, str(error)):
                        start, _, _ = reasons.pop()
                    reasons.append((start, stop, str(error)))
        for start, stop, reason in reasons:
            yield _damaged(group, f"rows {start} to {stop - 1}: {reason}")

    def _checked_columns(self, group: Group) -> tuple[Column, ...]:
        """The columns of an entry that says nothing impossible of chunks that exist."""
        columns = tuple(Column(column.name, column.dtype, column.shape) for column in group.columns)
        try:
            n_rows = tracked.checked_block_rows(columns)
        except (ArgumentError, ValueError, TypeError, SyntaxError, RecursionError) as error:
            msg = _damaged(group, f"its columns are not those of a tracked group: {error}")
            raise DamagedError(msg) from error
        n_blocks = len(group.blocks)
        if group.block_rows != n_rows or not max(0, (n_blocks - 1) * n_rows + 1) <= group.rows <= n_blocks * n_rows:
            raise DamagedError(_damaged(group, f"{n_blocks} blocks of {group.block_rows} rows are not {group.rows}"))
        if any(not 0 <= index < len(self._chunks) for index in group.blocks) or not group.rows <= group.capacity:
            raise DamagedError(_damaged(group, "its manifest has not all of its blocks, or no room for its rows"))
        text = tracked.group_text(columns, group.capacity, (self._chunks[index].hash for index in group.blocks))
        if blake3(text).hexdigest() != group.hash:
            raise DamagedError(_damaged(group, "its columns and blocks do not match its hash"))
        row_bytes = sum(column.row_bytes for column in columns)
        for number, index in enumerate(group.blocks):
            start, stop = group_rows(group, number)
            if self._chunks[index].raw != (stop - start) * row_bytes:
                raise DamagedError(_damaged(group, f"rows {start} to {stop - 1}: their chunk has another length"))
        return columns

    def _put(self, piece: Piece, room: memoryview, files: OpenPacks) -> None:
        if not self.has(piece):
            msg = f"its manifest has no chunk {piece.chunk}"
            raise DamagedError(msg)
        chunk = self._chunks[piece.chunk]
        if self._last[0] != piece.chunk and (piece.offset, piece.size) == (0, chunk.raw):
            files.fill(chunk, [room])
            return
        if self._last[0] != piece.chunk:
            self._last = (piece.chunk, files.raw(chunk))
        data = memoryview(self._last[1])
        if not 0 <= piece.offset <= piece.offset + piece.size <= data.nbytes:
            msg = "its piece lies outside its chunk"
            raise DamagedError(msg)
        room[:] = data[piece.offset : piece.offset + piece.size]


def group_rows(group: Group, number: int) -> tuple[int, int]:
    """The first row of a block, and the one after its last."""
    return number * group.block_rows, min((number + 1) * group.block_rows, group.rows)


@contextlib.contextmanager
def _naming_rows(group: Group, number: int) -> Iterator[None]:
    """Damage to a block is told by its group and rows."""
    try:
        yield
    except DamagedError as error:
        start, stop = group_rows(group, number)
        raise DamagedError(_damaged(group, f"rows {start} to {stop - 1}: {error}")) from error


def _damaged(leaf: Leaf | Group, reason: str) -> str:
    return f"Cannot read `{leaf.path}`: {reason}."


def _room_for(leaf: Leaf) -> bytearray:
    """Taken at once, so that a size that nobody has written is refused before anything is read."""
    sizes = [piece.size for piece in leaf.pieces]
    if not all(0 <= size <= CHUNK_BYTES for size in sizes):
        msg = "its piece lies outside its chunk"
        raise DamagedError(msg)
    try:
        return bytearray(sum(sizes))
    except (MemoryError, OverflowError) as error:
        msg = f"there is no memory for its {sum(sizes)} bytes"
        raise DamagedError(msg) from error
