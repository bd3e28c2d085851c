"""Executors of groups: who runs the lanes."""

from garage.sampler.local import LocalSampler
from garage.sampler.processes import ProcessSampler

__all__ = ["LocalSampler", "ProcessSampler"]
