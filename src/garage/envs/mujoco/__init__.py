"""MuJoCo's worlds in lanes of ours: physics stepped by threads, everything else in NumPy; the bits are gymnasium's.

Importing this package does not import ``mujoco``; making lanes does.
"""

from collections.abc import Mapping

from garage.core.ports import Lanes

_WORLDS = "gymnasium.envs.mujoco"

ENTRY_POINTS: Mapping[str, str] = {
    "Ant-v5": f"{_WORLDS}.ant_v5:AntEnv",
    "HalfCheetah-v5": f"{_WORLDS}.half_cheetah_v5:HalfCheetahEnv",
    "Hopper-v5": f"{_WORLDS}.hopper_v5:HopperEnv",
    "Humanoid-v5": f"{_WORLDS}.humanoid_v5:HumanoidEnv",
    "InvertedDoublePendulum-v5": f"{_WORLDS}.inverted_double_pendulum_v5:InvertedDoublePendulumEnv",
    "InvertedPendulum-v5": f"{_WORLDS}.inverted_pendulum_v5:InvertedPendulumEnv",
    "Reacher-v5": f"{_WORLDS}.reacher_v5:ReacherEnv",
    "Swimmer-v5": f"{_WORLDS}.swimmer_v5:SwimmerEnv",
    "Walker2d-v5": f"{_WORLDS}.walker2d_v5:Walker2dEnv",
}
"""The worlds that have lanes, and what gymnasium makes them of."""


def make_lanes(world_id: str, n: int, max_episode_length: int | None) -> Lanes:
    """Lanes of one of `ENTRY_POINTS`; see `garage.envs.mujoco.lanes.MujocoLanes`."""
    from garage.envs.mujoco.lanes import MujocoLanes  # noqa: PLC0415 - it imports mujoco

    return MujocoLanes(world_id, n, max_episode_length)
