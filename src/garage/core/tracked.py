"""Tracked groups: columns with a common first axis that know which of their rows changed since they were last captured.

The rows are cut into blocks; a block's bytes, those of all its columns back to back, are one chunk of a snapshot. A
capture copies the blocks that nobody has yet, and names the others, so it costs what is new and not what is there.
Design: ``docs/design/0006-tracked-groups.md``; bytes: ``docs/storage-format.md``.
"""

import math
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from garage.errors import ArgumentError, MismatchError

Array: TypeAlias = npt.NDArray[Any]

BLOCK_ROWS = 1024
"""A block has at most so many rows."""
BLOCK_BYTES = 1 << 20
"""And at most so many bytes."""


class Column(NamedTuple):
    """What one row holds of one column."""

    name: str
    dtype: str
    """NumPy's little-endian name."""
    shape: tuple[int, ...]

    @property
    def row_bytes(self) -> int:
        """Of one row."""
        return np.dtype(self.dtype).itemsize * math.prod(self.shape)


def is_storable(dtype: np.dtype[Any]) -> bool:
    """Whether a state may hold such arrays: numbers of at most 64 bits, complex ones of at most 128, fixed strings."""
    # Extended precision is refused too: its layout is the machine's, and some of its bytes are nobody's.
    extended = dtype.kind in "fc" and dtype.itemsize > (8 if dtype.kind == "f" else 16)
    return dtype.kind in "biufcSU" and not extended


