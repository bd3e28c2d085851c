"""A value function that learns in TensorFlow, in graph mode."""

import itertools
import logging
from collections.abc import Iterator, Sequence
from typing import Any, Unpack

import numpy as np

from garage.core.mlp import MLPShape
from garage.core.mlp_value_function import MLPCritic, MLPCriticOptions
from garage.core.types import Array, EnvSpec
from garage.tf.flat_variable import FlatVariable
from garage.tf.installation import import_tensorflow

tf = import_tensorflow()

_logger = logging.getLogger(__name__)


class MLPValueFunction(MLPCritic):
    """An `MLPCritic` that learns in the graph of the default session; its other arguments are there.

    All operations are added when it is built; to fit it adds none.

    Args:
        env_spec: the world's.
        hidden_sizes: units of each hidden layer, all tanh.

    Raises:
        ArgumentError: an option is out of range.
        MismatchError: the world's observations are no rows of numbers.
        OrderError: there is no default session.
    """

    def __init__(
        self, env_spec: EnvSpec, hidden_sizes: Sequence[int] = (64, 64), **options: Unpack[MLPCriticOptions]
    ) -> None:
        super().__init__(env_spec, hidden_sizes, **options)
        self._variable = FlatVariable(self.name, self.shape.n_parameters, self.dtype)
        with self._variable.building():
            inputs = tf.compat.v1.placeholder(self.dtype.name, (None, self.shape.sizes[0]))
            targets = tf.compat.v1.placeholder(self.dtype.name, (None,))
            *hidden, (weights, biases) = _layers(self.shape, self._variable.vector)
            values = inputs
            for hidden_weights, hidden_biases in hidden:
                values = tf.tanh(values @ hidden_weights + hidden_biases)
            errors = (values @ weights + biases)[:, 0] - targets
            (gradient,) = tf.gradients(tf.reduce_mean(errors * errors), self._variable.vector)
        self._gradient_of = self._variable.callable(gradient, (inputs, targets))

    def _gradient(self, theta: Array, inputs: Array, targets: Array) -> Array:
        self._variable.load(theta)
        return np.asarray(self._gradient_of(inputs, targets), np.float64)

    def _warn(self, message: str) -> None:
        _logger.warning(message)


def _layers(shape: MLPShape, theta: Any) -> Iterator[tuple[Any, Any]]:  # noqa: ANN401 - TensorFlow has no types
    """As `MLPShape.layers`."""
    start = 0
    for inputs, outputs in itertools.pairwise(shape.sizes):
        stop = start + (inputs + 1) * outputs
        matrix = tf.reshape(theta[start:stop], (inputs + 1, outputs))
        yield matrix[:-1], matrix[-1]
        start = stop
