"""Executors of groups: who runs the lanes."""

from garage.sampler.local import LocalSampler

__all__ = ["LocalSampler"]
