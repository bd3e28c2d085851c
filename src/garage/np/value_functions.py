"""A value function that learns in NumPy, with a hand-derived gradient."""

import logging

import numpy as np

from garage.core.mlp_value_function import MLPCritic
from garage.core.types import Array
from garage.np.jacobians import Sweeps

_logger = logging.getLogger(__name__)


class MLPValueFunction(MLPCritic):
    """An `MLPCritic` that learns in NumPy; its arguments are there."""

    def _gradient(self, theta: Array, inputs: Array, targets: Array) -> Array:
        n = len(inputs)
        matrices, activations = self.shape.matrices(theta), [_with_ones(inputs)]
        for matrix in matrices[:-1]:
            activations.append(_with_ones(np.tanh(activations[-1] @ matrix)))
        errors = (activations[-1] @ matrices[-1])[:, 0] - targets
        gradient, rows = np.zeros(self.shape.n_parameters), slice(0, n)
        sweeps = Sweeps(self.hidden_sizes, n, n, self.dtype)
        sweeps.prepare(rows, matrices, activations)
        sweeps.reverse(rows, (2 / n) * errors[np.newaxis], self.shape.matrices(gradient))
        return gradient

    def _warn(self, message: str) -> None:
        _logger.warning(message)


def _with_ones(rows: Array) -> Array:
    """Rows with a column of ones, which the biases belong to."""
    return np.concatenate([rows, np.ones((len(rows), 1), rows.dtype)], axis=1)
