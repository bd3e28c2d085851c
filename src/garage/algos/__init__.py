"""Algorithms: one paper, one file, for every framework."""

from garage.algos.normalised import Normalised
from garage.algos.npg import NPG
from garage.algos.ppo import PPO
from garage.algos.trpo import TRPO
from garage.algos.vpg import VPG

__all__ = ["NPG", "PPO", "TRPO", "VPG", "Normalised"]
