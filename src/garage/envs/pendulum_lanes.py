"""Pendulum-v1 for many lanes at once, with the same bits as gymnasium's.

The dynamics are in ``pendulum.c`` of `garage.kernels`. Every operation is one that gymnasium does on scalars, in its
order and in its precision; so the bits agree, whatever the number of lanes. Cosine and sine are NumPy's, whose bits
depend on the processor, and powers are the C library's.
"""

from typing import final

import numpy as np

from garage.core.types import Array, Transition
from garage.envs.array_lanes import ArrayLanes, World, clipped
from garage.kernels.rollout import CompiledWorld
from garage.kernels.worlds import PENDULUMS, Places, Steps

WORLD_ID = "Pendulum-v1"
ENTRY_POINT = "gymnasium.envs.classic_control.pendulum:PendulumEnv"

_TOP_SPEED = 8.0
_MOST_TORQUE = 2.0
_FLOAT32 = np.dtype(np.float32)
_WORLD = World(WORLD_ID, np.array([np.inf, _TOP_SPEED]), Places([-np.pi, -1.0], [np.pi, 1.0], rows=[0, 1]))


@final
class PendulumLanes(ArrayLanes):
    """n pendulums as a structure of arrays; see `garage.core.ports.Lanes`.

    Actions ``[k, 1]``, in N m, clipped to ±2; observations ``[k, 3]`` float32: cosine and sine of the angle, angular
    velocity. The state is the angle in rad and its velocity in rad/s, ``[2, k]``.

    Args:
        n: number of lanes.
        max_episode_length: steps after which an episode is truncated, or None.
    """

    def __init__(self, n: int, max_episode_length: int | None) -> None:
        super().__init__(_WORLD, np.zeros((2, n)))
        self._steps = Steps(PENDULUMS, self._state, self._elapsed, max_episode_length)

    def step(self, lanes: Array, actions: Array) -> Transition:
        """See `garage.core.ports.Lanes`."""
        # float32 is clipped by the kernel; what is wider might round to infinity before, and warn.
        self._steps.move(lanes, actions[:, 0] if actions.dtype == _FLOAT32 else clipped(actions, _MOST_TORQUE))
        return Transition(*self._steps.results())

    def compiled(self) -> CompiledWorld:
        """See `garage.core.ports.StepsCompiled`."""
        return CompiledWorld(self._steps, self._start)

    def _observations(self, lanes: Array) -> Array:
        return self._steps.see(lanes)
