"""Pendulum-v1 for many lanes at once, in NumPy, with the same bits as gymnasium's.

A pole of length l = 1 m and mass m = 1 kg under gravity g = 10 m/s² and a torque u:
``thdot' = thdot + (3 g / (2 l) sin th + 3 / (m l²) u) dt``, ``th' = th + thdot' dt``, and the reward is
``-(norm(th)² + 0.1 thdot² + 0.001 u²)`` of the state before the step. Angles and speeds are float64; the
torque and its terms stay float32 until they are added to a float64.
"""

from collections.abc import Sequence

import numpy as np
from gymnasium.utils import seeding

from garage.core.ports import Rung
from garage.core.state import take_array
from garage.core.types import Array, State, Transition

WORLD_ID = "Pendulum-v1"
ENTRY_POINT = "gymnasium.envs.classic_control.pendulum:PendulumEnv"

_MAX_SPEED = 8
_MAX_TORQUE = 2.0
_SECONDS = 0.05
_GRAVITY_TERM = 3 * 10.0 / (2 * 1.0)
_TORQUE_TERM = 3.0 / (1.0 * 1.0**2)
_HIGHEST_START = np.array([np.pi, 1.0])


class PendulumLanes:
    """n pendulums as a structure of arrays; see `garage.core.ports.Lanes`.

    Args:
        n: number of lanes.
        max_episode_length: steps after which an episode is truncated, or None.
    """

    def __init__(self, n: int, max_episode_length: int | None) -> None:
        self.n = n
        self._max_episode_length = max_episode_length
        self._elapsed = np.zeros(n, np.int64)
        self._state = np.zeros((2, n))  # rows: angle in rad, angular velocity in rad/s

    def reset(self, lanes: Array, seeds: Sequence[int]) -> Array:
        """See `garage.core.ports.Lanes`; observations ``[k, 3]`` float32."""
        # What Generator.uniform does to each draw, done once for all of them.
        draws = np.array([seeding.np_random(seed)[0].random(2) for seed in seeds])
        self._state[:, lanes] = (-_HIGHEST_START + (_HIGHEST_START - -_HIGHEST_START) * draws).T
        self._elapsed[lanes] = 0
        return _observations(*self._state[:, lanes])

    def step(self, lanes: Array, actions: Array) -> Transition:
        """See `garage.core.ports.Lanes`; actions ``[k, 1]``, in N m, clipped to ±2; observations ``[k, 3]`` float32."""
        angle, speed = self._state[:, lanes]
        torque = np.clip(actions[:, 0], -_MAX_TORQUE, _MAX_TORQUE).astype(np.float32)
        normalised = ((angle + np.pi) % (2 * np.pi)) - np.pi
        cost = _squares(normalised) + 0.1 * _squares(speed) + 0.001 * _squares(torque)
        speed = speed + (_GRAVITY_TERM * np.sin(angle) + _TORQUE_TERM * torque) * _SECONDS
        speed = np.clip(speed, -_MAX_SPEED, _MAX_SPEED)
        angle = angle + speed * _SECONDS
        self._state[0, lanes] = angle
        self._state[1, lanes] = speed
        elapsed = self._elapsed[lanes] + 1
        self._elapsed[lanes] = elapsed
        limit = self._max_episode_length
        return Transition(
            observations=_observations(angle, speed),
            rewards=-cost,
            terminated=np.zeros(len(lanes), np.bool_),
            truncated=np.zeros(len(lanes), np.bool_) if limit is None else elapsed >= limit,
        )

    @property
    def rung(self) -> Rung:
        """The arrays below say all there is."""
        return Rung.ARRAYS

    def state_dict(self, lanes: Array) -> State:
        """See `garage.core.ports.Lanes`: angle and velocity ``[2, k]``, and steps taken ``[k]``."""
        return {"state": self._state[:, lanes], "elapsed": self._elapsed[lanes]}

    def load_state_dict(self, lanes: Array, state: State) -> Array:
        """See `garage.core.ports.Lanes`; observations ``[k, 3]`` float32."""
        owner = f"{len(lanes)} lanes of {WORLD_ID}"
        self._state[:, lanes] = take_array(state, "state", owner, np.float64, (2, len(lanes)))
        self._elapsed[lanes] = take_array(state, "elapsed", owner, np.int64, (len(lanes),))
        return _observations(*self._state[:, lanes])

    def close(self) -> None:
        """Nothing to let go of."""


def _squares(values: Array) -> Array:
    """Square as gymnasium does, scalar by scalar.

    NumPy's ``x ** 2`` of a scalar is the C library's ``pow``, which now and then (8 times in 10,000) rounds to the
    neighbour of ``x * x``, and that is what an array's ``x ** 2`` computes.
    """
    return np.array([value**2 for value in values], values.dtype)


def _observations(angle: Array, speed: Array) -> Array:
    observations = np.empty((len(angle), 3), np.float32)
    observations[:, 0] = np.cos(angle)
    observations[:, 1] = np.sin(angle)
    observations[:, 2] = speed
    return observations
