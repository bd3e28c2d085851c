"""Steps and starts of worlds in arrays, by compiled kernels: see ``worlds.h``, the worlds' own, and ``seeding.c``.

Lanes are the columns of a state ``[d, n]``. Lanes, actions and seeds are handed over as copies, which is faster than
asking NumPy where they lie; what the kernels write lies in arrays that were made once, and is copied from there.
"""

import array
import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from garage.errors import ArgumentError, MismatchError
from garage.kernels import library
from garage.kernels.numpy_loops import loop_of

Array = npt.NDArray[Any]

_POINTER, _NUMBER = ctypes.c_void_p, ctypes.c_int64
_INT64 = np.dtype(np.int64)
_FINE, _BAD_LANE = 0, 1
_SEEDS = "Q"  # 64 bits without a sign
_ROOM_ROWS = 32


class _Lanes(ctypes.Structure):
    """The mirror of ``struct lanes`` in worlds.h."""

    _fields_ = (
        *(("n", _NUMBER), ("limit", _NUMBER)),
        *((name, _POINTER) for name in ("state", "elapsed", "see", "move")),
        ("n_actions", _NUMBER),
        *((name, _POINTER) for name in ("cosine", "sine", "single_cosine", "single_sine", "room")),
        *((name, _POINTER) for name in ("observations", "rewards", "terminated", "truncated")),
    )


class _Starts(ctypes.Structure):
    """The mirror of ``struct starts`` in seeding.c."""

    _fields_ = (
        *(("n", _NUMBER), ("n_rows", _NUMBER), ("state", _POINTER), ("elapsed", _POINTER)),
        *(("n_draws", _NUMBER), ("lowest", _POINTER), ("ranges", _POINTER), ("rows", _POINTER), ("is_single", _NUMBER)),
    )


class Kernel(NamedTuple):
    """What one world's kernels take and give."""

    name: str
    """With which those of its functions in C begin."""
    n_rows: int
    """Of the state."""
    n_seen: int
    """Numbers in an observation."""
    dtype: np.dtype[Any]
    """Of actions ``[k]``."""
    n_actions: int | None
    """How many there are, from 0 on, or None for numbers."""


_SINGLE = np.dtype(np.float32)
CART_POLES = Kernel("cart_poles", n_rows=4, n_seen=4, dtype=_INT64, n_actions=2)
PENDULUMS = Kernel("pendulums", n_rows=2, n_seen=3, dtype=_SINGLE, n_actions=None)
ACROBOTS = Kernel("acrobots", n_rows=4, n_seen=6, dtype=_INT64, n_actions=3)
MOUNTAIN_CARS = Kernel("mountain_cars", n_rows=2, n_seen=2, dtype=_INT64, n_actions=3)
CONTINUOUS_MOUNTAIN_CARS = Kernel("continuous_mountain_cars", n_rows=2, n_seen=2, dtype=_SINGLE, n_actions=None)


class Places(NamedTuple):
    """Where episodes start: each number uniformly between a lowest and a highest one."""

    lowest: Sequence[float]
    """``[m]``, in the order in which they are drawn."""
    highest: Sequence[float]
    rows: Sequence[int]
    """``[m]``, where they stand in the state; what is not drawn starts at zero."""
    is_single: bool = False
    """Whether they are rounded to float32."""


