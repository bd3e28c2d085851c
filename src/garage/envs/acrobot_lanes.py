"""Acrobot-v1 for many lanes at once, in NumPy, with the same bits as gymnasium's.

Two links of 1 m and 1 kg, their centres of mass in the middle, a moment of inertia of 1 kg m² each, a torque at the
joint between them: Sutton and Barto 1998, "Reinforcement learning: an introduction", section 11.3, integrated by one
step of the classical Runge-Kutta method over 0.2 s. Everything is float64, but a start, which is rounded to float32,
and what is seen of it, which is computed from that. Every operation is one that gymnasium does on scalars, in its order
or in one that rounds alike: factors of 1 are left out, and signs and powers of two are moved, which rounds nothing.
"""

import numpy as np

from garage.core.types import Array
from garage.envs.array_lanes import NumpyLanes, World
from garage.kernels.worlds import Places

WORLD_ID = "Acrobot-v1"
ENTRY_POINT = "gymnasium.envs.classic_control.acrobot:AcrobotEnv"

_START = 0.1
_SPEED_LIMITS = np.array([4 * np.pi, 9 * np.pi])

# As arrays without dimensions, because a ufunc converts a Python float anew at each call.
_QUARTER, _HALF, _ONE, _FIVE_QUARTERS, _TWO = (
    np.array(0.25),
    np.array(0.5),
    np.array(1.0),
    np.array(1.25),
    np.array(2.0),
)
_SECONDS, _HALF_SECONDS, _SIXTH_SECONDS = np.array(0.2), np.array(0.2 / 2.0), np.array(0.2 / 6.0)
_LATER_STAGES = ((_HALF_SECONDS, _TWO), (_HALF_SECONDS, _TWO), (_SECONDS, _ONE))
_HALF_TURN, _HALF_TURN_BACK, _WHOLE_TURN = np.array(np.pi), np.array(-np.pi), np.array(2 * np.pi)
_TORQUES = np.array([-1.0, 0.0, 1.0])
_GOAL = np.array(-1.0)  # the negative of the free end's height
_GRAVITY = 9.8
_TURNED = np.array([[np.pi / 2], [np.pi / 2], [0.0]])
_WEIGHTS = np.array([[0.5 * _GRAVITY], [1.5 * _GRAVITY], [0.5]])

_WORLD = World(
    WORLD_ID,
    np.array([np.pi, np.pi, *_SPEED_LIMITS]),
    Places([-_START] * 4, [_START] * 4, rows=[0, 1, 2, 3], is_single=True),
)


class AcrobotLanes(NumpyLanes):
    """n acrobots as a structure of arrays; see `garage.core.ports.Lanes`.

    Actions ``[k]`` int in {0, 1, 2}, a torque of -1, 0 or 1 N m; observations ``[k, 6]`` float32: cosine and sine of
    both angles, both angular velocities. The state is angles in rad and their velocities in rad/s, ``[4, k]``.

    Args:
        n: number of lanes.
        max_episode_length: steps after which an episode is truncated, or None.
    """

    def __init__(self, n: int, max_episode_length: int | None) -> None:
        super().__init__(_WORLD, np.zeros((4, n)), np.float64, max_episode_length)
        self._links = _Links(n)
        self._change = np.empty((4, n))
        # Where the lanes are after a step: moved, then wrapped and clipped.
        self._moved = np.empty((4, n))
        self._angles, self._speeds = self._moved[:2], self._moved[2:]
        self._beyond = np.empty((2, n), np.bool_)
        self._speed_limits = np.repeat(_SPEED_LIMITS[:, np.newaxis], n, axis=1)
        self._lowest_speeds = -self._speed_limits
        # Rows as in an observation.
        self._seen = np.empty((6, n))
        self._cosines, self._sines, self._seen_speeds = self._seen[0:4:2], self._seen[1:4:2], self._seen[4:]
        self._height = np.empty(n)

    def _forces(self, actions: Array) -> Array:
        torques: Array = _TORQUES[actions]
        return torques

    def _advance(self, forces: Array, *, chosen: Array | bool) -> tuple[Array, Array, Array]:
        self._integrate(forces)
        self._wrap()
        np.maximum(self._speeds, self._lowest_speeds, out=self._speeds)
        np.minimum(self._speeds, self._speed_limits, out=self._speeds)
        np.copyto(self._state, self._moved, where=chosen)
        np.cos(self._angles, self._cosines)
        np.sin(self._angles, self._sines)
        np.copyto(self._seen_speeds, self._speeds)
        height = self._height
        np.add(self._angles[1], self._angles[0], height)
        np.cos(height, height)
        np.add(self._cosines[0], height, height)
        terminated = height < _GOAL
        return self._seen.T.astype(np.float32, order="C"), terminated - _ONE, terminated

    def _observations(self, lanes: Array) -> Array:
        places = self._state[:, lanes]
        observations = np.empty((len(lanes), 6), np.float32)
        # gymnasium holds a start in float32, so its cosines and sines are another function's.
        started = self._elapsed[lanes] == 0
        for rows, angles in ((~started, places[:2]), (started, places[:2].astype(np.float32))):
            observations[rows, 0:4:2] = np.cos(angles[:, rows]).T
            observations[rows, 1:4:2] = np.sin(angles[:, rows]).T
        observations[:, 4:] = places[2:].T
        return observations

    def _integrate(self, torques: Array) -> None:
        """One step of the classical Runge-Kutta method: ``y + h / 6 (k1 + 2 k2 + 2 k3 + k4)``."""
        place, rates, change, moved = self._links.place, self._links.rates, self._change, self._moved
        np.copyto(place, self._state)
        self._links.find_rates(torques)
        np.copyto(moved, rates)
        for seconds, weight in _LATER_STAGES:
            np.multiply(rates, seconds, change)
            np.add(self._state, change, place)
            self._links.find_rates(torques)
            np.multiply(rates, weight, change)
            np.add(moved, change, moved)
        np.multiply(moved, _SIXTH_SECONDS, moved)
        np.add(self._state, moved, moved)

    def _wrap(self) -> None:
        """Whole turns are taken off one by one, because each of them rounds."""
        while np.greater(self._angles, _HALF_TURN, self._beyond).any():
            np.subtract(self._angles, _WHOLE_TURN, self._angles, where=self._beyond)
        while np.less(self._angles, _HALF_TURN_BACK, self._beyond).any():
            np.add(self._angles, _WHOLE_TURN, self._angles, where=self._beyond)


