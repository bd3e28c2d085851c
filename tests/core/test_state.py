"""State trees: nothing is lost on the way through paths and bytes, and the digest sees every change."""

import copy
import enum
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from garage.core import state as states
from garage.errors import ArgumentError, MismatchError

PLAIN_DTYPES = (
    hnp.boolean_dtypes()
    | hnp.integer_dtypes(endianness="?")
    | hnp.unsigned_integer_dtypes(endianness="?")
    | hnp.floating_dtypes(sizes=(16, 32, 64), endianness="?")
    | hnp.complex_number_dtypes(sizes=(64, 128), endianness="?")
    | hnp.byte_string_dtypes(endianness="?", max_len=4)
    | hnp.unicode_string_dtypes(endianness="?", max_len=4)
)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)


@st.composite
def arrays(draw):
    array = draw(hnp.arrays(PLAIN_DTYPES, SHAPES))
    layout = draw(st.sampled_from(["C", "F", "reversed", "read-only"]))
    if layout == "F":
        return np.asfortranarray(array)
    if layout == "reversed" and array.ndim:
        return array[::-1]
    array.flags.writeable = layout != "read-only"
    return array


KEYS = st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=5).filter(str.isprintable)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
LEAVES = SCALARS | arrays()
TREES = st.dictionaries(
    KEYS, LEAVES | st.dictionaries(KEYS, LEAVES | st.dictionaries(KEYS, LEAVES, max_size=2), max_size=2), max_size=3
)


def digest_of(tree):
    codes = [(path, states.encode(path, leaf)) for path, leaf in states.flatten(tree).items()]
    return states.digest((path, code.dtype, code.shape, code.hash) for path, code in codes)


def through_bytes(tree):
    leaves = {}
    for path, leaf in states.flatten(tree).items():
        code = states.encode(path, leaf)
        leaves[path] = states.decode(path, code.dtype, code.shape, bytes(code.data))
    return states.rebuild(leaves)


