"""Reacher-v5: an arm of two joints in a plane that is to touch a target. Rewards are gymnasium's."""

import numpy as np

from garage.core.types import Array
from garage.envs.mujoco.world import Fields, Outcome, World, norms, nothing, sums_of_squares, unterminated

_REACH = 0.2


class Reacher(World):
    """The arm."""

    model_file = "reacher.xml"
    frame_skip = 2
    fields = ("qpos", "qvel", "xpos")

    def start(self, generator: np.random.Generator) -> tuple[Array, Array]:
        """See `World`; the last two positions are the target's, drawn until it is within reach."""
        positions = generator.uniform(-0.1, 0.1, self._model.nq) + self._model.qpos0
        while True:
            target = generator.uniform(-_REACH, _REACH, 2)
            if np.linalg.norm(target) < _REACH:
                break
        positions[-2:] = target
        velocities = np.zeros(self._model.nv) + generator.uniform(-0.005, 0.005, self._model.nv)
        velocities[-2:] = 0
        return positions, velocities

    def mark(self, now: Fields) -> Array:
        """See `World`: nothing."""
        return nothing(now)

    def observe(self, now: Fields) -> Array:
        """See `World`: angles as cosine and sine, target, angular velocities, the way to go; ``[k, 10]``."""
        angles = now["qpos"][:, :2]
        return np.concatenate(
            (np.cos(angles), np.sin(angles), now["qpos"][:, 2:], now["qvel"][:, :2], self._way(now)[:, :2]), axis=1
        )

    def judge(self, marks: Array, now: Fields, actions: Array) -> Outcome:  # noqa: ARG002 - it is the port's
        """See `World`: less the distance, less the squared action."""
        distance, effort = -norms(self._way(now)), -sums_of_squares(actions)
        infos = {"reward_ctrl": effort, "reward_dist": distance}
        return Outcome(distance + effort, unterminated(len(effort)), infos)

    def _way(self, now: Fields) -> Array:
        fingertip, target = (self._model.body(name).id for name in ("fingertip", "target"))
        return np.asarray(now["xpos"][:, fingertip] - now["xpos"][:, target])