class _Links:
    """The equations of motion of n pairs of links.

    Attributes:
        place: ``[4, n]``, both angles and their velocities; to be written.
        rates: ``[4, n]``, how they change; its first rows are the last ones of ``place``.
    """

    def __init__(self, n: int) -> None:
        # Rows: the sum of the angles, both angles, their velocities, their accelerations. The row of the first
        # acceleration is d2's until that is known, so that all that is squared lies side by side.
        motion = np.zeros((7, n))
        self.place, self.rates = motion[1:5], motion[3:]
        self._sum, self._angle_1, self._angle_2, self._speed_1, self._speed_2, self._d2, self._acceleration_2 = motion
        self._acceleration_1 = self._d2
        self._angles, self._roots = motion[:3], motion[3:6]
        self._turned = np.repeat(_TURNED, n, axis=1)
        self._weights = np.repeat(_WEIGHTS, n, axis=1)
        self._cosines, self._terms = np.empty((2, 3, n))
        self._squares = np.empty((3, n))
        self._sine, self._d1, self._phi_1, self._ratio = np.empty((4, n))

    def find_rates(self, torques: Array) -> None:
        """Rates at this place; d1, d2, phi1 and phi2 are the book's."""
        cosines, terms, squares, d1, d2 = self._cosines, self._terms, self._squares, self._d1, self._d2
        np.add(self._angle_1, self._angle_2, self._sum)
        np.subtract(self._angles, self._turned, cosines)
        np.cos(cosines, cosines)
        np.sin(self._angle_2, self._sine)
        np.multiply(cosines, self._weights, terms)
        phi_2, weight, half_cosine = terms
        np.add(cosines[2], _FIVE_QUARTERS, d1)
        np.add(d1, _QUARTER, d1)
        np.add(d1, _ONE, d1)
        np.add(d1, _ONE, d1)
        np.add(half_cosine, _QUARTER, d2)
        np.add(d2, _ONE, d2)
        # gymnasium's ``x ** 2`` of a scalar is the C library's `pow`, which now and then rounds to the neighbour of
        # ``x * x``. `numpy.float_power` calls it for each element; `numpy.power` and ``**`` do not.
        np.float_power(self._roots, _TWO, squares)
        np.multiply(squares[:2], _HALF, squares[:2])
        np.multiply(squares[:2], self._sine, squares[:2])
        from_speed_1, from_speed_2, d2_squared = squares
        phi_1, ratio, acceleration_2 = self._phi_1, self._ratio, self._acceleration_2
        np.multiply(self._speed_2, self._speed_1, phi_1)
        np.multiply(phi_1, self._sine, phi_1)
        np.add(from_speed_2, phi_1, phi_1)
        np.subtract(weight, phi_1, phi_1)
        np.add(phi_1, phi_2, phi_1)
        np.divide(d2, d1, ratio)
        np.multiply(ratio, phi_1, acceleration_2)
        np.add(acceleration_2, torques, acceleration_2)
        np.subtract(acceleration_2, from_speed_1, acceleration_2)
        np.subtract(acceleration_2, phi_2, acceleration_2)
        np.divide(d2_squared, d1, d2_squared)
        np.subtract(_FIVE_QUARTERS, d2_squared, d2_squared)
        np.divide(acceleration_2, d2_squared, acceleration_2)
        acceleration_1 = self._acceleration_1
        np.multiply(d2, acceleration_2, acceleration_1)
        np.add(acceleration_1, phi_1, acceleration_1)
        np.divide(acceleration_1, d1, acceleration_1)
        np.negative(acceleration_1, acceleration_1)