def block_rows(columns: Iterable[Column]) -> int:
    """Rows of a block: 1,024, or as many as fit into 1 MiB.

    Raises:
        ArgumentError: not even one does, or a row has no bytes.
    """
    row_bytes = sum(column.row_bytes for column in columns)
    if not 0 < row_bytes <= BLOCK_BYTES:
        msg = f"A row of a tracked group has {row_bytes:,} bytes; expected 1 to {BLOCK_BYTES:,}. Store parts of it."
        raise ArgumentError(msg)
    return min(BLOCK_ROWS, BLOCK_BYTES // row_bytes)


def checked_block_rows(columns: Sequence[Column]) -> int:
    """Rows of a block of columns that somebody else named.

    Raises:
        ArgumentError: they are not sorted by distinct names, or cannot be stored.
        TypeError, ValueError: a dtype is none.
    """
    names = [column.name for column in columns]
    sizes = [size for column in columns for size in column.shape]
    dtypes = [np.dtype(column.dtype) for column in columns]
    fine = all(dtype.str == column.dtype and is_storable(dtype) for dtype, column in zip(dtypes, columns, strict=True))
    if names != sorted(set(names)) or min(sizes, default=0) < 0 or not fine:
        msg = f"The columns of a tracked group have sorted names and dtypes that can be stored; got {list(columns)}."
        raise ArgumentError(msg)
    return block_rows(columns)


def group_text(columns: Sequence[Column], capacity: int, hashes: Iterable[str]) -> bytes:
    """What a group's hash is of: capacity and rows of a block, the columns, the hashes of the blocks."""
    lines = [f"{capacity}\t{block_rows(columns)}"]
    lines += [f"{column.name}\t{column.dtype}\t{list(column.shape)}" for column in columns]
    return "\n".join([*lines, *hashes, ""]).encode()


class Block:
    """The content of one block between two changes. It is an identity: what it stands for never changes.

    Attributes:
        hash: BLAKE3 of its bytes, in hex; None until somebody needed it.
        keeper: who has its bytes for good: a writer's token, `RESTORED`, or None.
    """

    __slots__ = ("_content", "hash", "keeper")

    def __init__(self, hash_: str | None = None, keeper: object = None) -> None:
        self.hash, self.keeper = hash_, keeper
        self._content: weakref.ref[Array] | None = None

    def content(self) -> Array | None:
        """Its bytes, while a capture holds them."""
        return None if self._content is None else self._content()

    def hold(self, content: Array) -> None:
        """Remember the copy that a capture holds, for as long as it does."""
        self._content = weakref.ref(content)


RESTORED = object()
"""Keeper of blocks that were read from a snapshot."""

RoomOf: TypeAlias = Callable[[int], list[memoryview]]
"""Where the bytes of a restored group's n-th block go, part by part."""

Keeps: TypeAlias = Callable[[Block], bool]
"""Whether the bytes of a block whose hash is known need not be captured."""


def keeps_none(block: Block) -> bool:  # noqa: ARG001 - it answers for every block
    """Capture everything."""
    return False


def keeps_hashed(block: Block) -> bool:  # noqa: ARG001 - it answers for every block
    """Capture only what is needed to compute hashes: nobody will write it."""
    return True


@dataclass(frozen=True, eq=False)
class CapturedGroup:
    """A tracked group as it was at one moment. Never changes, and shares no memory with the live one.

    Attributes:
        columns: sorted by name.
        capacity: rows that the group has room for.
        n_rows: rows that it holds.
        blocks: in order.
        contents: the bytes of each block; None where the keeper that the capture was made for has them.
        bytes_copied: what this capture copied.
    """

    columns: tuple[Column, ...]
    capacity: int
    n_rows: int
    blocks: tuple[Block, ...]
    contents: tuple[Array | None, ...]
    bytes_copied: int

    def hashes(self) -> list[str]:
        """Of all blocks; those that are not known yet are computed."""
        for block, content in zip(self.blocks, self.contents, strict=True):
            if block.hash is None:
                block.hash = blake3(content).hexdigest()  # type: ignore[arg-type] # whose hash is unknown, is held
        return [block.hash for block in self.blocks if block.hash is not None]

    def text(self) -> bytes:
        """What the group's hash is of."""
        return group_text(self.columns, self.capacity, self.hashes())


class _Held:
    """Arrays and the groups that hold them; whoever writes while there are several takes a copy first."""

    def __init__(self, arrays: dict[str, Array], holder: "TrackedGroup") -> None:
        self.arrays = arrays
        self.holders = weakref.WeakSet([holder])


class TrackedGroup:
    """Columns with a common first axis. A value in state trees; `write` is the only way to change it.

    Rows that are written in one go should lie together: a block with one changed row is saved whole, all its columns.
    So columns that are edited all over, such as priorities, belong in a group of their own.

    Args:
        capacity: rows there is room for.
        columns: name → (shape of one row, dtype).

    Raises:
        ArgumentError: the capacity is not positive, a column cannot be stored, or a row is longer than 1 MiB.
    """

    def __init__(self, capacity: int, columns: Mapping[str, tuple[tuple[int, ...], npt.DTypeLike]]) -> None:
        _check_capacity(capacity, least=1)
        found = []
        for name, (shape, dtype) in sorted(columns.items()):
            if not isinstance(name, str) or not name or "/" in name or not name.isprintable():
                msg = f"Cannot use {name!r} as the name of a column: expected a printable str without '/'."
                raise ArgumentError(msg)
            little = np.dtype(dtype).newbyteorder("<")
            if not is_storable(little):
                msg = f"Cannot track the column `{name}` of dtype {little}: expected numbers, booleans, strings."
                raise ArgumentError(msg)
            found.append(Column(name, little.str, tuple(int(size) for size in shape)))
        self.columns: tuple[Column, ...] = tuple(found)
        self.block_rows = block_rows(self.columns)
        self._n_rows = 0
        self._blocks: list[Block | None] = []
        self._held = _Held(_empty(self.columns, int(capacity)), self)

    @property
    def capacity(self) -> int:
        """Rows there is room for."""
        return len(self._held.arrays[self.columns[0].name])

    @property
    def n_rows(self) -> int:
        """Rows up to the last one that was ever written; they are what is saved."""
        return self._n_rows

    def __len__(self) -> int:
        return self._n_rows

    def __getitem__(self, name: str) -> Array:
        """One column, ``[n_rows, ...]``, to read only; ask again after `grow`, `load` and writes of new rows."""
        view = self._held.arrays[name][: self._n_rows]
        view.flags.writeable = False
        return view

    def views(self) -> Mapping[str, Array]:
        """All columns, as ``group[name]`` gives them."""
        return MappingProxyType({column.name: self[column.name] for column in self.columns})

    def write(self, rows: int | slice | Array, values: Mapping[str, npt.ArrayLike]) -> None:
        """Change rows. Where several values are given for one row, the last one stays.

        Args:
            rows: the first one, from which on they go round the capacity as in a ring; or a slice; or indices ``[k]``.
            values: name → ``[k, ...]`` for some or all columns; columns of new rows that are not given are zero.

        Raises:
            ArgumentError: a row lies outside the capacity.
            MismatchError: there is no such column, or its values have another shape or kind.
        """
        arrays = {name: np.asarray(value) for name, value in values.items()}
        if not arrays:
            msg = f"Cannot write rows without values: expected some of {[column.name for column in self.columns]}."
            raise MismatchError(msg)
        where = self._spans(rows, next(iter(arrays.values())))
        n = sum(_length(span) for span in where)
        for name, array in arrays.items():
            self._check(name, array, n)
        self._own()
        done = 0
        for span in where:
            length = _length(span)
            for name, array in arrays.items():
                self._held.arrays[name][span] = array[done : done + length]
            done += length
            self._touch(span)

    def grow(self, capacity: int) -> None:
        """Make room for more rows.

        Raises:
            ArgumentError: it would become less.
        """
        _check_capacity(capacity, least=self.capacity)
        self._take(self._copied_arrays(int(capacity)))

    def captured(self, keeps: Keeps = keeps_none) -> CapturedGroup:
        """The group as it is now. Copies blocks that changed, and older ones whose copy nobody holds or keeps.

        Args:
            keeps: whether the bytes of a block are elsewhere for good, for whom the capture is made.
        """
        blocks, contents, copied = [], [], 0
        for index, known in enumerate(self._blocks):
            block = known
            if block is None:
                block = self._blocks[index] = Block()
            content = None
            if block.hash is None or not keeps(block):
                content = block.content()
                if content is None:
                    content = self._packed(index)
                    block.hold(content)
                    copied += content.nbytes
            blocks.append(block)
            contents.append(content)
        return CapturedGroup(self.columns, self.capacity, self._n_rows, tuple(blocks), tuple(contents), copied)

    def load(self, state: object) -> None:
        """Become equal to another group or a capture; a restored one's next snapshot holds only what changes after it.

        Raises:
            MismatchError: it is no group, has other columns, or was captured for somebody who keeps a part of it.
        """
        if not isinstance(state, TrackedGroup | CapturedGroup):
            msg = f"Cannot load a tracked group from a {type(state).__name__}: expected a tracked group."
            raise MismatchError(msg)
        if state.columns != self.columns:
            msg = (
                f"Cannot load a tracked group: the saved one has the columns {_said(state.columns)}, this one "
                f"{_said(self.columns)}. Was it built for another environment?"
            )
            raise MismatchError(msg)
        if isinstance(state, TrackedGroup):
            held, blocks = state._held, list(state._blocks)  # noqa: SLF001 - it is of this class
            self._held.holders.discard(self)
            held.holders.add(self)
            self._held = held
        else:
            blocks = list(state.blocks)
            arrays = _empty(self.columns, state.capacity)
            for index, content in enumerate(state.contents):
                if content is None:
                    msg = "Cannot load this capture of a tracked group: it holds only what a run had not written yet."
                    raise MismatchError(msg)
                _unpack(arrays, self.columns, self._rows_of(index, state.n_rows), content)
            self._take(arrays)
        self._n_rows = state.n_rows
        # Whoever wrote them may have forgotten them since; what was restored lies in the run that goes on.
        self._blocks = [
            None if block is None else Block(block.hash, RESTORED if block.keeper is RESTORED else None)
            for block in blocks
        ]

    @classmethod
    def restored(
        cls,
        columns: Sequence[Column],
        capacity: int,
        n_rows: int,
        hashes: Iterable[str],
        fill: Callable[[RoomOf], None],
    ) -> Self:
        """A group as it was saved.

        Args:
            columns: sorted by name.
            capacity: rows there is room for.
            n_rows: rows that it holds.
            hashes: of each block's bytes, in order.
            fill: puts those bytes into the group's memory, in any order and by any number of threads; told where the
                bytes of the n-th block go, part by part. If it raises, there is no group.
        """
        group = cls(capacity, {column.name: (column.shape, column.dtype) for column in columns})
        group._n_rows = n_rows
        whole = [(_bytes_of(group._held.arrays[column.name]).data, column.row_bytes) for column in group.columns]

        def room_of(index: int) -> list[memoryview]:
            start, stop = group._rows_of(index, n_rows)
            return [data[start * row_bytes : stop * row_bytes] for data, row_bytes in whole]

        fill(room_of)
        group._blocks = [Block(name, RESTORED) for name in hashes]
        return group

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle, and copy deeply, as columns and rows."""
        columns = {column.name: (column.shape, column.dtype) for column in self.columns}
        return _rebuilt, (self.capacity, columns, dict(self.views()))

    def _spans(self, rows: int | slice | Array, first: Array) -> list[slice | Array]:
        """Where to write: slices that do not go round, or indices."""
        capacity = self.capacity
        if isinstance(rows, slice):
            if rows.step not in {None, 1}:
                msg = f"Cannot write {rows}: expected rows that follow each other. Give their indices."
                raise ArgumentError(msg)
            start = 0 if rows.start is None else rows.start
            stop = self._n_rows if rows.stop is None else rows.stop
            if not 0 <= start <= stop <= capacity:
                msg = f"Cannot write the rows {start}:{stop}: there is room for {capacity}."
                raise ArgumentError(msg)
            return [slice(int(start), int(stop))]
        if isinstance(rows, int | np.integer) and not isinstance(rows, bool):
            n = len(first) if first.ndim else 0
            if not 0 <= rows < capacity or n > capacity:
                msg = f"Cannot write {n} rows from {rows} on: there is room for {capacity}."
                raise ArgumentError(msg)
            start, stop = int(rows), int(rows) + n
            before_end = slice(start, min(stop, capacity))
            return [before_end, slice(0, stop - capacity)] if stop > capacity else [before_end]
        indices = np.asarray(rows)
        if indices.ndim != 1 or indices.dtype.kind not in "iu":
            msg = f"Cannot write rows by indices of dtype {indices.dtype} and shape {indices.shape}: expected [k] ints."
            raise ArgumentError(msg)
        if indices.size and (indices.min() < 0 or indices.max() >= capacity):
            msg = f"Cannot write the rows {indices.min()} to {indices.max()}: there is room for {capacity}."
            raise ArgumentError(msg)
        return [indices.astype(np.int64, copy=False)]

    def _check(self, name: str, array: Array, n: int) -> None:
        column = next((column for column in self.columns if column.name == name), None)
        if column is None:
            msg = f"Cannot write to the column `{name}`: the group has {_said(self.columns)}."
            raise MismatchError(msg)
        if array.shape != (n, *column.shape) or not np.can_cast(array.dtype, column.dtype, "same_kind"):
            msg = (
                f"Cannot write to the column `{name}`: got {array.dtype}{list(array.shape)}, expected "
                f"{np.dtype(column.dtype)}{[n, *column.shape]}."
            )
            raise MismatchError(msg)

    def _touch(self, span: slice | Array) -> None:
        """Note that those rows, and new ones before them, differ from all that was captured."""
        if not _length(span):
            return
        stop = span.stop if isinstance(span, slice) else int(span.max()) + 1
        if stop > self._n_rows:  # the last block becomes longer, and rows that are left out are zeros
            del self._blocks[self._n_rows // self.block_rows :]
            self._n_rows = stop
            self._blocks += [None] * (-(-stop // self.block_rows) - len(self._blocks))
        touched: Iterable[int]
        if isinstance(span, slice):
            touched = range(span.start // self.block_rows, (span.stop - 1) // self.block_rows + 1)
        else:
            touched = np.unique(span // self.block_rows).tolist()
        for index in touched:
            self._blocks[index] = None

    def _packed(self, index: int) -> Array:
        start, stop = self._rows_of(index, self._n_rows)
        content = np.empty((stop - start) * sum(_row_bytes(self.columns)), np.uint8)
        for column, part in _parts(self.columns, (start, stop), content):
            part[:] = _bytes_of(self._held.arrays[column.name][start:stop])
        return content

    def _rows_of(self, index: int, n_rows: int) -> tuple[int, int]:
        return index * self.block_rows, min((index + 1) * self.block_rows, n_rows)

    def _own(self) -> None:
        if len(self._held.holders) > 1:
            self._take(self._copied_arrays(self.capacity))

    def _copied_arrays(self, capacity: int) -> dict[str, Array]:
        arrays = _empty(self.columns, capacity)
        for name, array in arrays.items():
            array[: self._n_rows] = self._held.arrays[name][: self._n_rows]
        return arrays

    def _take(self, arrays: dict[str, Array]) -> None:
        self._held.holders.discard(self)
        self._held = _Held(arrays, self)


def unpacked(columns: Sequence[Column], n: int, data: bytes | memoryview) -> dict[str, Array]:
    """The columns of one block of ``n`` rows.

    Raises:
        MismatchError: the bytes are more or less than that.
    """
    arrays = _empty(columns, n)
    _unpack(arrays, columns, (0, n), np.frombuffer(data, np.uint8))
    return arrays


def _rebuilt(
    capacity: int, columns: Mapping[str, tuple[tuple[int, ...], str]], rows: Mapping[str, Array]
) -> TrackedGroup:
    group = TrackedGroup(capacity, columns)
    group.write(0, rows)
    return group


def _empty(columns: Iterable[Column], capacity: int) -> dict[str, Array]:
    return {column.name: np.zeros((capacity, *column.shape), column.dtype) for column in columns}


def _unpack(arrays: Mapping[str, Array], columns: Sequence[Column], rows: tuple[int, int], content: Array) -> None:
    sizes = _row_bytes(tuple(columns))
    n_bytes = (rows[1] - rows[0]) * sum(sizes)
    if content.nbytes != n_bytes:
        msg = f"A block of the rows {rows[0]} to {rows[1] - 1} has {content.nbytes} bytes, expected {n_bytes}."
        raise MismatchError(msg)
    for column, part in _parts(columns, rows, content):
        _bytes_of(arrays[column.name][rows[0] : rows[1]])[:] = part


def _parts(columns: Sequence[Column], rows: tuple[int, int], content: Array) -> Iterator[tuple[Column, Array]]:
    """Where each column lies in a block."""
    offset = 0
    for column, row_bytes in zip(columns, _row_bytes(tuple(columns)), strict=True):
        end = offset + (rows[1] - rows[0]) * row_bytes
        yield column, content[offset:end]
        offset = end


@lru_cache(maxsize=64)
def _row_bytes(columns: tuple[Column, ...]) -> tuple[int, ...]:
    return tuple(column.row_bytes for column in columns)


def _bytes_of(rows: Array) -> Array:
    return rows.reshape(-1).view(np.uint8)


def _length(span: slice | Array) -> int:
    return span.stop - span.start if isinstance(span, slice) else len(span)


def _said(columns: Iterable[Column]) -> str:
    return ", ".join(f"`{column.name}` {np.dtype(column.dtype)}{list(column.shape)}" for column in columns)


def _check_capacity(capacity: int, least: int) -> None:
    if isinstance(capacity, bool) or not isinstance(capacity, int | np.integer) or capacity < least:
        msg = f"The capacity of a tracked group must be an integer of at least {least}, got {capacity!r}."
        raise ArgumentError(msg)
