"""The multilayer perceptron that every framework acts through: layer shapes and first weights.

Hidden layers are tanh, the output layer is linear; `garage.kernels.mlp` computes them. Parameters are one
flat vector: for each layer its weights ``[inputs, outputs]`` in C order, then its biases ``[outputs]``.
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