class Starts:
    """Starts episodes in any lanes, from the numbers that gymnasium draws after ``reset(seed=...)``.

    Args:
        places: where.
        state: ``[d, n]`` float64, the lanes' own.
        elapsed: ``[n]`` int64, steps taken, the lanes' own.

    Attributes:
        address: of ``struct starts``.
    """

    def __init__(self, places: Places, state: Array, elapsed: Array) -> None:
        lowest, highest = np.array(places.lowest, np.float64), np.array(places.highest, np.float64)
        rows = np.array(places.rows, np.int64)
        if not lowest.shape == highest.shape == rows.shape or not np.isin(rows, np.arange(len(state))).all():
            msg = f"Cannot start episodes at {places}: expected as many rows of {len(state)} as numbers of each kind."
            raise ArgumentError(msg)
        _check("state", state, np.float64, (len(state), len(elapsed)))
        _check("elapsed", elapsed, np.int64, (len(elapsed),))
        self._n = len(elapsed)
        self._kept = (state, elapsed, lowest, highest - lowest, rows)
        own, taken, *drawn = (kept.ctypes.data for kept in self._kept)
        self._starts = _Starts(self._n, len(state), own, taken, len(rows), *drawn, places.is_single)
        self._kernel = _function("start_episodes", 1)
        self.address = ctypes.addressof(self._starts)

    def __call__(self, lanes: Array, seeds: Sequence[int]) -> None:
        """Start an episode in each of ``lanes`` ``[k]``, and set its steps to 0.

        Args:
            lanes: ``[k]`` int.
            seeds: ``[k]``, at least 0 and below 2⁶⁴.

        Raises:
            IndexError: there is no such lane.
            ArgumentError: a seed is out of range, or there are more or fewer of them than lanes.
        """
        if lanes.dtype is not _INT64:
            lanes = _integers("lanes", lanes)
        try:
            words = array.array(_SEEDS, seeds)
        except OverflowError as error:
            msg = f"Cannot start episodes with the seeds {list(seeds)}: expected integers in [0, 2**64)."
            raise ArgumentError(msg) from error
        if len(words) != lanes.size:
            msg = f"Cannot start episodes in {lanes.size} lanes with {len(words)} seeds: expected one for each."
            raise ArgumentError(msg)
        if self._kernel(self.address, lanes.tobytes(), lanes.size, words.tobytes()) != _FINE:
            raise _no_such_lane(lanes, self._n)


