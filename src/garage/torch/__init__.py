"""Policies and value functions that learn in PyTorch."""

from garage.errors import DependencyError
from garage.process import register

try:
    from garage.torch.framework import TorchFramework
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    msg = 'garage.torch needs PyTorch, which is not installed. Install it with: pip install "garage[torch]"'
    raise DependencyError(msg) from error

register(TorchFramework())
