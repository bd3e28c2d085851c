"""MountainCar-v0 and MountainCarContinuous-v0 for many lanes at once, in NumPy, with the same bits as gymnasium's.

An underpowered car in the valley ``sin(3 x)`` (Moore 1990, "Efficient memory-based learning for robot control", ch. 4):
``v' = v + push - 0.0025 cos(3 x)``, ``x' = x + v'``, both clipped, and the left wall stops the car. With discrete
actions the push is -0.001, 0 or 0.001 and everything is float64. With continuous ones it is 0.0015 times the force;
there gymnasium rounds position and velocity to float32 at the end of every step, so from the second step on everything
but the cosine is float32. A sum of float32 numbers that is computed in float64 and then rounded has the same bits.
"""

import functools
import math
from collections.abc import Callable

import numpy as np

from garage.core.types import Array
from garage.envs.array_lanes import NumpyLanes, World, clipped
from garage.kernels.worlds import Places

WORLD_ID = "MountainCar-v0"
ENTRY_POINT = "gymnasium.envs.classic_control.mountain_car:MountainCarEnv"
CONTINUOUS_WORLD_ID = "MountainCarContinuous-v0"
CONTINUOUS_ENTRY_POINT = "gymnasium.envs.classic_control.continuous_mountain_car:Continuous_MountainCarEnv"

# As arrays without dimensions, because a ufunc converts a Python float anew at each call.
_THREE = np.array(3.0)
_GRAVITY = np.array(0.0025)
_TOP_SPEED = np.array(0.07)
_LEFT_WALL, _RIGHT_END = np.array(-1.2), np.array(0.6)
_GOAL = np.array(0.5)
_STOPPED = np.array(0.0)
_PUSHES = np.array([-0.001, 0.0, 0.001])

_POWER = np.array(0.0015, np.float32)
_MOST_FORCE = 1.0
_CONTINUOUS_GOAL = np.array(0.45, np.float32)
_PRIZE, _EFFORT_COST = np.array(100.0), np.array(0.1)

_PLACES = Places([-0.6], [-0.4], rows=[0])
_BOUNDS = np.abs([_LEFT_WALL, _TOP_SPEED])
_WORLD = World(WORLD_ID, _BOUNDS, _PLACES)
_CONTINUOUS_WORLD = World(CONTINUOUS_WORLD_ID, _BOUNDS.astype(np.float32), _PLACES)


class MountainCarLanes(NumpyLanes):
    """n cars that are pushed left, not at all, or right; see `garage.core.ports.Lanes`.

    Actions ``[k]`` int in {0, 1, 2}; observations ``[k, 2]`` float32: position and velocity, which are also the state,
    ``[2, k]``.

    Args:
        n: number of lanes.
        max_episode_length: steps after which an episode is truncated, or None.
    """

    def __init__(self, n: int, max_episode_length: int | None) -> None:
        super().__init__(_WORLD, np.zeros((2, n)), np.float64, max_episode_length)
        self._slope, self._cosine = np.empty(n), c_cosine()
        self._drive = _Drive(n, np.float64)
        self._rewards = np.full(n, -1.0)  # handed out again and again, so nobody may write to it
        self._rewards.flags.writeable = False

    def _forces(self, actions: Array) -> Array:
        pushes: Array = _PUSHES[actions]
        return pushes

    def _advance(self, forces: Array, *, chosen: Array | bool) -> tuple[Array, Array, Array]:
        slope = self._slope
        np.multiply(self._state[0], _THREE, slope)
        self._cosine(slope, slope)
        np.multiply(slope, _GRAVITY, slope)
        np.subtract(forces, slope, slope)
        self._drive.move(self._state, slope, chosen=chosen)
        return self._drive.observations(), self._rewards, self._drive.arrived(_GOAL)

    def _observations(self, lanes: Array) -> Array:
        return _seen(self._state[:, lanes])


