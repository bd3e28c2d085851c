"""A value function that learns in PyTorch."""

import itertools
import logging
from collections.abc import Iterator, Sequence
from typing import Unpack

import numpy as np
import torch

from garage.core.mlp import MLPShape
from garage.core.mlp_value_function import MLPCritic, MLPCriticOptions
from garage.core.types import Array, EnvSpec
from garage.torch.devices import device_checked

_logger = logging.getLogger(__name__)


class MLPValueFunction(MLPCritic):
    """An `MLPCritic` that learns in PyTorch; its other arguments are there.

    Args:
        env_spec: the world's.
        hidden_sizes: units of each hidden layer, all tanh.
        device: where it learns: ``"cpu"``, ``"cuda"``, ``"cuda:1"`` … It predicts on the host all the same.

    Raises:
        ArgumentError: an option is out of range, or the device is not here.
        MismatchError: the world's observations are no rows of numbers.
    """

    def __init__(
        self,
        env_spec: EnvSpec,
        hidden_sizes: Sequence[int] = (64, 64),
        *,
        device: str = "cpu",
        **options: Unpack[MLPCriticOptions],
    ) -> None:
        super().__init__(env_spec, hidden_sizes, **options)
        self.device = device_checked(device)

    def _gradient(self, theta: Array, inputs: Array, targets: Array) -> Array:
        with torch.enable_grad():  # whatever the caller's setting
            parameters = torch.tensor(theta, device=self.device, requires_grad=True)
            values = torch.tensor(inputs, device=self.device)
            *hidden, (weights, biases) = _layers(self.shape, parameters)
            for hidden_weights, hidden_biases in hidden:
                values = torch.tanh(values @ hidden_weights + hidden_biases)
            errors = (values @ weights + biases)[:, 0] - torch.tensor(targets, device=self.device)
            (gradient,) = torch.autograd.grad(torch.mean(errors * errors), parameters)
        return gradient.cpu().numpy().astype(np.float64)

    def _warn(self, message: str) -> None:
        _logger.warning(message)


def _layers(shape: MLPShape, theta: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """As `MLPShape.layers`."""
    start = 0
    for inputs, outputs in itertools.pairwise(shape.sizes):
        stop = start + (inputs + 1) * outputs
        matrix = theta[start:stop].reshape(inputs + 1, outputs)
        yield matrix[:-1], matrix[-1]
        start = stop
