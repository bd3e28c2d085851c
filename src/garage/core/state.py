"""State trees: nested dicts of arrays and JSON scalars; flattened, rebuilt, compared, hashed.

A path joins the keys by "/". The digest is that of ``docs/storage-format.md``.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from garage.core.scalars import Scalar
from garage.core.tracked import CapturedGroup, Keeps, TrackedGroup, is_storable, keeps_hashed, keeps_none
from garage.core.types import Array, State
from garage.errors import ArgumentError, MismatchError

Leaf: TypeAlias = Array | Scalar | TrackedGroup | CapturedGroup | dict[str, Any]

GROUP = "group"
"""The dtype of tracked groups."""
EMPTY: dict[str, Any] = {}
MOST_KEYS = 100
"""A path has at most so many."""
_SCALARS = {bool: "bool", int: "int", float: "float", str: "str", type(None): "null"}
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def flatten(state: State) -> dict[str, Leaf]:
    """Leaves by path, in sorted order; a dict without keys is a leaf of its own.

    Raises:
        ArgumentError: a key is no printable, non-empty str without "/", or a value is neither array nor JSON scalar.
    """
    return dict(sorted(_leaves(state, "")))


def rebuild(leaves: Mapping[str, Leaf]) -> State:
    """The inverse of `flatten`."""
    state: State = {}
    for path, leaf in leaves.items():
        node: dict[str, Any] = state
        *folders, name = path.split("/")
        for folder in folders:
            node = node.setdefault(folder, {})
        node[name] = dict(leaf) if isinstance(leaf, dict) else leaf
    return state


def copied(state: State, keeps: Keeps = keeps_none) -> State:
    """A deep copy that shares no memory with the original; tracked groups are captured.

    Args:
        state: the original.
        keeps: which blocks of tracked groups need not be copied, for whom the copy is made.
    """
    return {key: _copied(value, keeps) for key, value in state.items()}


@dataclass(frozen=True)
class LeafCode:
    """A leaf as bytes.

    Attributes:
        dtype: NumPy's little-endian name of an array's type, or ``bool int float str null empty group``.
        shape: of an array; ``(n_rows,)`` of a tracked group; empty for others.
        data: little-endian, C order; for scalars their JSON text; for groups the text that names columns and chunks.
    """

    dtype: str
    shape: tuple[int, ...]
    data: memoryview | bytes

    @property
    def hash(self) -> str:
        """BLAKE3 of the bytes, in hex."""
        return blake3(self.data).hexdigest()


def encode(path: str, leaf: Leaf) -> LeafCode:
    """A leaf as bytes; arrays are not copied if they already lie in little-endian C order."""
    if isinstance(leaf, np.ndarray):
        if not is_storable(leaf.dtype):
            msg = (
                f"Cannot store `{path}`: its dtype is {leaf.dtype}; a state holds numbers of at most 64 bits, complex "
                "ones of at most 128, booleans and fixed strings. Turn it into arrays of those in state_dict()."
            )
            raise ArgumentError(msg)
        little = leaf.astype(leaf.dtype.newbyteorder("<"), copy=False)
        contiguous = np.ascontiguousarray(little)
        return LeafCode(contiguous.dtype.str, leaf.shape, contiguous.reshape(-1).view(np.uint8).data)
    if isinstance(leaf, TrackedGroup | CapturedGroup):
        group = leaf.captured(keeps_hashed) if isinstance(leaf, TrackedGroup) else leaf
        return LeafCode(GROUP, (group.n_rows,), group.text())
    if isinstance(leaf, dict):
        return LeafCode("empty", (), b"{}")
    return LeafCode(_SCALARS[type(leaf)], (), json.dumps(json_scalar(leaf)).encode())


def decode(path: str, dtype: str, shape: tuple[int, ...], data: bytes | bytearray | memoryview) -> Leaf:
    """The inverse of `encode`; an array is a fresh, writable one. Tracked groups are read by other means.

    Raises:
        MismatchError: the bytes cannot be of that dtype and shape.
    """
    try:
        if dtype in {"bool", "int", "float", "str", "null", "empty"}:
            value: Leaf = json.loads(bytes(data))
            return float(_NON_FINITE.get(value, value)) if dtype == "float" else value  # type: ignore[arg-type] # a str or a number
        return np.frombuffer(data, dtype=np.dtype(dtype)).reshape(shape).copy()
    except (ValueError, TypeError) as error:
        msg = f"Cannot read `{path}`: {len(data)} bytes are not a value of dtype {dtype!r} and shape {shape}."
        raise MismatchError(msg) from error


def json_scalar(value: Scalar) -> Scalar:
    """A scalar as strict JSON has it: numbers that JSON lacks become the strings NaN, Infinity, -Infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def digest(codes: Iterable[tuple[str, str, tuple[int, ...], str]]) -> str:
    """BLAKE3 over the sorted lines ``path, dtype, shape, leaf hash``, in hex."""
    lines = sorted(f"{path}\t{dtype}\t{list(shape)}\t{leaf_hash}\n" for path, dtype, shape, leaf_hash in codes)
    return blake3("".join(lines).encode()).hexdigest()


