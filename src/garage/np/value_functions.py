"""A value function that learns by compiled kernels, with a hand-derived gradient."""

import logging

from garage.core.mlp_value_function import MLPCritic
from garage.core.types import Array
from garage.kernels.mlp import Passes

_logger = logging.getLogger(__name__)


class MLPValueFunction(MLPCritic):
    """An `MLPCritic` that learns in NumPy; its arguments are there."""

    def _gradient(self, theta: Array, inputs: Array, targets: Array) -> Array:
        passes = Passes(self.shape.sizes, inputs)
        errors = passes.forward(theta) - targets
        return passes.back(errors * errors.dtype.type(2 / len(inputs)))

    def _warn(self, message: str) -> None:
        _logger.warning(message)
