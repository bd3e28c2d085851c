"""Policies and value functions that learn in PyTorch."""

from garage.process import register
from garage.torch.framework import TorchFramework

register(TorchFramework())