def same(a, b):
    """Equal in kind, dtype but for the order of its bytes, shape and every bit."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, np.ndarray):
        a, b = (array.astype(array.dtype.newbyteorder("<")) for array in (a, b))
        return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    return a == b


@given(TREES)
def test_flatten_and_rebuild_are_inverse(tree):
    leaves = states.flatten(tree)
    assert list(leaves) == sorted(leaves)
    again = states.rebuild(leaves)
    assert list(states.flatten(again)) == list(leaves)
    assert states.differences(tree, again) == []
    assert all(states.flatten(again)[path] is leaf for path, leaf in leaves.items())


@given(TREES)
def test_nothing_is_lost_through_bytes(tree):
    again = through_bytes(tree)
    assert same(tree, again)
    assert states.differences(tree, again) == []
    assert digest_of(tree) == digest_of(again)


@given(TREES)
def test_decoded_arrays_are_fresh_writable_little_endian_and_in_c_order(tree):
    for leaf in states.flatten(through_bytes(tree)).values():
        if isinstance(leaf, np.ndarray):
            assert leaf.flags.owndata or leaf.base.flags.owndata
            assert leaf.flags.writeable
            assert leaf.flags.c_contiguous
            assert leaf.dtype == leaf.dtype.newbyteorder("<")


@given(TREES)
def test_a_copy_is_equal_and_shares_no_memory(tree):
    copied = states.copied(tree)
    assert same(tree, copied)
    assert digest_of(tree) == digest_of(copied)
    for path, leaf in states.flatten(tree).items():
        if isinstance(leaf, np.ndarray):
            assert not np.shares_memory(leaf, states.flatten(copied)[path])
    copied["new"] = {"key": 1}
    assert "new" not in tree or tree["new"] != {"key": 1}


def other_leaf(leaf):
    """A leaf that differs as little as can be."""
    if isinstance(leaf, np.ndarray):
        if not leaf.nbytes:
            return np.zeros((*leaf.shape, 0), leaf.dtype)
        data = bytearray(leaf.tobytes())
        data[-1] ^= 1
        return np.frombuffer(bytes(data), leaf.dtype).reshape(leaf.shape)
    if isinstance(leaf, dict):
        return None
    return {bool: not leaf, int: 0.0, float: 1, str: f"{leaf}x", type(None): "null"}[type(leaf)]


@given(TREES.filter(bool), st.data())
def test_the_digest_changes_if_any_leaf_does(tree, data):
    leaves = states.flatten(tree)
    path = data.draw(st.sampled_from(sorted(leaves)))
    changed = states.rebuild(leaves | {path: other_leaf(leaves[path])})
    assert digest_of(changed) != digest_of(tree)
    lines = states.differences(tree, changed)
    assert len(lines) == 1
    assert f"`{path}`" in lines[0]


@given(TREES, TREES)
def test_trees_are_equal_if_and_only_if_digests_are(a, b):
    assert (digest_of(a) == digest_of(b)) == same(a, b) == (not states.differences(a, b))


def test_the_digest_is_that_of_the_page_whatever_the_layout_of_memory():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    variants = [array, np.asfortranarray(array), array.astype(">f4"), np.pad(array, 1)[1:-1, 1:-1], array[::-1][::-1]]
    assert len({digest_of({"a": variant, "b": 1}) for variant in variants}) == 1


def test_the_digest_does_not_depend_on_the_order_of_keys():
    assert digest_of({"a": 1, "b": {"d": 2, "c": 3}}) == digest_of({"b": {"c": 3, "d": 2}, "a": 1})


def test_values_that_compare_equal_are_told_apart():
    values = [
        0,
        0.0,
        -0.0,
        False,
        None,
        "",
        "0",
        {},
        np.array(0),
        np.array(0.0),
        np.array([0]),
        np.array(0, np.int32),
        "null",
    ]
    assert len({digest_of({"x": value}) for value in values}) == len(values)
    assert digest_of({}) != digest_of({"x": {}})


def test_differences_name_path_and_kind():
    expected = {"a": np.zeros(3), "b": {"c": 1, "d": "x"}, "e": {}}
    got = {"a": np.zeros((3, 1), np.float32), "b": {"c": 2, "f": None}, "e": {}}
    assert states.differences(expected, got) == [
        "`b/d` is missing",
        "`b/f` is unexpected",
        "`a` is <f4[3, 1], expected <f8[3]",
        "`b/c` has other values",
    ]


@pytest.mark.parametrize("key", ["", "a/b", "/", 1, None, ("a",), "a\tb", "a\nb", "\ud800", "\x00"])
def test_a_bad_key_is_refused_with_its_place(key):
    with pytest.raises(ArgumentError, match="at its root: expected a printable str without '/'"):
        states.flatten({key: 1})
    with pytest.raises(ArgumentError, match="below `policy/inner/`"):
        states.flatten({"policy": {"inner": {key: 1}}})


def test_no_key_can_imitate_the_lines_of_two():
    """With tabs and line ends in keys, two different trees would have one digest."""
    inner = states.encode("a", 1)
    forged = f"a\t{inner.dtype}\t[]\t{inner.hash}\nb"
    assert states.digest([("a", "int", (), inner.hash), ("b", "int", (), inner.hash)]) == states.digest(
        [(forged, "int", (), inner.hash)]
    )
    with pytest.raises(ArgumentError, match="Cannot use"):
        states.flatten({forged: 1})


class Colour(enum.IntEnum):
    RED = 1


class Name(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "value",
    [
        [1, 2],
        (1,),
        {1},
        b"bytes",
        1j,
        object(),
        Colour.RED,
        Name("a"),
        np.datetime64("2020-01-01"),
        np.complex64(1),
        np.bytes_(b"a"),
        np.longdouble(1),
        np.void(b"a"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_cannot_be_stored_is_refused_with_its_path_and_type(value):
    with pytest.raises(ArgumentError, match=f"Cannot store `baseline/x`: it is a {type(value).__name__};"):
        states.flatten({"baseline": {"x": value}})


@pytest.mark.parametrize(
    "dtype", [object, "datetime64[s]", "timedelta64[s]", [("a", "f4")], "V3", np.longdouble, np.clongdouble], ids=str
)
def test_an_array_that_cannot_be_stored_is_refused_with_its_path_and_dtype(dtype):
    array = np.zeros(2, dtype)
    if array.dtype.kind in "fc" and array.dtype.itemsize <= (8 if array.dtype.kind == "f" else 16):
        pytest.skip("this machine's long double is a double")
    with pytest.raises(ArgumentError, match="Cannot store `baseline/x`: its dtype is"):
        states.encode("baseline/x", array)


def test_numpy_scalars_become_scalars():
    tree = {"a": np.float64(0.5), "b": np.int64(-1), "c": np.bool_(1), "d": np.str_("x")}
    leaves = states.flatten(tree)
    assert leaves == {"a": 0.5, "b": -1, "c": True, "d": "x"}
    assert [type(leaf) for leaf in leaves.values()] == [float, int, bool, str]


@pytest.mark.parametrize("scalar", [np.float32(0.1), np.float16(0.1), np.int8(-1), np.uint64(7)], ids=lambda s: s.dtype)
def test_numpy_scalars_that_compute_with_other_bits_keep_their_type(scalar):
    again = states.rebuild(states.flatten({"a": scalar}))["a"]
    assert (again.dtype, again.shape) == (scalar.dtype, ())
    assert (again * scalar.dtype.type(3)).dtype == (scalar * scalar.dtype.type(3)).dtype
    assert again == scalar


@pytest.mark.parametrize(
    ("dtype", "shape", "data"),
    [
        ("<f8", (2,), b"1234567"),
        ("<f8", (3,), bytes(16)),
        ("int", (), b"{"),
        ("float", (), b"[1]"),
        ("float", (), b'"one"'),
        ("str", (), b"\xff"),
        ("nonsense", (), b""),
        ("O", (1,), bytes(8)),
    ],
)
def test_bytes_that_cannot_be_the_leaf_are_refused_with_their_path(dtype, shape, data):
    with pytest.raises(MismatchError, match=f"Cannot read `a/b`: {len(data)} bytes are not"):
        states.decode("a/b", dtype, shape, data)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308, 0.1])
def test_special_floats_survive_as_strict_json(value):
    code = states.encode("x", value)
    assert b"NaN" not in code.data or code.data == b'"NaN"'
    assert same(states.decode("x", code.dtype, code.shape, code.data), value)


def test_json_scalar_leaves_the_rest_alone():
    assert [states.json_scalar(value) for value in (1.5, 2, True, None, "x")] == [1.5, 2, True, None, "x"]


def test_encoding_does_not_copy_what_already_lies_right():
    array = np.arange(5.0)
    assert np.shares_memory(np.frombuffer(states.encode("x", array).data, np.uint8), array)


def test_rebuilt_empty_dicts_are_not_shared():
    tree = states.rebuild(states.flatten({"a": {}, "b": {"c": {}}}))
    tree["a"]["new"] = 1
    assert tree == {"a": {"new": 1}, "b": {"c": {}}}
    assert states.EMPTY == {}
    assert states.rebuild({}) == {}


def test_take_gives_the_entry_or_says_what_is_there():
    assert states.take({"a": 1, "b": None}, "b", "TRPO") is None
    with pytest.raises(MismatchError, match=r"state of TRPO: `c` is missing, it has \['a', 'b'\]"):
        states.take({"a": 1, "b": 2}, "c", "TRPO")
    with pytest.raises(MismatchError, match="it has nothing"):
        states.take({}, "c", "TRPO")


def test_deep_copies_of_trees_have_the_same_digest():
    tree = {"a": np.arange(3), "b": {"c": math.nan}}
    assert digest_of(copy.deepcopy(tree)) == digest_of(tree)
