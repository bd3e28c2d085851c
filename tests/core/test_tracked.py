"""Tracked groups: what is written is what is read, and only blocks that changed are copied."""

import copy
import gc
import pickle

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from garage.core import state as state_trees
from garage.core.tracked import (
    BLOCK_BYTES,
    RESTORED,
    CapturedGroup,
    Column,
    TrackedGroup,
    block_rows,
    keeps_hashed,
    unpacked,
)
from garage.errors import ArgumentError, MismatchError

WIDE = 300  # float64 numbers, so that a block has 436 rows
COLUMNS = {"wide": ((WIDE,), np.float64), "flag": ((), np.bool_), "count": ((), np.int32)}


def group_of(n=0, capacity=3000):
    group = TrackedGroup(capacity, COLUMNS)
    if n:
        group.write(0, values_of(n))
    return group


def values_of(n, seed=0):
    generator = np.random.default_rng([n, seed])
    return {
        "wide": generator.standard_normal((n, WIDE)),
        "flag": generator.random(n) < 0.5,
        "count": generator.integers(-9, 9, n, np.int32),
    }


def assert_equal(group, expected):
    assert group.n_rows == len(next(iter(expected.values())))
    for name, column in expected.items():
        np.testing.assert_array_equal(group[name], column)


def restored(captured):
    """The group that a store would give back."""

    def fill(room_of):
        for index in reversed(range(len(captured.contents))):
            data = memoryview(captured.contents[index])
            for part in room_of(index):
                part[:] = data[: part.nbytes]
                data = data[part.nbytes :]
            assert not data

    return TrackedGroup.restored(captured.columns, captured.capacity, captured.n_rows, captured.hashes(), fill)


ROW_BYTES = WIDE * 8 + 1 + 4
ROWS = BLOCK_BYTES // ROW_BYTES


@pytest.mark.parametrize(
    ("row_bytes", "expected"),
    [(1, 1024), (1024, 1024), (1025, 1023), (2048, 512), (BLOCK_BYTES // 2 + 1, 1), (BLOCK_BYTES, 1)],
)
def test_rows_of_a_block_follow_from_the_bytes_of_a_row(row_bytes, expected):
    assert block_rows([Column("a", "|u1", (row_bytes,))]) == expected
    assert TrackedGroup(2, {"a": ((row_bytes,), np.uint8)}).block_rows == expected


@pytest.mark.parametrize("shape", [(BLOCK_BYTES + 1,), (0,)])
def test_rows_that_fit_no_block_are_refused(shape):
    with pytest.raises(ArgumentError, match="A row of a tracked group has"):
        TrackedGroup(2, {"a": (shape, np.uint8)})


@pytest.mark.parametrize(
    ("capacity", "columns", "match"),
    [
        (0, COLUMNS, "capacity"),
        (True, COLUMNS, "capacity"),
        (2.0, COLUMNS, "capacity"),
        (2, {"a/b": ((), np.int8)}, "name of a column"),
        (2, {"": ((), np.int8)}, "name of a column"),
        (2, {"a": ((), object)}, "Cannot track the column `a`"),
        (2, {"a": ((), np.longdouble)}, "Cannot track the column `a`"),
        (2, {}, "has 0 bytes"),
    ],
)
def test_what_cannot_be_tracked_is_refused(capacity, columns, match):
    with pytest.raises(ArgumentError, match=match):
        TrackedGroup(capacity, columns)


def test_columns_are_sorted_little_endian_and_read_only():
    group = TrackedGroup(5, {"b": ((2,), ">f4"), "a": ((), np.bool_)})
    group.write(0, {"b": [[1, 2], [3, 4]]})
    assert group.columns == (Column("a", "|b1", ()), Column("b", "<f4", (2,)))
    np.testing.assert_array_equal(group["b"], [[1, 2], [3, 4]])
    np.testing.assert_array_equal(group.views()["a"], [False, False])
    with pytest.raises(ValueError, match="read-only"):
        group["b"][0] = 0


def test_a_write_goes_round_the_capacity():
    group = TrackedGroup(5, {"a": ((), np.int64)})
    group.write(0, {"a": [0, 1, 2]})
    group.write(3, {"a": [3, 4, 5, 6]})
    np.testing.assert_array_equal(group["a"], [5, 6, 2, 3, 4])
    group.write(slice(1, 3), {"a": [8, 9]})
    group.write(np.array([4, 0, 4]), {"a": [1, 2, 3]})
    np.testing.assert_array_equal(group["a"], [2, 8, 9, 3, 3])


def test_rows_that_are_left_out_are_zeros():
    group = group_of(10)
    first = group.captured()
    group.write(2500, values_of(1))
    assert len(group) == 2501
    assert not group["wide"][10:2500].any()
    assert first.n_rows == 10
    assert restored(group.captured())["wide"].tobytes() == group["wide"].tobytes()


@pytest.mark.parametrize(
    ("rows", "error", "match"),
    [
        (-1, ArgumentError, "Cannot write 2 rows from -1 on"),
        (3000, ArgumentError, "from 3000 on: there is room for 3000"),
        (slice(2999, 3001), ArgumentError, "2999:3001"),
        (slice(0, 4, 2), ArgumentError, "Give their indices"),
        (np.array([0, 3000]), ArgumentError, "the rows 0 to 3000"),
        (np.array([-1, 0]), ArgumentError, "the rows -1 to 0"),
        (np.array([0.0, 1.0]), ArgumentError, "float64"),
        (np.array([True, False]), ArgumentError, "bool"),
        (slice(0, 3), MismatchError, r"got float64\[2, 300\], expected float64\[3, 300\]"),
    ],
)
def test_rows_that_are_not_there_are_refused_and_nothing_is_written(rows, error, match):
    group = group_of(5)
    before = group.captured().text()
    with pytest.raises(error, match=match):
        group.write(rows, values_of(2))
    assert group.captured().text() == before


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({}, "without values"),
        ({"other": [1, 2]}, "`other`: the group has `count`"),
        ({"count": [1.5, 2.5]}, r"got float64\[2\], expected int32\[2\]"),
        ({"count": [1, 2], "flag": [True]}, r"`flag`: got bool\[1\], expected bool\[2\]"),
        ({"count": 1}, r"`count`: got int64\[\], expected int32\[0\]"),
    ],
)
def test_values_that_do_not_fit_are_refused_and_nothing_is_written(values, match):
    group = group_of(5)
    before = group.captured().text()
    with pytest.raises(MismatchError, match=match):
        group.write(1, values)
    assert group.captured().text() == before