class Steps:
    """Steps any lanes of one world, by its kernel.

    Args:
        kernel: of the world, such as `CART_POLES`.
        state: ``[d, n]`` float64, the lanes' own.
        elapsed: ``[n]`` int64, steps taken, the lanes' own.
        limit: steps after which an episode is truncated, or None.

    Attributes:
        kernel: as given.
        n: lanes.
        address: of ``struct lanes``.
    """

    def __init__(self, kernel: Kernel, state: Array, elapsed: Array, limit: int | None) -> None:
        self.kernel = kernel
        self._dtype = self.kernel.dtype
        self.n = n = len(elapsed)
        _check("state", state, np.float64, (self.kernel.n_rows, n))
        _check("elapsed", elapsed, np.int64, (n,))
        seen = np.zeros((n, kernel.n_seen), np.float32)
        self._results = (seen, np.zeros(n), np.zeros(n, np.bool_), np.zeros(n, np.bool_))
        self._kept = (state, elapsed, np.zeros((_ROOM_ROWS, n)), *self._results)
        self._loops = [loop_of(function, dtype) for dtype in "df" for function in (np.cos, np.sin)]
        see, move = (library.held()[f"{kernel.name}_{name}"] for name in ("see", "move"))
        own, taken, *room = (kept.ctypes.data for kept in self._kept)
        self._lanes = _Lanes(
            n,
            np.iinfo(np.int64).max if limit is None else limit,
            *(own, taken, library.address_of(see), library.address_of(move)),
            -1 if kernel.n_actions is None else kernel.n_actions,
            *map(library.address_of, self._loops),
            *room,
        )
        self.address = ctypes.addressof(self._lanes)
        self._step, self._see = _function("lanes_step", 1), _function("lanes_see", 0)
        self._fit(n)

    def move(self, lanes: Array, actions: Array) -> None:
        """Take one action in each of ``lanes`` ``[k]``, each at most once.

        Raises:
            IndexError: there is no such lane, or no such action; nothing has moved.
            MismatchError: actions of another shape or kind.
        """
        k = lanes.size
        if k != self._k:
            self._fit(k)
        if lanes.dtype is not _INT64:
            lanes = _integers("lanes", lanes)
        if actions.dtype is not self._dtype or actions.shape != lanes.shape:
            actions = self._checked(actions, lanes)
        if self._step(self.address, lanes.tobytes(), k, actions.tobytes()) != _FINE:
            raise self._refused(lanes, actions)

    def see(self, lanes: Array) -> Array:
        """Observations ``[k, ...]`` float32 of ``lanes`` ``[k]`` as they are.

        Raises:
            IndexError: there is no such lane.
        """
        if lanes.size != self._k:
            self._fit(lanes.size)
        if lanes.dtype is not _INT64:
            lanes = _integers("lanes", lanes)
        if self._see(self.address, lanes.tobytes(), self._k) != _FINE:
            raise _no_such_lane(lanes, self.n)
        return self._seen.copy()

    def results(self) -> tuple[Array, Array, Array, Array]:
        """Of the lanes that were moved last, as copies: what was seen last, rewards, terminated and truncated."""
        return self._seen.copy(), self._rewards.copy(), self._terminated.copy(), self._truncated.copy()

    def _fit(self, k: int) -> None:
        """Have the results of k lanes at hand."""
        if k > self.n:
            msg = f"Cannot step {k} of {self.n} lanes: expected each of them at most once."
            raise MismatchError(msg)
        self._k = k
        self._seen, self._rewards, self._terminated, self._truncated = (result[:k] for result in self._results)

    def _checked(self, actions: Array, lanes: Array) -> Array:
        if actions.shape != lanes.shape:
            msg = f"Cannot step {lanes.size} lanes with actions of shape {actions.shape}: expected one for each."
            raise MismatchError(msg)
        if self.kernel.n_actions is not None:
            return _integers("actions", actions)
        if actions.dtype != self._dtype:
            msg = f"Cannot step {lanes.size} lanes with actions in {actions.dtype}: expected {self._dtype}."
            raise MismatchError(msg)
        return actions

    def _refused(self, lanes: Array, actions: Array) -> IndexError:
        if not _in_range(lanes, self.n).all():
            return _no_such_lane(lanes, self.n)
        n_actions = self.kernel.n_actions or 0
        row = np.flatnonzero(~_in_range(actions, n_actions))[0]
        return IndexError(
            f"There is no action {actions[row]}, which lane {lanes[row]} was to take: expected integers in "
            f"[0, {n_actions})."
        )


def _function(name: str, n_arrays: int) -> Any:  # noqa: ANN401 - ctypes' functions have no public type
    """A kernel that takes a struct, the chosen lanes, how many they are, and as many more arrays."""
    function = library.held()[name]
    function.argtypes, function.restype = (_POINTER, _POINTER, _NUMBER, *[_POINTER] * n_arrays), ctypes.c_int
    return function


def _integers(name: str, numbers: Array) -> Array:
    """As int64; kinds that NumPy does not index by are refused as it does."""
    if numbers.dtype.kind not in "iu":
        msg = f"{name} must be integers, got {numbers.dtype}."
        raise IndexError(msg)
    return numbers.astype(np.int64)


def _in_range(indices: Array, n: int) -> Array:
    return np.asarray((indices >= 0) & (indices < n))


def _no_such_lane(lanes: Array, n: int) -> IndexError:
    return IndexError(f"There is no lane {lanes[~_in_range(lanes, n)][0]}: expected integers in [0, {n}).")


def _check(name: str, array: Array, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> None:
    """The kernels keep pointers, so whatever does not fit must not come to them."""
    if array.shape != shape or array.dtype != dtype or not array.flags.c_contiguous or not array.flags.writeable:
        msg = (
            f"Cannot compute with `{name}` of shape {array.shape} in {array.dtype}: expected {shape} in "
            f"{np.dtype(dtype)}, in one piece that may be written to."
        )
        raise MismatchError(msg)