def differences(expected: State, got: State) -> list[str]:
    """What differs, one line a path: missing, unexpected, other dtype or shape, other values; empty if equal."""
    ours, theirs = flatten(expected), flatten(got)
    lines = [f"`{path}` is missing" for path in ours if path not in theirs]
    lines += [f"`{path}` is unexpected" for path in theirs if path not in ours]
    for path in sorted(ours.keys() & theirs.keys()):
        a, b = encode(path, ours[path]), encode(path, theirs[path])
        if (a.dtype, a.shape) != (b.dtype, b.shape):
            lines.append(f"`{path}` is {b.dtype}{list(b.shape)}, expected {a.dtype}{list(a.shape)}")
        elif a.hash != b.hash:
            lines.append(f"`{path}` has other values")
    return lines


def take(state: State, key: str, owner: str) -> Any:  # noqa: ANN401 - the caller knows the type of its own key
    """One entry of a component's state.

    Raises:
        MismatchError: it is not there, or there is an array or a number where its folder should be.
    """
    if not isinstance(state, Mapping):
        msg = f"Cannot load the state of {owner}: expected a folder with `{key}` in it, got a {type(state).__name__}."
        raise MismatchError(msg)
    if key not in state:
        msg = (
            f"Cannot load the state of {owner}: `{key}` is missing, it has {sorted(state) or 'nothing'}. "
            "Was it saved by another kind of component?"
        )
        raise MismatchError(msg)
    return state[key]


def _copied(value: Any, keeps: Keeps) -> Any:  # noqa: ANN401 - whatever a state holds
    if isinstance(value, dict):
        return copied(value, keeps)
    if isinstance(value, TrackedGroup):
        return value.captured(keeps)
    return value.copy() if isinstance(value, np.ndarray) else value


def take_as(state: State, key: str, owner: str, *kinds: type) -> Any:  # noqa: ANN401 - one of ``kinds``
    """One entry of a component's state, whose kind is checked; a bool is no int here.

    Raises:
        MismatchError: it is not there, or of another kind.
    """
    value = take(state, key, owner)
    if type(value) not in kinds:
        names = " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)
        msg = f"Cannot load the state of {owner}: `{key}` is a {type(value).__name__}, expected {names}."
        raise MismatchError(msg)
    return value


def take_array(state: State, key: str, owner: str, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> Array:
    """One array of a component's state, whose dtype and shape are checked.

    Raises:
        MismatchError: it is not there, or of another dtype or shape.
    """
    value: Array = take_as(state, key, owner, np.ndarray)
    if value.dtype != dtype or value.shape != shape:
        msg = (
            f"Cannot load the state of {owner}: `{key}` is {value.dtype}{list(value.shape)}, expected "
            f"{np.dtype(dtype)}{list(shape)}."
        )
        raise MismatchError(msg)
    return value


def _leaves(node: State, prefix: str) -> Iterable[tuple[str, Leaf]]:
    for key, value in node.items():
        # Tabs and line ends would make two trees one in the digest, and half a surrogate pair has no bytes.
        if not isinstance(key, str) or not key or "/" in key or not key.isprintable():
            where = f"below `{prefix}`" if prefix else "at its root"
            msg = f"Cannot use {key!r} as a key of a state tree {where}: expected a printable str without '/'."
            raise ArgumentError(msg)
        path = f"{prefix}{key}"
        scalar = _plain(value)
        if isinstance(value, dict):
            if value:
                if path.count("/") + 2 > MOST_KEYS:
                    msg = f"Cannot store `{path[:80]}…`: a path of a state tree has at most {MOST_KEYS} keys."
                    raise ArgumentError(msg)
                yield from _leaves(value, f"{path}/")
            else:
                yield path, EMPTY
        elif isinstance(scalar, np.ndarray | TrackedGroup | CapturedGroup) or type(scalar) in _SCALARS:
            yield path, scalar
        else:
            msg = (
                f"Cannot store `{path}`: it is a {type(value).__name__}; a state holds dicts of arrays, numbers, "
                "strings, booleans, None and tracked groups. Turn it into those in state_dict()."
            )
            raise ArgumentError(msg)


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever a state holds
    """NumPy's scalars as Python's, or as arrays without axes where Python's would compute with other bits."""
    if isinstance(value, np.float64 | np.int64 | np.bool_ | np.str_):
        return value.item()
    return np.asarray(value) if isinstance(value, np.float16 | np.float32 | np.integer) else value
