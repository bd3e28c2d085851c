"""The multilayer perceptron that every framework acts through: layer shapes, first weights, forward pass.

Hidden layers are tanh, the output layer is linear. Parameters are one flat vector: for each layer its
weights ``[inputs, outputs]`` in C order, then its biases ``[outputs]``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np

from garage.core.streams import uniforms
from garage.core.types import Array
from garage.errors import ArgumentError

Layers: TypeAlias = list[tuple[Array, Array]]


@dataclass(frozen=True)
class MLPShape:
    """The sizes of an MLP, from input to output, for example ``(4, 32, 32, 2)``."""

    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.sizes) < 2 or any(not isinstance(size, int) or size < 1 for size in self.sizes):  # noqa: PLR2004 - an input and an output
            msg = f"Layer sizes must be integers of at least 1, got {self.sizes}. For example: hidden_sizes=(32, 32)."
            raise ArgumentError(msg)

    @cached_property
    def n_parameters(self) -> int:
        """Length of the flat vector."""
        return sum((inputs + 1) * outputs for inputs, outputs in self._pairs)

    @property
    def _pairs(self) -> list[tuple[int, int]]:
        return list(zip(self.sizes[:-1], self.sizes[1:], strict=True))

    def table(self) -> str:
        """Names and shapes of the layers, in the order of the flat vector."""
        names = [f"hidden_{index}" for index in range(len(self.sizes) - 2)] + ["output"]
        return ", ".join(
            f"{name}/weights {inputs}x{outputs}, {name}/biases {outputs}"
            for name, (inputs, outputs) in zip(names, self._pairs, strict=True)
        )

    def matrices(self, theta: Array) -> list[Array]:
        """Each layer's weights and biases as one matrix ``[inputs + 1, outputs]``, a view of ``theta``."""
        matrices, start = [], 0
        for inputs, outputs in self._pairs:
            stop = start + (inputs + 1) * outputs
            matrices.append(theta[start:stop].reshape(inputs + 1, outputs))
            start = stop
        return matrices

    def layers(self, theta: Array) -> Layers:
        """Weights ``[inputs, outputs]`` and biases ``[outputs]`` of each layer, as views of ``theta``."""
        return [(matrix[:-1], matrix[-1]) for matrix in self.matrices(theta)]

    def draw(self, generator: np.random.Generator) -> Array:
        """First parameters, float64: Glorot-uniform weights, zero biases.

        Source: Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward neural
        networks", equation 16.
        """
        theta = np.zeros(self.n_parameters)
        for weights, _ in self.layers(theta):
            limit = np.sqrt(6.0 / sum(weights.shape))
            weights[...] = limit * (2.0 * uniforms(generator, weights.size).reshape(weights.shape) - 1.0)
        return theta


def forward(layers: Layers, inputs: Array) -> Array:
    """Outputs ``[n, outputs]`` for inputs ``[n, inputs]``, in the layers' dtype."""
    values = inputs
    for weights, biases in layers[:-1]:
        values = np.tanh(values.dot(weights) + biases)
    weights, biases = layers[-1]
    return np.asarray(values.dot(weights) + biases)


class ForwardPass:
    """`forward` again and again with the same layers and number of rows: the same bits, with buffers made once.

    Args:
        layers: weights and biases, which must not change any more.
    """

    def __init__(self, layers: Layers) -> None:
        self._layers = layers
        self._n = -1
        self._hidden: list[tuple[Array, Array, Array]] = []
        self._output = layers[-1]

    def __call__(self, inputs: Array) -> Array:
        """Outputs ``[n, outputs]`` for inputs ``[n, inputs]``; the caller's to keep."""
        if len(inputs) != self._n:
            self._make_room(len(inputs))
        values = inputs
        for weights, biases, out in self._hidden:
            np.dot(values, weights, out)
            np.add(out, biases, out)
            np.tanh(out, out)
            values = out
        weights, biases = self._output
        outputs: Array = values.dot(weights)
        outputs += biases
        return outputs

    def _make_room(self, n: int) -> None:
        # Adding a bias to every row takes twice as long as adding two arrays of one shape.
        repeated = [(weights, np.tile(biases, (n, 1))) for weights, biases in self._layers]
        self._hidden = [(weights, biases, np.empty_like(biases)) for weights, biases in repeated[:-1]]
        self._output = repeated[-1]
        self._n = n


def hidden_sizes_checked(hidden_sizes: Sequence[int]) -> tuple[int, ...]:
    """Hidden sizes as a tuple of ints.

    Raises:
        ArgumentError: one of them is not an integer of at least 1.
    """
    sizes = tuple(hidden_sizes) if isinstance(hidden_sizes, Iterable) else (None,)
    if any(isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1 for size in sizes):
        msg = f"hidden_sizes must be integers of at least 1, got {hidden_sizes!r}. For example: hidden_sizes=(32, 32)."
        raise ArgumentError(msg)
    return tuple(int(size) for size in sizes)
