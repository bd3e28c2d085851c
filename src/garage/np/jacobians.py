"""An MLP's Jacobian, multiplied from either side, block of rows by block of rows.

Both classes answer the same two questions at the parameters that they were last prepared for. `Sweeps` goes
through the layers each time. `OneCoordinate` is for outputs of which only one number matters (two actions, or
one action dimension): there a row's Jacobian is one outer product a layer, whose factors are kept, and each
question costs one large product instead of two.

Activations carry a column of ones, so one product serves weights and biases, which are neighbours in theta.
"""

from typing import Protocol

import numpy as np

from garage.core.types import Array


class Jacobian(Protocol):
    """The derivative of the outputs by theta."""

    def prepare(self, block: slice, matrices: list[Array], activations: list[Array]) -> None:
        """Take a block's activations ``[N, inputs + 1]`` at the layers ``matrices``, each ``[inputs + 1, outputs]``."""
        ...

    def forward(self, block: slice, directions: list[Array]) -> Array:
        """How a block's outputs change along ``directions``, which are laid out as the layers are.

        Returns:
            ``[K, n]``; where only one number matters, that number's change ``[1, n]``.
        """
        ...

    def reverse(self, block: slice, by_outputs: Array, total: list[Array]) -> None:
        """Add to ``total`` what a block's gradient by its outputs means for the layers.

        Args:
            block: its rows.
            by_outputs: ``[K, n]``; where only one number matters, ``[1, n]`` by that one does as well.
            total: one matrix a layer, laid out as the layers are.
        """
        ...


class Sweeps:
    """The Jacobian of any number of outputs, one layer after the other.

    Args:
        hidden: units of each hidden layer.
        n_rows: N.
        block_rows: rows of the largest block.
        dtype: of all arrays.
    """

    def __init__(self, hidden: tuple[int, ...], n_rows: int, block_rows: int, dtype: "np.dtype[np.floating]") -> None:
        self._slopes = [np.empty((n_rows, size), dtype) for size in hidden]
        self._scratch = [(np.empty((block_rows, size), dtype), np.empty((block_rows, size), dtype)) for size in hidden]
        self._matrices: list[Array] = []
        self._activations: list[Array] = []

    def prepare(self, block: slice, matrices: list[Array], activations: list[Array]) -> None:
        """See `Jacobian`; keeps the slope of tanh at every hidden unit."""
        self._matrices, self._activations = matrices, activations
        for slopes, values in zip(self._slopes, activations[1:], strict=True):
            _slopes(values[block], out=slopes[block])

    def forward(self, block: slice, directions: list[Array]) -> Array:
        """See `Jacobian`."""
        rows = block.stop - block.start
        change: Array | None = None
        for layer, direction in enumerate(directions[:-1]):
            here, spare = (buffer[:rows] for buffer in self._scratch[layer])
            np.matmul(self._activations[layer][block], direction, out=here)
            if change is not None:
                here += np.matmul(change, self._matrices[layer][:-1], out=spare)
            here *= self._slopes[layer][block]
            change = here
        outputs = self._activations[-1][block] @ directions[-1]
        if change is not None:
            outputs += change @ self._matrices[-1][:-1]
        return np.ascontiguousarray(outputs.T)

    def reverse(self, block: slice, by_outputs: Array, total: list[Array]) -> None:
        """See `Jacobian`."""
        rows = block.stop - block.start
        # Transposed in memory too: BLAS takes three times as long for a product of two transposed views.
        gradient = np.ascontiguousarray(by_outputs.T)
        for layer in range(len(self._matrices) - 1, -1, -1):
            total[layer] += self._activations[layer][block].T @ gradient
            if layer:
                before = self._scratch[layer - 1][0][:rows]
                np.matmul(gradient, self._matrices[layer][:-1].T, out=before)
                before *= self._slopes[layer - 1][block]
                gradient = before


class OneCoordinate:
    """The Jacobian of a single number a row: the only output, or the second of two minus the first.

    Args:
        hidden: units of each hidden layer.
        n_outputs: 1 or 2.
        n_rows: N.
        block_rows: rows of the largest block.
        dtype: of all arrays.
    """

    def __init__(
        self, hidden: tuple[int, ...], n_outputs: int, n_rows: int, block_rows: int, dtype: "np.dtype[np.floating]"
    ) -> None:
        self._n_outputs = n_outputs
        self._factors = [np.empty((n_rows, size), dtype) for size in hidden]
        self._scratch = [np.empty((block_rows, size), dtype) for size in hidden]
        self._ones = [np.ones(size, dtype) for size in hidden]
        self._activations: list[Array] = []

    def prepare(self, block: slice, matrices: list[Array], activations: list[Array]) -> None:
        """See `Jacobian`; keeps the derivative of the number by what enters each hidden unit, ``[N, units]``."""
        self._activations = activations
        by_values: Array = self._contracted(matrices[-1])[:-1]
        for layer in range(len(self._factors) - 1, -1, -1):
            factors = self._factors[layer][block]
            _slopes(activations[layer + 1][block], out=factors)
            factors *= by_values
            if layer:
                by_values = self._scratch[layer - 1][: len(factors)]
                np.matmul(halves(factors), matrices[layer][:-1].T, out=halves(by_values))

    def forward(self, block: slice, directions: list[Array]) -> Array:
        """See `Jacobian`."""
        change = self._activations[-1][block] @ self._contracted(directions[-1])
        for layer, factors in enumerate(self._factors):
            product = self._scratch[layer][: block.stop - block.start]
            np.matmul(halves(self._activations[layer][block]), directions[layer], out=halves(product))
            product *= factors[block]
            change += product @ self._ones[layer]
        return np.asarray(change[np.newaxis])

    def reverse(self, block: slice, by_outputs: Array, total: list[Array]) -> None:
        """See `Jacobian`; a gradient by two outputs is one by their difference, for its parts cancel."""
        by_number = by_outputs[-1]
        for layer, factors in enumerate(self._factors):
            left, right = self._activations[layer][block], factors[block]
            # Either factor of the outer product may take the weights; the narrower one is less work.
            if left.shape[1] < right.shape[1]:
                left = left * by_number[:, None]
            else:
                right = np.multiply(right, by_number[:, None], out=self._scratch[layer][: len(right)])
            total[layer] += (halves(left).transpose(0, 2, 1) @ halves(right)).sum(axis=0)
        last = by_number @ self._activations[-1][block]
        total[-1][:, -1] += last
        if self._n_outputs > 1:
            total[-1][:, 0] -= last

    def _contracted(self, matrix: Array) -> Array:
        """The output layer's column for the number, ``[inputs + 1]``."""
        return np.asarray(matrix[:, -1] - matrix[:, 0] if self._n_outputs > 1 else matrix[:, 0])


def _slopes(activations: Array, out: Array) -> None:
    """Of tanh at each hidden unit, ``1 - h²``."""
    np.copyto(out, activations[:, :-1])  # rows that leave a column out are slow to compute with, not to copy
    np.multiply(out, out, out=out)
    np.subtract(1, out, out=out)


def halves(rows: Array) -> Array:
    """Rows in two stacks if their number is even, else in one.

    OpenBLAS multiplies matrices without packing them first as long as a product takes less than a million
    multiplications; a block of the usual size just exceeds that, half of one does not.
    """
    n_stacks = 2 if len(rows) % 2 == 0 else 1
    return rows.reshape(n_stacks, len(rows) // n_stacks, -1)
