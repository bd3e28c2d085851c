"""Baselines: what a state is worth, predicted to lower the variance of a gradient."""

from garage.baselines.linear_feature import LinearFeatureBaseline
from garage.baselines.zero import ZeroBaseline

__all__ = ["LinearFeatureBaseline", "ZeroBaseline"]