def test_a_capture_copies_what_changed_since_the_last_one():
    group = group_of(ROWS * 3 + 10)
    first = group.captured(keeps_hashed)
    assert first.bytes_copied == (ROWS * 3 + 10) * ROW_BYTES
    first.hashes()
    assert group.captured(keeps_hashed).bytes_copied == 0
    group.write(np.array([ROWS]), {"count": [7]})
    assert group.captured(keeps_hashed).bytes_copied == ROWS * ROW_BYTES
    group.write(len(group), values_of(1))
    group.write(0, {"count": [1]})
    third = group.captured(keeps_hashed)
    assert third.bytes_copied == (2 * ROWS + 11) * ROW_BYTES  # the one changed before, whose hash nobody asked for
    assert [content is None for content in third.contents] == [False, False, True, False]


def test_captures_share_copies_while_one_of_them_lives_and_no_longer():
    group = group_of(2 * ROWS)
    first = group.captured()
    second = group.captured()
    assert second.bytes_copied == 0
    assert all(a is b for a, b in zip(first.contents, second.contents, strict=True))
    del first, second
    gc.collect()
    assert group.captured().bytes_copied == 2 * ROWS * ROW_BYTES


def test_a_capture_does_not_see_what_is_written_after_it():
    group = group_of(ROWS)
    before = {name: column.copy() for name, column in group.views().items()}
    captured = group.captured()
    group.write(3, values_of(5, seed=1))
    group.grow(5000)
    assert_equal(restored(captured), before)


def test_hashes_are_over_columns_and_chunks_as_the_format_says():
    group = TrackedGroup(3, {"b": ((2,), np.int16), "a": ((), np.bool_)})
    group.write(0, {"b": [[1, 2], [3, 4]], "a": [True, False]})
    block = bytes([1, 0]) + np.array([1, 2, 3, 4], "<i2").tobytes()
    text = f"3\t1024\na\t|b1\t[]\nb\t<i2\t[2]\n{blake3(block).hexdigest()}\n".encode()
    code = state_trees.encode("replay", group)
    assert (code.dtype, code.shape, bytes(code.data)) == ("group", (2,), text)
    assert state_trees.encode("replay", group.captured()).hash == blake3(text).hexdigest()
    parts = unpacked(group.columns, 2, block)
    np.testing.assert_array_equal(parts["b"], [[1, 2], [3, 4]])


def test_groups_are_leaves_of_state_trees():
    group = group_of(20)
    state = {"algo": {"replay": group, "n": 1}}
    captured = state_trees.copied(state)
    assert list(state_trees.flatten(state)) == ["algo/n", "algo/replay"]
    assert isinstance(captured["algo"]["replay"], CapturedGroup)
    assert state_trees.rebuild(state_trees.flatten(captured)) == captured
    assert state_trees.differences(state, captured) == []
    group.write(3, {"count": [99]})
    assert state_trees.differences(state, captured) == ["`algo/replay` has other values"]
    group.write(20, values_of(1))
    assert state_trees.differences(captured, state) == ["`algo/replay` is group[21], expected group[20]"]


