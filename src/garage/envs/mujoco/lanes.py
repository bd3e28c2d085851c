"""Lanes of one of MuJoCo's worlds."""

from collections.abc import Mapping, Sequence

import numpy as np
from gymnasium.utils import seeding

from garage.core.ports import Rung
from garage.core.state import take_array
from garage.core.types import Array, State, Transition
from garage.envs.mujoco.bodies import Ant, Humanoid
from garage.envs.mujoco.pendulums import InvertedDoublePendulum, InvertedPendulum
from garage.envs.mujoco.physics import compiled, physics_of
from garage.envs.mujoco.reacher import Reacher
from garage.envs.mujoco.runners import HalfCheetah, Hopper, Swimmer, Walker2d
from garage.envs.mujoco.world import World

_KINDS: Mapping[str, type[World]] = {
    "Ant-v5": Ant,
    "HalfCheetah-v5": HalfCheetah,
    "Hopper-v5": Hopper,
    "Humanoid-v5": Humanoid,
    "InvertedDoublePendulum-v5": InvertedDoublePendulum,
    "InvertedPendulum-v5": InvertedPendulum,
    "Reacher-v5": Reacher,
    "Swimmer-v5": Swimmer,
    "Walker2d-v5": Walker2d,
}


class MujocoLanes:
    """n copies of a world, whose physics threads step; see `garage.core.ports.Lanes`.

    Args:
        world_id: one of `garage.envs.mujoco.ENTRY_POINTS`.
        n: number of lanes.
        max_episode_length: steps after which an episode is truncated, or None.

    Raises:
        ArgumentError: ``GARAGE_PHYSICS_THREADS`` is set to something that is no number of threads.
    """

    def __init__(self, world_id: str, n: int, max_episode_length: int | None) -> None:
        self.n = n
        self._world_id = world_id
        self._max_episode_length = max_episode_length
        kind = _KINDS[world_id]
        model = compiled(kind.model_file)
        self._world = kind(model)
        self._physics = physics_of(kind, n)
        self._lowest, self._highest = model.actuator_ctrlrange.astype(np.float32).T
        everyone, at_rest = np.arange(n), np.zeros((n, model.nv))
        self._physics.reset(everyone, np.tile(model.qpos0, (n, 1)), at_rest)
        fields = self._physics.fields(everyone)
        self._marks: Array = self._world.mark(fields).copy()
        self._observations: Array = self._world.observe(fields)
        self._elapsed = np.zeros(n, np.int64)

    def reset(self, lanes: Array, seeds: Sequence[int]) -> Array:
        """See `garage.core.ports.Lanes`; observations float64."""
        order = np.argsort(lanes)
        ascending = lanes[order]
        starts = [self._world.start(seeding.np_random(int(seeds[index]))[0]) for index in order]
        self._physics.reset(ascending, *map(np.array, zip(*starts, strict=True)))
        now = self._physics.fields(ascending)
        self._elapsed[lanes] = 0
        self._marks[ascending] = self._world.mark(now)
        self._observations[ascending] = self._world.observe(now)
        return np.asarray(self._observations[lanes])

    def step(self, lanes: Array, actions: Array) -> Transition:
        """See `garage.core.ports.Lanes`.

        Args:
            lanes: ``[k]`` int, ascending.
            actions: ``[k, A]``; clipped to the actuators' ranges, as float32.
        """
        rows = slice(None) if lanes.size == self.n else lanes
        legal = np.minimum(np.maximum(actions, self._lowest), self._highest).astype(np.float32, copy=False)
        self._physics.step(lanes, legal)
        now = self._physics.fields(lanes)
        outcome = self._world.judge(self._marks[rows], now, legal)
        observations = self._world.observe(now)
        self._marks[rows] = self._world.mark(now)
        self._observations[rows] = observations
        self._elapsed[rows] += 1
        limit = self._max_episode_length
        return Transition(
            observations=observations,
            rewards=outcome.rewards,
            terminated=outcome.terminated,
            truncated=np.zeros(len(lanes), np.bool_) if limit is None else self._elapsed[rows] >= limit,
            infos={key: outcome.infos[key].astype(np.float64) for key in sorted(outcome.infos)},
        )

    @property
    def rung(self) -> Rung:
        """The arrays below say all there is."""
        return Rung.ARRAYS

    def state_dict(self, lanes: Array) -> State:
        """See `garage.core.ports.Lanes`.

        The physics ``[k, S]`` is what MuJoCo integrates (``mjSTATE_INTEGRATION``, warm starts included). Some of what
        is seen and measured is of the last stage of integration, which the physics does not say, so the last
        observations and what the next rewards are measured from are kept beside it; and the steps taken ``[k]``.
        """
        return {
            "physics": self._physics.state(lanes),
            "observations": self._observations[lanes],
            "marks": self._marks[lanes],
            "elapsed": self._elapsed[lanes],
        }

    def load_state_dict(self, lanes: Array, state: State) -> Array:
        """See `garage.core.ports.Lanes`; observations float64."""
        owner, n = f"{len(lanes)} lanes of {self._world_id}", len(lanes)
        physics = take_array(state, "physics", owner, np.float64, (n, self._physics.state_size))
        observations = take_array(state, "observations", owner, np.float64, (n, self._observations.shape[1]))
        marks = take_array(state, "marks", owner, np.float64, (n, self._marks.shape[1]))
        elapsed = take_array(state, "elapsed", owner, np.int64, (n,))
        self._physics.load_state(lanes, physics)
        self._observations[lanes], self._marks[lanes], self._elapsed[lanes] = observations, marks, elapsed
        return observations.copy()

    def close(self) -> None:
        """Let go of the threads."""
        self._physics.close()
