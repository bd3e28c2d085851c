"""Two state trees side by side: where they differ, and how far apart they are. Nothing is unpickled."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np

from garage.core import state as state_trees
from garage.core.state import Leaf
from garage.core.tracked import TrackedGroup
from garage.core.types import Array, State
from garage.storage.manifest import Manifest
from garage.storage.packs import as_bytes
from garage.storage.store import EPISODES, UNDIGESTED

_GENERATORS = "process"
_WITH_PARTS = {"algo", _GENERATORS}
_CLOCK = "Time"
_NO_METRICS = {"epoch", "digest"}
_NUMBERS = "biufc"
_LONGEST = 40


class Code(NamedTuple):
    """A leaf or a tracked group without its values."""

    dtype: str
    shape: tuple[int, ...]
    hash: str


class LeafDifference(msgspec.Struct, frozen=True, kw_only=True):
    """A leaf that two state trees do not agree about."""

    path: str
    component: str
    """That it belongs to, see `component_of`."""
    a: str | None
    """Dtype and shape, such as ``<f4[58]``, or a scalar's value; None if there is no such leaf."""
    b: str | None
    distance: float | None
    """The largest absolute difference of its numbers; None where none can be said."""
    n_unequal: int | None
    """How many of its numbers differ."""


def codes_of(manifest: Manifest) -> dict[str, Code]:
    """What a snapshot holds, by path; stored episodes are left out."""
    found = {leaf.path: Code(leaf.dtype, leaf.shape, leaf.hash) for leaf in manifest.leaves}
    found |= {group.path: Code(state_trees.GROUP, (group.rows,), group.hash) for group in manifest.groups}
    return {path: code for path, code in found.items() if not path.startswith(f"{EPISODES}/")}


def codes_of_state(state: State) -> dict[str, Code]:
    """The same of a state tree in memory."""
    leaves, groups = as_bytes(state)
    found = {leaf.path: Code(leaf.dtype, leaf.shape, leaf.hash) for leaf in leaves}
    found |= {group.path: Code(group.dtype, group.shape, group.hash) for group in groups}
    return {path: code for path, code in found.items() if not path.startswith(f"{EPISODES}/")}


def digest_of(codes: Mapping[str, Code]) -> str:
    """The digest of a state tree."""
    return state_trees.digest((path, *code) for path, code in codes.items() if not path.startswith(UNDIGESTED))


def differing(a: Mapping[str, Code], b: Mapping[str, Code]) -> tuple[list[str], list[str]]:
    """Sorted paths at which two trees differ: those that digests are made of, and those of the process's generators."""
    paths = sorted(path for path in a.keys() | b.keys() if a.get(path) != b.get(path))
    generators = [path for path in paths if path.startswith(f"{_GENERATORS}/")]
    return [path for path in paths if path not in generators], generators


def component_of(path: str) -> str:
    """Whose leaf it is: ``algo/policy``, ``env``, ``sampler``, ``counters``, or ``process/numpy`` of the generators."""
    keys = path.split("/")
    return "/".join(keys[: 2 if keys[0] in _WITH_PARTS else 1])


def leaf_difference(
    path: str, a: Code | None, b: Code | None, ours: Leaf = None, theirs: Leaf = None
) -> LeafDifference:
    """How two leaves differ.

    Args:
        path: theirs.
        a: the first, or None if there is none.
        b: the second.
        ours: the value of the first, if there are both.
        theirs: the value of the second.
    """
    apart = _apart(_columns(ours), _columns(theirs)) if a is not None and b is not None else None
    return LeafDifference(
        path=path,
        component=component_of(path),
        a=_said(a, ours),
        b=_said(b, theirs),
        distance=None if apart is None else float(max((each.max() for each in apart if each.size), default=0.0)),
        n_unequal=None if apart is None else sum(int(np.count_nonzero(each)) for each in apart),
    )


def apart(difference: LeafDifference, a: str, b: str) -> str:
    """The same in words.

    Args:
        difference: to be described.
        a: what the first tree is called.
        b: what the second is called.
    """
    if difference.a is None or difference.b is None:
        return f"`{difference.path}` is missing in {a if difference.a is None else b}"
    if difference.distance is None or difference.n_unequal is None:
        return f"`{difference.path}` is {difference.a} in {a}, {difference.b} in {b}"
    if difference.a == difference.b:
        n = f"{difference.n_unequal:,} of its numbers differ, by at most {difference.distance:.6g}"
        return f"`{difference.path}` {difference.a}: {n}"
    return f"`{difference.path}` is {difference.a} in {a}, {difference.b} in {b}: {difference.distance:.6g} apart"


def differing_metrics(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Names of metrics that are not the same in two rows, but for those that a clock measured."""
    names = {name for name in a.keys() | b.keys() if not name.endswith(_CLOCK)} - _NO_METRICS
    return sorted(name for name in names if a.get(name) != b.get(name))


def _columns(value: Leaf) -> dict[str, Array]:
    """The numbers of a leaf, by column; none if they are no numbers."""
    if isinstance(value, TrackedGroup):
        columns = dict(value.views())
    elif isinstance(value, np.ndarray):
        columns = {"": value}
    elif isinstance(value, int | float) and not isinstance(value, bool):
        columns = {"": np.asarray(value)}
    else:
        return {}
    return columns if all(column.dtype.kind in _NUMBERS for column in columns.values()) else {}


def _apart(ours: Mapping[str, Array], theirs: Mapping[str, Array]) -> list[Array] | None:
    """Absolute differences by column, NaN where one alone is NaN; None where they cannot be taken."""
    if not ours or ours.keys() != theirs.keys():
        return None
    pairs = [(ours[name], theirs[name]) for name in ours]
    if any(a.shape != b.shape for a, b in pairs):
        return None
    return [_distances(a, b) for a, b in pairs]


def _distances(a: Array, b: Array) -> Array:
    wide = np.complex128 if "c" in {a.dtype.kind, b.dtype.kind} else np.float64
    equal = (a == b) | ((a != a) & (b != b))  # noqa: PLR0124 - NaN
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(a.astype(wide) - b.astype(wide))
    return np.where(equal, 0.0, np.where(np.isnan(apart), math.nan, apart))


def _said(code: Code | None, value: Leaf) -> str | None:
    if code is None:
        return None
    if isinstance(value, bool | int | float | str):
        text = repr(value)
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return f"{code.dtype}{list(code.shape)}" if code.shape or code.dtype[0] in "<|" else code.dtype
