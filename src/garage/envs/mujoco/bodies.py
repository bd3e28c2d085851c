"""Ant-v5 and Humanoid-v5: bodies in space that are rewarded for their speed and feel the forces on them.

Ant: Schulman, Moritz, Levine, Jordan and Abbeel 2015, "High-dimensional continuous control using generalized advantage
estimation"; humanoid: Tassa, Erez and Todorov 2012, "Synthesis and stabilization of complex behaviors through online
trajectory optimization". Rewards and ends are gymnasium's.
"""

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
)

_TORSO = 1
_LOWEST, _HIGHEST = 0.2, 1.0


class Ant(World):
    """Runs along x on four legs until it falls."""

    model_file = "ant.xml"
    frame_skip = 5
    fields = ("qpos", "qvel", "cfrc_ext", "xpos")
    reads_contact_forces = True

    def start(self, generator: np.random.Generator) -> tuple[Array, Array]:
        """See `World`."""
        return normal_start(generator, self._model, 0.1)

    def mark(self, now: Fields) -> Array:
        """See `World`: x and y of the torso, in m, as of the last stage of integration."""
        return now["xpos"][:, _TORSO, :2]

    def observe(self, now: Fields) -> Array:
        """See `World`: positions but x and y, velocities, and clipped forces on the bodies, ``[k, 105]``."""
        forces = _clipped(now["cfrc_ext"])[:, 1:].reshape(len(now["qpos"]), -1)
        return np.concatenate((now["qpos"][:, 2:], now["qvel"], forces), axis=1)

    def judge(self, marks: Array, now: Fields, actions: Array) -> Outcome:
        """See `World`: speed, and 1 while it stands, less half the squared action and 5e-4 of the squared forces."""
        positions = now["qpos"]
        velocities = (self.mark(now) - marks) / self._seconds
        z = positions[:, 2]
        state = np.concatenate((positions, now["qvel"]), axis=1)
        stands = np.isfinite(state).all(axis=1) & (z >= _LOWEST) & (z <= _HIGHEST)
        alive = stands * 1.0
        effort = 0.5 * sums_of_squares(actions)
        contact = 5e-4 * sums_of_squares(_clipped(now["cfrc_ext"]))
        infos = _of_a_body(positions, velocities, effort, contact)
        rewards = velocities[:, 0] + alive - (effort + contact)
        return Outcome(rewards, ~stands, {**infos, "reward_forward": velocities[:, 0], "reward_survive": alive})


class Humanoid(World):
    """Walks along x on two legs until it falls."""

    model_file = "humanoid.xml"
    frame_skip = 5
    fields = (
        "qpos",
        "qvel",
        "ctrl",
        "cinert",
        "cvel",
        "qfrc_actuator",
        "cfrc_ext",
        "xipos",
    )
    reads_contact_forces = True

    def start(self, generator: np.random.Generator) -> tuple[Array, Array]:
        """See `World`."""
        return uniform_start(generator, self._model, 1e-2)

    def mark(self, now: Fields) -> Array:
        """See `World`: x and y of the centre of mass, in m, as of the last stage of integration."""
        masses = self._model.body_mass
        moments = np.array([np.einsum("b,bj->j", masses, centres) for centres in now["xipos"]])
        return np.asarray(moments.reshape(-1, 3)[:, :2] / masses.sum())

    def observe(self, now: Fields) -> Array:
        """See `World`: positions but x and y, velocities, inertias, body velocities, forces; ``[k, 348]``."""
        n = len(now["qpos"])
        return np.concatenate(
            (
                now["qpos"][:, 2:],
                now["qvel"],
                now["cinert"][:, 1:].reshape(n, -1),
                now["cvel"][:, 1:].reshape(n, -1),
                now["qfrc_actuator"][:, 6:],
                now["cfrc_ext"][:, 1:].reshape(n, -1),
            ),
            axis=1,
        )

    def judge(self, marks: Array, now: Fields, actions: Array) -> Outcome:  # noqa: ARG002 - it is the port's
        """See `World`: 1.25 of speed, and 5 while it stands, less a tenth of squared controls and 5e-7 of forces."""
        velocities = (self.mark(now) - marks) / self._seconds
        stands = between(1.0, now["qpos"][:, 2], 2.0)
        forward, alive = 1.25 * velocities[:, 0], stands * 5.0
        effort = 0.1 * sums_of_squares(now["ctrl"])
        contact = (5e-7 * sums_of_squares(now["cfrc_ext"])).clip(-np.inf, 10.0)
        infos = _of_a_body(now["qpos"], velocities, effort, contact)
        rewards = forward + alive - (effort + contact)
        return Outcome(rewards, ~stands, {**infos, "reward_forward": forward, "reward_survive": alive})


def _clipped(forces: Array) -> Array:
    return forces.clip(-1.0, 1.0)


def _of_a_body(positions: Array, velocities: Array, effort: Array, contact: Array) -> dict[str, Array]:
    return {
        "distance_from_origin": norms(positions[:, :2]),
        "reward_contact": -contact,
        "reward_ctrl": -effort,
        "x_position": positions[:, 0],
        "x_velocity": velocities[:, 0],
        "y_position": positions[:, 1],
        "y_velocity": velocities[:, 1],
    }
