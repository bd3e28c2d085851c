"""HalfCheetah-v5, Hopper-v5, Walker2d-v5 and Swimmer-v5: bodies in a plane that are rewarded for their speed.

The half-cheetah: Wawrzyński 2009, "A cat-like robot real-time learning to run"; hopper and walker: Erez, Tassa and
Todorov 2011, "Infinite-horizon model predictive control for periodic tasks with contacts"; swimmer: Coulom 2002,
"Reinforcement learning using neural networks, with applications to motor control". Rewards and ends are gymnasium's.
"""

from abc import abstractmethod
from typing import final

import numpy as np

from garage.core.types import Array
from garage.envs.mujoco.world import (
    Fields,
    Outcome,
    World,
    between,
    normal_start,
    norms,
    sums_of_squares,
    uniform_start,
    unterminated,
)


class HalfCheetah(World):
    """Runs along x, and never falls."""

    model_file = "half_cheetah.xml"
    frame_skip = 5

    def start(self, generator: np.random.Generator) -> tuple[Array, Array]:
        """See `World`."""
        return normal_start(generator, self._model, 0.1)

    def mark(self, now: Fields) -> Array:
        """See `World`: x, in m."""
        return now["qpos"][:, :1]

    def observe(self, now: Fields) -> Array:
        """See `World`: positions but x, and velocities, ``[k, 17]``."""
        return np.concatenate((now["qpos"][:, 1:], now["qvel"]), axis=1)

    def judge(self, marks: Array, now: Fields, actions: Array) -> Outcome:
        """See `World`: speed, less a tenth of the squared action."""
        x = now["qpos"][:, 0]
        speed = (x - marks[:, 0]) / self._seconds
        effort = 0.1 * sums_of_squares(actions)
        infos = {"reward_ctrl": -effort, "reward_forward": speed, "x_position": x, "x_velocity": speed}
        return Outcome(speed - effort, unterminated(len(x)), infos)


class _Upright(World):
    """Moves along x until it falls."""

    frame_skip = 4

    @abstractmethod
    def _stands(self, now: Fields) -> Array:
        """Whether each lane's body has not fallen, ``[k]``."""

    @final
    def start(self, generator: np.random.Generator) -> tuple[Array, Array]:
        """See `World`."""
        return uniform_start(generator, self._model, 5e-3)

    @final
    def mark(self, now: Fields) -> Array:
        """See `World`: x, in m."""
        return now["qpos"][:, :1]

    @final
    def observe(self, now: Fields) -> Array:
        """See `World`: positions but x, and velocities, clipped to ±10; ``[k, ...]``."""
        return np.concatenate((now["qpos"][:, 1:], now["qvel"].clip(-10, 10)), axis=1)

    @final
    def judge(self, marks: Array, now: Fields, actions: Array) -> Outcome:
        """See `World`: speed, and 1 while it stands, less a thousandth of the squared action."""
        x, z = now["qpos"][:, :2].T
        stands = self._stands(now)
        speed = (x - marks[:, 0]) / self._seconds
        alive = stands * 1.0
        effort = 1e-3 * sums_of_squares(actions)
        infos = {
            "reward_ctrl": -effort,
            "reward_forward": speed,
            "reward_survive": alive,
            "x_position": x,
            "x_velocity": speed,
            "z_distance_from_origin": z - self._model.qpos0[1],
        }
        return Outcome(speed + alive - effort, ~stands, infos)


class Hopper(_Upright):
    """Hops on one leg; observations ``[k, 11]``."""

    model_file = "hopper.xml"

    def _stands(self, now: Fields) -> Array:
        _, z, angle = now["qpos"][:, :3].T
        state = np.concatenate((now["qpos"], now["qvel"]), axis=1)[:, 2:]
        sound = np.asarray(between(-100.0, state, 100.0).all(axis=1))
        return sound & between(0.7, z, np.inf) & between(-0.2, angle, 0.2)


class Walker2d(_Upright):
    """Walks on two legs; observations ``[k, 17]``."""

    model_file = "walker2d_v5.xml"

    def _stands(self, now: Fields) -> Array:
        _, z, angle = now["qpos"][:, :3].T
        return between(0.8, z, 2.0) & between(-1.0, angle, 1.0)


class Swimmer(World):
    """Swims along x, and never stops."""

    model_file = "swimmer.xml"
    frame_skip = 4

    def start(self, generator: np.random.Generator) -> tuple[Array, Array]:
        """See `World`."""
        return uniform_start(generator, self._model, 0.1)

    def mark(self, now: Fields) -> Array:
        """See `World`: x and y, in m."""
        return now["qpos"][:, :2]

    def observe(self, now: Fields) -> Array:
        """See `World`: positions but x and y, and velocities, ``[k, 8]``."""
        return np.concatenate((now["qpos"][:, 2:], now["qvel"]), axis=1)

    def judge(self, marks: Array, now: Fields, actions: Array) -> Outcome:
        """See `World`: speed, less 1e-4 of the squared action."""
        place = now["qpos"][:, :2]
        velocities = (place - marks) / self._seconds
        effort = 1e-4 * sums_of_squares(actions)
        speed = velocities[:, 0]
        infos = {
            "distance_from_origin": norms(place),
            "reward_ctrl": -effort,
            "reward_forward": speed,
            "x_position": place[:, 0],
            "x_velocity": speed,
            "y_position": place[:, 1],
            "y_velocity": velocities[:, 1],
        }
        return Outcome(speed - effort, unterminated(len(place)), infos)
