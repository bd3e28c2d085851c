"""Pendulum-v1 for many lanes at once, in NumPy, with the same bits as gymnasium's.

A pole of length l = 1 m and mass m = 1 kg under gravity g = 10 m/s² and a torque u:
``thdot' = thdot + (3 g / (2 l) sin th + 3 / (m l²) u) dt``, ``th' = th + thdot' dt``, and the reward is
``-(norm(th)² + 0.1 thdot² + 0.001 u²)`` of the state before the step. Angles and speeds are float64; the
torque and its terms stay float32 until they are added to a float64.
"""

import numpy as np

from garage.core.types import Array
from garage.envs.array_lanes import NumpyLanes, World, clipped
from garage.kernels.worlds import Places

WORLD_ID = "Pendulum-v1"
ENTRY_POINT = "gymnasium.envs.classic_control.pendulum:PendulumEnv"

# As arrays without dimensions, because a ufunc converts a Python float anew at each call.
_MAX_SPEED, _LOWEST_SPEED = np.array(8.0), np.array(-8.0)
_MAX_TORQUE = 2.0
_SECONDS = np.array(0.05)
_HALF_TURN, _WHOLE_TURN = np.array(np.pi), np.array(2 * np.pi)
_GRAVITY_TERM = np.array(3 * 10.0 / (2 * 1.0))
_TORQUE_TERM = np.array(3.0 / (1.0 * 1.0**2), np.float32)
_SPEED_COST, _TORQUE_COST = np.array(0.1), np.array(0.001, np.float32)
_TWO = np.array(2.0)

_WORLD = World(WORLD_ID, np.array([np.inf, _MAX_SPEED]), Places([-np.pi, -1.0], [np.pi, 1.0], rows=[0, 1]))


class PendulumLanes(NumpyLanes):
    """n pendulums as a structure of arrays; see `garage.core.ports.Lanes`.

    Actions ``[k, 1]``, in N m, clipped to ±2; observations ``[k, 3]`` float32: cosine and sine of the angle, angular
    velocity. The state is the angle in rad and its velocity in rad/s, ``[2, k]``.

    Args:
        n: number of lanes.
        max_episode_length: steps after which an episode is truncated, or None.
    """

    def __init__(self, n: int, max_episode_length: int | None) -> None:
        super().__init__(_WORLD, np.zeros((2, n)), np.float32, max_episode_length)
        self._moved = np.empty((2, n))
        self._angle, self._speed = self._moved
        self._terms, self._squares = np.empty((2, 2, n))
        self._sine = np.empty(n)
        self._torques = np.empty(n, np.float32)

    def _forces(self, actions: Array) -> Array:
        return clipped(actions, _MAX_TORQUE)

    def _advance(self, forces: Array, *, chosen: Array | bool) -> tuple[Array, Array, Array]:
        rewards = self._rewards(forces)
        np.sin(self._state[0], self._sine)
        np.multiply(self._sine, _GRAVITY_TERM, self._sine)
        np.multiply(forces, _TORQUE_TERM, self._torques)
        np.add(self._sine, self._torques, self._speed)
        np.multiply(self._speed, _SECONDS, self._speed)
        np.add(self._state[1], self._speed, self._speed)
        np.maximum(self._speed, _LOWEST_SPEED, out=self._speed)
        np.minimum(self._speed, _MAX_SPEED, out=self._speed)
        np.multiply(self._speed, _SECONDS, self._angle)
        np.add(self._state[0], self._angle, self._angle)
        np.copyto(self._state, self._moved, where=chosen)
        return _seen(self._moved), rewards, self._never

    def _observations(self, lanes: Array) -> Array:
        return _seen(self._state[:, lanes])

    def _rewards(self, torques: Array) -> Array:
        """Of the state before the step."""
        np.copyto(self._terms, self._state)
        angles = self._terms[0]
        np.add(angles, _HALF_TURN, angles)
        np.remainder(angles, _WHOLE_TURN, angles)
        np.subtract(angles, _HALF_TURN, angles)
        # gymnasium's ``x ** 2`` of a scalar is the C library's `pow`, which now and then (8 times in 10,000) rounds to
        # the neighbour of ``x * x``. `numpy.float_power` calls it for each element; `numpy.power` and ``**`` do not.
        np.float_power(self._terms, _TWO, self._squares)
        of_angle, of_speed = self._squares
        np.multiply(of_speed, _SPEED_COST, of_speed)
        np.add(of_angle, of_speed, of_angle)
        # Nothing calls `powf` for each element.
        of_torque = np.array([torque**2 for torque in torques], np.float32)
        np.multiply(of_torque, _TORQUE_COST, of_torque)
        np.add(of_angle, of_torque, of_angle)
        rewards: Array = np.negative(of_angle)
        return rewards


def _seen(state: Array) -> Array:
    angle, speed = state
    observations = np.empty((len(angle), 3), np.float32)
    observations[:, 0] = np.cos(angle)
    observations[:, 1] = np.sin(angle)
    observations[:, 2] = speed
    return observations