class MountainCarContinuousLanes(NumpyLanes):
    """n cars that are pushed by a force of -1 to 1; see `garage.core.ports.Lanes`.

    Actions ``[k, 1]``, clipped to ±1; observations ``[k, 2]`` float32: position and velocity, which are also the state,
    ``[2, k]``.

    Args:
        n: number of lanes.
        max_episode_length: steps after which an episode is truncated, or None.
    """

    def __init__(self, n: int, max_episode_length: int | None) -> None:
        super().__init__(_CONTINUOUS_WORLD, np.zeros((2, n)), np.float32, max_episode_length)
        self._slope, self._cosine = np.empty(n), c_cosine()
        self._rounded, self._pushes = np.empty((2, n), np.float32)
        self._underway = np.empty(n, np.bool_)
        self._efforts = np.empty(n)
        self._drive = _Drive(n, np.float32)

    def _forces(self, actions: Array) -> Array:
        return clipped(actions, _MOST_FORCE)

    def _advance(self, forces: Array, *, chosen: Array | bool) -> tuple[Array, Array, Array]:
        slope, rounded, pushes = self._slope, self._rounded, self._pushes
        np.multiply(self._state[0], _THREE, slope)
        # A start is not rounded to float32 before the first step, and nor is three times it.
        np.greater(self._elapsed, 0, self._underway)
        np.copyto(rounded, slope, casting="same_kind")
        np.copyto(slope, rounded, where=self._underway)
        self._cosine(slope, slope)
        np.multiply(slope, _GRAVITY, slope)
        np.copyto(rounded, slope, casting="same_kind")
        np.multiply(forces, _POWER, pushes)
        np.subtract(pushes, rounded, pushes)
        self._drive.move(self._state, pushes, chosen=chosen)
        arrived = self._drive.arrived(_CONTINUOUS_GOAL)
        # The square of a float32 is exact in float64, so `pow` would be, too.
        np.square(forces, self._efforts, dtype=np.float64)
        np.multiply(self._efforts, _EFFORT_COST, self._efforts)
        return self._drive.observations(), arrived * _PRIZE - self._efforts, arrived

    def _observations(self, lanes: Array) -> Array:
        return _seen(self._state[:, lanes])


class _Drive:
    """How n cars move when they are accelerated, in one precision."""

    def __init__(self, n: int, dtype: type[np.float32 | np.float64]) -> None:
        self._moved = np.empty((2, n), dtype)
        self._position, self._velocity = self._moved
        self._at_wall = np.empty(n, np.bool_)
        self._top_speed, self._lowest_speed = _TOP_SPEED.astype(dtype), (-_TOP_SPEED).astype(dtype)
        self._left_wall, self._right_end = _LEFT_WALL.astype(dtype), _RIGHT_END.astype(dtype)
        self._stopped = _STOPPED.astype(dtype)

    def move(self, state: Array, acceleration: Array, *, chosen: Array | bool) -> None:
        """Speed up and move the chosen ones of all cars, whose positions and velocities are ``[2, n]``."""
        position, velocity = self._position, self._velocity
        np.add(state[1], acceleration, velocity)
        np.maximum(velocity, self._lowest_speed, out=velocity)
        np.minimum(velocity, self._top_speed, out=velocity)
        np.add(state[0], velocity, position)
        np.maximum(position, self._left_wall, out=position)
        np.minimum(position, self._right_end, out=position)
        np.equal(position, self._left_wall, self._at_wall)
        np.maximum(velocity, self._stopped, out=velocity, where=self._at_wall)
        np.copyto(state, self._moved, where=chosen)

    def observations(self) -> Array:
        """Of the cars after they have moved, ``[n, 2]`` float32."""
        return _seen(self._moved)

    def arrived(self, goal: Array) -> Array:
        """Which ones are at the goal, and do not roll back."""
        arrived: Array = np.greater_equal(self._position, goal) & np.greater_equal(self._velocity, self._stopped)
        return arrived


def _seen(state: Array) -> Array:
    return np.asarray(state.T.astype(np.float32, order="C"))


def _one_by_one(angles: Array, cosines: Array) -> None:
    cosines[:] = [math.cos(angle) for angle in angles.tolist()]


@functools.cache
def c_cosine() -> Callable[[Array, Array], object]:
    """The C library's cosine, which gymnasium takes for these worlds; of all angles at once if NumPy's is the same.

    NumPy's need not be: it has had vectorised ones of its own. Taking angles one by one costs ten times as much.
    """
    angles = np.linspace(3 * _LEFT_WALL, 3 * _RIGHT_END, 20_001)
    expected, got = np.empty((2, len(angles)))
    _one_by_one(angles, expected)
    np.cos(angles, got)
    return np.cos if np.array_equal(expected, got) else _one_by_one
