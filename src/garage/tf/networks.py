"""An MLP as operations of a graph, and its Jacobian from either side.

`Sweeps` goes through the layers and back, for any number of outputs. `OneOutput` is for a network of which one number
a row matters. There a row's Jacobian is one outer product a layer: of what enters the layer, and of the number's
derivative by what enters each of its units. Both are kept, so a direction costs one large product where the way
through all layers takes two.
"""

from collections.abc import Sequence
from typing import Protocol

from garage.core.mlp import MLPShape
from garage.tf.families import Tensor
from garage.tf.installation import import_tensorflow

tf = import_tensorflow()


class Network(Protocol):
    """An MLP at parameters ``[P]``, over N rows; what is kept of them can be fed where it would be computed again."""

    @property
    def outputs(self) -> Tensor:
        """``[N, K]``."""
        ...

    @property
    def values(self) -> list[Tensor]:
        """What is kept for the outputs."""
        ...

    @property
    def derivatives(self) -> list[Tensor]:
        """What is kept for the Jacobian besides."""
        ...

    def forward(self, direction: Tensor) -> Tensor:
        """How the outputs change along ``direction`` ``[P]``: ``[N, K]``."""
        ...

    def reverse(self, by_outputs: Tensor) -> Tensor:
        """What a gradient by the outputs ``[N, K]`` means for the parameters, ``[P]``."""
        ...


class Sweeps:
    """See `Network`. The way forwards is written out; the way back is TensorFlow's gradient.

    Args:
        shape: of the MLP.
        parameters: ``[P]``.
        inputs: ``[N, shape.sizes[0]]``.
    """

    def __init__(self, shape: MLPShape, parameters: Tensor, inputs: Tensor) -> None:
        self._shape, self._parameters = shape, parameters
        self._layers = [(matrix[:-1], matrix[-1]) for matrix in _matrices(parameters, shape)]
        entering = [inputs]
        for weights, biases in self._layers[:-1]:
            entering.append(tf.tanh(_affine(entering[-1], weights, biases)))
        self._entering = entering
        self.outputs = _affine(entering[-1], *self._layers[-1])
        self.values = entering[1:]
        self.derivatives: list[Tensor] = []

    def forward(self, direction: Tensor) -> Tensor:
        """See `Network.forward`."""
        first, *others = _matrices(direction, self._shape)
        change = _affine(self._entering[0], first[:-1], first[-1])
        for values, (weights, _), along in zip(self._entering[1:], self._layers[1:], others, strict=True):
            change = _affine(values, along[:-1], along[-1]) + (change * (1.0 - values * values)) @ weights
        return change

    def reverse(self, by_outputs: Tensor) -> Tensor:
        """See `Network.reverse`."""
        return tf.gradients(self.outputs, self._parameters, by_outputs)[0]


class OneOutput:
    """See `Network`, with outputs ``[N, 1]``: the MLP's only one, or the second of two minus the first.

    What enters a layer has a column of ones, so one product serves weights and biases.

    Args:
        shape: of the MLP; it has one output or two.
        parameters: ``[P]``.
        inputs: ``[N, shape.sizes[0]]``.
    """

    def __init__(self, shape: MLPShape, parameters: Tensor, inputs: Tensor) -> None:
        self._shape = shape
        *hidden, last = _matrices(parameters, shape)
        ones = tf.ones_like(inputs[:, :1])
        entering = [tf.concat([inputs, ones], 1)]
        for matrix in hidden:
            entering.append(tf.concat([tf.tanh(entering[-1] @ matrix), ones], 1))
        self._entering = entering
        self.outputs = entering[-1] @ _contracted(last)
        by_values, factors = tf.transpose(_contracted(last)[:-1]), []
        for values, matrix in zip(reversed(entering[1:]), reversed(hidden), strict=True):
            leaving = values[:, :-1]
            factors.append((1.0 - leaving * leaving) * by_values)
            by_values = tf.matmul(factors[-1], matrix[:-1], transpose_b=True)
        self.values, self.derivatives = entering, factors[::-1]

    def forward(self, direction: Tensor) -> Tensor:
        """See `Network.forward`."""
        *hidden, last = _matrices(direction, self._shape)
        change = self._entering[-1] @ _contracted(last)
        for values, along, factors in zip(self._entering[:-1], hidden, self.derivatives, strict=True):
            change += (values @ along * factors) @ tf.ones((along.shape[1], 1), along.dtype)
        return change

    def reverse(self, by_outputs: Tensor) -> Tensor:
        """See `Network.reverse`."""
        parts = [
            tf.matmul(values, factors * by_outputs, transpose_a=True)
            for values, factors in zip(self._entering[:-1], self.derivatives, strict=True)
        ]
        last = tf.matmul(self._entering[-1], by_outputs, transpose_a=True)
        parts.append(tf.concat([-last, last], 1) if self._shape.sizes[-1] > 1 else last)
        return tf.concat([tf.reshape(part, (-1,)) for part in parts], 0)


def _matrices(vector: Tensor, shape: MLPShape) -> Sequence[Tensor]:
    """Each layer's weights and biases as one matrix ``[inputs + 1, outputs]``."""
    sizes = [(inputs + 1, outputs) for inputs, outputs in zip(shape.sizes[:-1], shape.sizes[1:], strict=True)]
    parts = tf.split(vector, [rows * columns for rows, columns in sizes])
    return [tf.reshape(part, size) for part, size in zip(parts, sizes, strict=True)]


def _affine(values: Tensor, weights: Tensor, biases: Tensor) -> Tensor:
    return tf.nn.bias_add(values @ weights, biases)


def _contracted(matrix: Tensor) -> Tensor:
    """The output layer's column for the number, ``[inputs + 1, 1]``."""
    return matrix[:, 1:] - matrix[:, :1] if matrix.shape[1] > 1 else matrix