@pytest.mark.parametrize("kind", ["live", "captured", "restored"])
def test_loading_makes_equal_and_shares_nothing(kind):
    source = group_of(ROWS + 7)
    if kind == "restored":
        source = restored(source.captured())
    target = group_of(20, capacity=40)
    target.load(source.captured() if kind == "captured" else source)
    expected = {name: column.copy() for name, column in source.views().items()}
    assert target.capacity == source.capacity
    assert_equal(target, expected)
    target.write(0, values_of(3, seed=5))
    assert_equal(source, expected)
    changed = {name: column.copy() for name, column in target.views().items()}
    source.write(ROWS, values_of(3, seed=6))
    assert_equal(target, changed)
    np.testing.assert_array_equal(target["wide"][:3], values_of(3, seed=5)["wide"])
    target.load(target)
    assert_equal(target, changed)


def test_only_what_was_restored_is_taken_for_stored():
    captured = group_of(2 * ROWS).captured()
    captured.hashes()
    for block in captured.blocks:
        block.keeper = "a writer"
    target = group_of()
    target.load(captured)
    assert {block.keeper for block in target.captured().blocks} == {None}
    target.load(restored(captured))
    assert {block.keeper for block in target.captured().blocks} == {RESTORED}


def test_what_is_no_such_group_is_not_loaded():
    group = group_of(5)
    with pytest.raises(MismatchError, match="from a ndarray"):
        group.load(np.zeros(3))
    with pytest.raises(MismatchError, match="the saved one has the columns `count`"):
        TrackedGroup(4, {"count": ((), np.int32)}).load(group)
    group.captured().hashes()
    with pytest.raises(MismatchError, match="only what a run had not written yet"):
        group_of().load(group.captured(keeps_hashed))
    with pytest.raises(MismatchError, match="has 4 bytes, expected 1"):
        unpacked([Column("a", "|u1", ())], 1, b"abcd")


def test_growing_keeps_the_rows():
    group = group_of(20, capacity=20)
    expected = {name: column.copy() for name, column in group.views().items()}
    group.grow(30)
    assert_equal(group, expected)
    group.write(20, values_of(10))
    assert len(group) == group.capacity == 30
    with pytest.raises(ArgumentError, match="at least 30, got 29"):
        group.grow(29)


def test_copies_and_pickles_are_equal_and_apart():
    group = group_of(ROWS + 1)
    for other in (copy.deepcopy(group), pickle.loads(pickle.dumps(group))):
        assert other.captured().text() == group.captured().text()
        other.write(0, {"count": [5]})
        assert other.captured().text() != group.captured().text()


SMALL = {"a": ((256,), np.float64), "b": ((), np.int64)}  # 509 rows a block


@st.composite
def edits(draw, capacity=2600):
    kind = draw(st.sampled_from(["ring", "rows", "capture", "written", "grow"]))
    if kind == "ring":
        return kind, draw(st.integers(0, capacity - 1)), draw(st.integers(0, 700))
    if kind == "rows":
        return kind, draw(st.lists(st.integers(0, capacity - 1), max_size=5)), draw(st.integers(0, 9))
    return kind, draw(st.integers(0, 400)), 0


@given(st.lists(edits(), max_size=20))
def test_any_sequence_of_edits_is_captured_and_what_is_kept_is_not_copied_again(sequence):
    group = TrackedGroup(2600, SMALL)
    model = np.zeros((2600, 257))
    n_rows, number = 0, 0.0
    kept, dirty = set(), set()
    for kind, where, size in sequence:
        number += 1
        if kind in {"ring", "rows"}:
            rows = (np.arange(size) + where) % group.capacity if kind == "ring" else np.array(where, np.int64)
            values = np.full((len(rows), 257), number) + np.arange(len(rows))[:, None]
            given_rows = where if kind == "ring" else rows
            group.write(given_rows, {"a": values[:, :256], "b": values[:, 256].astype(np.int64)})
            model[rows] = values
            if len(rows):
                highest = int(rows.max()) + 1
                dirty |= set((rows // group.block_rows).tolist())
                if highest > n_rows:
                    dirty |= set(range(n_rows // group.block_rows, (highest - 1) // group.block_rows + 1))
                    n_rows = highest
        elif kind == "grow":
            group.grow(group.capacity + where)
            model = np.concatenate([model, np.zeros((where, 257))])
        else:
            captured = group.captured(lambda block: block in kept)  # noqa: B023 - called at once
            changed = {index for index, content in enumerate(captured.contents) if content is not None}
            assert changed == dirty
            captured.hashes()
            if kind == "written":
                kept |= set(captured.blocks)
                dirty = set()
        assert group.n_rows == n_rows
    whole = group.captured()
    assert_equal(restored(whole), {"a": model[:n_rows, :256], "b": model[:n_rows, 256]})
