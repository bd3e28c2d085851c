"""Algorithms: one paper, one file, for every framework."""

from garage.algos.trpo import TRPO

__all__ = ["TRPO"]
