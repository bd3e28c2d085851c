"""Worlds of gymnasium's classic control for many lanes at once, with the same bits as gymnasium's.

What a world does is in C, in `garage.kernels`: every operation is one that gymnasium does on scalars, in its order and
in its precision; so the bits agree, whatever the number of lanes. Where gymnasium asks NumPy or the C library for a
cosine or a power, so does the kernel, and its last bits may depend on the processor.
"""

from collections.abc import Sequence
from typing import NamedTuple, final

import numpy as np

from garage.core.ports import Rung
from garage.core.state import take_array
from garage.core.types import Array, State, Transition
from garage.errors import MismatchError
from garage.kernels import worlds as kernels
from garage.kernels.rollout import CompiledWorld
from garage.kernels.worlds import Kernel, Places, Starts, Steps

_CLASSIC = "gymnasium.envs.classic_control."


class World(NamedTuple):
    """What is known of a world before any of its lanes is made."""

    world_id: str
    entry_point: str
    """What the id has to be registered to."""
    kernel: Kernel
    bounds: Sequence[float]
    """``[d]``, beyond which the state never is on either side; inf where there is no bound."""
    places: Places
    """Where its episodes start."""


WORLDS = (
    World(
        "CartPole-v1",
        f"{_CLASSIC}cartpole:CartPoleEnv",
        kernels.CART_POLES,
        # Position in m, angle in rad, and their velocities.
        bounds=[np.inf] * 4,
        places=Places([-0.05] * 4, [0.05] * 4, rows=[0, 2, 1, 3]),
    ),
    World(
        "Pendulum-v1",
        f"{_CLASSIC}pendulum:PendulumEnv",
        kernels.PENDULUMS,
        # Angle in rad and its velocity.
        bounds=[np.inf, 8.0],
        places=Places([-np.pi, -1.0], [np.pi, 1.0], rows=[0, 1]),
    ),
    World(
        "Acrobot-v1",
        f"{_CLASSIC}acrobot:AcrobotEnv",
        kernels.ACROBOTS,
        # Both angles in rad and their velocities.
        bounds=[np.pi, np.pi, 4 * np.pi, 9 * np.pi],
        places=Places([-0.1] * 4, [0.1] * 4, rows=[0, 1, 2, 3], is_single=True),
    ),
    World(
        "MountainCar-v0",
        f"{_CLASSIC}mountain_car:MountainCarEnv",
        kernels.MOUNTAIN_CARS,
        # Position and velocity.
        bounds=[1.2, 0.07],
        places=Places([-0.6], [-0.4], rows=[0]),
    ),
    World(
        "MountainCarContinuous-v0",
        f"{_CLASSIC}continuous_mountain_car:Continuous_MountainCarEnv",
        kernels.CONTINUOUS_MOUNTAIN_CARS,
        bounds=[float(np.float32(1.2)), float(np.float32(0.07))],
        places=Places([-0.6], [-0.4], rows=[0]),
    ),
)


@final
class ArrayLanes:
    """n copies of a world as a structure of arrays; see `garage.core.ports.Lanes`.

    Discrete actions are ``[k]`` int, others ``[k, 1]``, clipped to the world's space; observations are ``[k, ...]``
    float32.

    Args:
        world: which.
        n: number of lanes.
        max_episode_length: steps after which an episode is truncated, or None.
    """

    def __init__(self, world: World, n: int, max_episode_length: int | None) -> None:
        self.n = n
        self._world = world
        self._state, self._elapsed = np.zeros((world.kernel.n_rows, n)), np.zeros(n, np.int64)
        self._start = Starts(world.places, self._state, self._elapsed)
        self._steps = Steps(world.kernel, self._state, self._elapsed, max_episode_length)

    def reset(self, lanes: Array, seeds: Sequence[int]) -> Array:
        """See `garage.core.ports.Lanes`."""
        self._start(lanes, seeds)
        return self._steps.see(lanes)

    def step(self, lanes: Array, actions: Array) -> Transition:
        """See `garage.core.ports.Lanes`."""
        self._steps.move(lanes, self._numbers(actions) if self._world.kernel.n_actions is None else actions)
        return Transition(*self._steps.results())

    def compiled(self) -> CompiledWorld:
        """See `garage.core.ports.StepsCompiled`."""
        return CompiledWorld(self._steps, self._start)

    @property
    def rung(self) -> Rung:
        """The arrays below say all there is."""
        return Rung.ARRAYS

    def state_dict(self, lanes: Array) -> State:
        """See `garage.core.ports.Lanes`: where they are ``[d, k]`` float64, and steps taken ``[k]`` int64."""
        return {"state": self._state[:, lanes], "elapsed": self._elapsed[lanes]}

    def load_state_dict(self, lanes: Array, state: State) -> Array:
        """See `garage.core.ports.Lanes`."""
        owner = f"{len(lanes)} lanes of {self._world.world_id}"
        places = take_array(state, "state", owner, np.float64, (len(self._state), len(lanes)))
        elapsed = take_array(state, "elapsed", owner, np.int64, (len(lanes),))
        beyond = np.argwhere(np.abs(places) > np.array(self._world.bounds)[:, np.newaxis])
        if beyond.size:
            row, column = beyond[0]
            msg = (
                f"Cannot load the state of {owner}: `state` holds {places[row, column]} in row {row}, where nothing is "
                f"beyond ±{self._world.bounds[row]}. Was it written by another version of the world?"
            )
            raise MismatchError(msg)
        self._state[:, lanes] = places
        self._elapsed[lanes] = elapsed
        return self._steps.see(lanes)

    def close(self) -> None:
        """Nothing to let go of."""

    def _numbers(self, actions: Array) -> Array:
        """The one number of each action ``[k, 1]``, ``[k]`` float32; the kernel clips it."""
        with np.errstate(over="ignore"):  # infinity is clipped like anything else
            return np.asarray(actions[:, 0].astype(np.float32, copy=False))
