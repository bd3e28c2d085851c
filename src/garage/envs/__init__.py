"""Worlds: the Env port answered by gymnasium, and by native lanes of ours where they give the same bits faster."""

from garage.envs.check import EnvReport, check_env
from garage.envs.gym_env import GymEnv

__all__ = ["EnvReport", "GymEnv", "check_env"]
