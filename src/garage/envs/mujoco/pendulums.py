"""InvertedPendulum-v5 and InvertedDoublePendulum-v5: poles on a cart that are to stay up.

Barto, Sutton and Anderson 1983, "Neuronlike adaptive elements that can solve difficult learning control problems",
in MuJoCo's physics. Rewards and ends are gymnasium's.
"""

import numpy as np

from garage.core.types import Array
from garage.envs.mujoco.world import Fields, Outcome, World, normal_start, nothing, uniform_start


class InvertedPendulum(World):
    """One pole."""

    model_file = "inverted_pendulum.xml"
    frame_skip = 2

    def start(self, generator: np.random.Generator) -> tuple[Array, Array]:
        """See `World`."""
        return uniform_start(generator, self._model, 0.01)

    def mark(self, now: Fields) -> Array:
        """See `World`: nothing."""
        return nothing(now)

    def observe(self, now: Fields) -> Array:
        """See `World`: positions and velocities of cart and pole, ``[k, 4]``."""
        return np.concatenate((now["qpos"], now["qvel"]), axis=1)

    def judge(self, marks: Array, now: Fields, actions: Array) -> Outcome:  # noqa: ARG002 - they are the port's
        """See `World`: 1 while the pole is within 0.2 rad of upright."""
        observations = self.observe(now)
        fallen = ~np.isfinite(observations).all(axis=1) | (np.abs(observations[:, 1]) > 0.2)  # noqa: PLR2004 - rad
        rewards = (~fallen).astype(np.float64)
        return Outcome(rewards, fallen, {"reward_survive": rewards})


class InvertedDoublePendulum(World):
    """A pole upon a pole."""

    model_file = "inverted_double_pendulum.xml"
    frame_skip = 5
    fields = ("qpos", "qvel", "qfrc_constraint", "site_xpos")

    def start(self, generator: np.random.Generator) -> tuple[Array, Array]:
        """See `World`."""
        return normal_start(generator, self._model, 0.1)

    def mark(self, now: Fields) -> Array:
        """See `World`: nothing."""
        return nothing(now)

    def observe(self, now: Fields) -> Array:
        """See `World`: the cart's x, angles as sine and cosine, velocities, the force on the cart; ``[k, 9]``."""
        angles = now["qpos"][:, 1:]
        return np.concatenate(
            (
                now["qpos"][:, :1],
                np.sin(angles),
                np.cos(angles),
                now["qvel"].clip(-10, 10),
                now["qfrc_constraint"][:, :1].clip(-10, 10),
            ),
            axis=1,
        )

    def judge(self, marks: Array, now: Fields, actions: Array) -> Outcome:  # noqa: ARG002 - they are the port's
        """See `World`: 10 while the tip is higher than 1 m, less what it is off and how fast the poles turn."""
        x, _, y = now["site_xpos"][:, 0].T
        fallen = y <= 1
        alive = 10.0 * (~fallen)
        off = 0.01 * _squares(x) + _squares(y - 2)
        turning = 1e-3 * _squares(now["qvel"][:, 1]) + 5e-3 * _squares(now["qvel"][:, 2])
        infos = {"distance_penalty": -off, "reward_survive": alive, "velocity_penalty": -turning}
        return Outcome(alive - off - turning, fallen, infos)


def _squares(values: Array) -> Array:
    """Square scalar by scalar as gymnasium does, by the C library's ``pow``, which does not always round as x * x."""
    return np.array([value**2 for value in values])
