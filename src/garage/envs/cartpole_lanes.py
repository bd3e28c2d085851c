"""CartPole-v1 for many lanes at once, with the same bits as gymnasium's.

The dynamics are in ``cartpole.c`` of `garage.kernels`. Everything is float64 until an observation is rounded to
float32, and every operation is one that gymnasium does on scalars, in its order; so the bits agree, whatever the number
of lanes. Cosine and sine are NumPy's, whose bits depend on the processor.
"""

from typing import final

import numpy as np

from garage.core.types import Array, Transition
from garage.envs.array_lanes import ArrayLanes, World
from garage.kernels.rollout import CompiledWorld
from garage.kernels.worlds import CART_POLES, Places, Steps

WORLD_ID = "CartPole-v1"
ENTRY_POINT = "gymnasium.envs.classic_control.cartpole:CartPoleEnv"

_START = 0.05
_WORLD = World(WORLD_ID, np.full(4, np.inf), Places([-_START] * 4, [_START] * 4, rows=[0, 2, 1, 3]))


@final
class CartPoleLanes(ArrayLanes):
    """n cart-poles as a structure of arrays; see `garage.core.ports.Lanes`.

    Actions ``[k]`` int in {0, 1}; observations ``[k, 4]`` float32. The state is position, angle and their velocities,
    ``[4, k]``.

    Args:
        n: number of lanes.
        max_episode_length: steps after which an episode is truncated, or None.
    """

    def __init__(self, n: int, max_episode_length: int | None) -> None:
        super().__init__(_WORLD, np.zeros((4, n)))
        self._steps = Steps(CART_POLES, self._state, self._elapsed, max_episode_length)

    def step(self, lanes: Array, actions: Array) -> Transition:
        """See `garage.core.ports.Lanes`."""
        self._steps.move(lanes, actions)
        return Transition(*self._steps.results())

    def compiled(self) -> CompiledWorld:
        """See `garage.core.ports.StepsCompiled`."""
        return CompiledWorld(self._steps, self._start)

    def _observations(self, lanes: Array) -> Array:
        return self._steps.see(lanes)
