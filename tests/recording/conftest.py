"""The same surroundings as the experiments' tests."""

from experiment.conftest import own_process

__all__ = ["own_process"]
