"""Three questions about one batch, answered for an MLP by hand-derived forward and reverse passes.

The batch goes through in blocks of 1,024 rows: a block's activations stay in the cache, and sums over
rows are taken block by block, in order, into float64. The block is a constant of the format: another
one gives other last bits. Each layer's input carries a column of ones, so that one product serves
weights and biases, which lie next to each other in theta.
"""

from typing import Any

import numpy as np

from garage.core.mlp import MLPShape
from garage.core.ports import Evaluation
from garage.core.types import Array
from garage.np.families import Family

BLOCK_ROWS = 1024


class MLPObjective:
    """The three questions for a network of ``shape`` whose outputs parametrise ``family``.

    Args:
        shape: the network; its output layer has ``family.n_outputs`` units.
        family: the action distributions.
        inputs: ``[N, shape.sizes[0]]``, in the dtype to compute in.
        actions: ``[N, ...]``, the actions taken.
        theta: ``[P]``, where KL is measured from.
    """

    def __init__(self, shape: MLPShape, family: Family, inputs: Array, actions: Array, theta: Array) -> None:
        self._shape, self._family = shape, family
        self._n, self._dtype = len(inputs), inputs.dtype
        self._actions = family.columns(actions, inputs.dtype)
        self._blocks = [slice(start, min(start + BLOCK_ROWS, self._n)) for start in range(0, self._n, BLOCK_ROWS)]
        self._activations = [_with_ones(self._n, size, inputs.dtype) for size in shape.sizes[:-1]]
        self._activations[0][:, :-1] = inputs
        self._slopes = [np.empty((self._n, size), inputs.dtype) for size in shape.sizes[1:-1]]
        rows = min(BLOCK_ROWS, self._n)
        self._scratch = [
            (np.empty((rows, size), inputs.dtype), np.empty((rows, size), inputs.dtype)) for size in shape.sizes[1:-1]
        ]
        self._theta: Array | None = None
        self._layers: list[Array] = []
        self._distributions: list[Any] = []
        self._slopes_known = False
        self._go_to(theta)
        self._old = self._distributions

    def evaluate(self, theta: Array) -> Evaluation:
        """See `Objective.evaluate`."""
        self._go_to(theta)
        log_likelihoods = np.empty(self._n)
        kl = entropy = 0.0
        for block, old, new in zip(self._blocks, self._old, self._distributions, strict=True):
            log_likelihoods[block] = self._family.log_likelihoods(new, self._actions[..., block])
            kl += float(self._family.kl(old, new).sum(dtype=np.float64))
            entropy += float(self._family.entropies(new).sum(dtype=np.float64))
        return Evaluation(log_likelihoods, kl / self._n, entropy / self._n)

    def score(self, theta: Array, weights: Array, entropy_weight: float = 0.0) -> Array:
        """See `Objective.score`."""
        self._go_to(theta)
        self._differentiate()
        weights = weights.astype(self._dtype)
        total = _Gradient(self._shape, self._family)
        for index, block in enumerate(self._blocks):
            by_outputs, by_extra = self._family.score(
                self._distributions[index], self._actions[..., block], weights[block], entropy_weight / self._n
            )
            self._reverse(block, by_outputs, total)
            total.extra += by_extra
        return total.theta

    def fisher_product(self, theta: Array, vector: Array) -> Array:
        """See `Objective.fisher_product`: the Jacobian forwards, the family's Fisher information, the Jacobian back."""
        self._go_to(theta)
        self._differentiate()
        n = self._shape.n_parameters
        directions = self._shape.matrices(vector[:n].astype(self._dtype))
        total = _Gradient(self._shape, self._family)
        for index, block in enumerate(self._blocks):
            by_outputs, by_extra = self._family.fisher(
                self._distributions[index], self._forward(block, directions), vector[n:]
            )
            self._reverse(block, by_outputs, total)
            total.extra += by_extra
        return total.theta / self._n

    def _go_to(self, theta: Array) -> None:
        """Activations and distributions at theta; nothing to do if they are there already."""
        if self._theta is not None and np.array_equal(self._theta, theta):
            return
        self._theta = theta.copy()
        n = self._shape.n_parameters
        parameters = theta.astype(self._dtype)
        self._layers = self._shape.matrices(parameters[:n])
        self._slopes_known = False
        distributions = []
        for block in self._blocks:
            for layer, matrix in enumerate(self._layers[:-1]):
                values = self._scratch[layer][0][: block.stop - block.start]
                np.matmul(self._activations[layer][block], matrix, out=values)
                np.tanh(values, out=self._activations[layer + 1][block, :-1])
            outputs = _transposed(self._activations[-1][block] @ self._layers[-1])
            distributions.append(self._family.distributions(outputs, parameters[n:]))
        self._distributions = distributions

    def _differentiate(self) -> None:
        """The slope of tanh at every hidden unit, ``1 - h²``."""
        if self._slopes_known:
            return
        for activations, slopes in zip(self._activations[1:], self._slopes, strict=True):
            for block in self._blocks:
                hidden = activations[block, :-1]
                np.subtract(1.0, hidden * hidden, out=slopes[block])
        self._slopes_known = True

    def _forward(self, block: slice, directions: list[Array]) -> Array:
        """How the outputs ``[K, n]`` change with theta along ``directions``: the Jacobian times them."""
        rows = block.stop - block.start
        change: Array | None = None
        for layer, direction in enumerate(directions[:-1]):
            here, spare = (buffer[:rows] for buffer in self._scratch[layer])
            np.matmul(self._activations[layer][block], direction, out=here)
            if change is not None:
                here += np.matmul(change, self._layers[layer][:-1], out=spare)
            here *= self._slopes[layer][block]
            change = here
        outputs = self._activations[-1][block] @ directions[-1]
        if change is not None:
            outputs += change @ self._layers[-1][:-1]
        return _transposed(outputs)

    def _reverse(self, block: slice, by_outputs: Array, total: "_Gradient") -> None:
        """Add what a gradient by the outputs ``[K, n]`` means for theta: the transposed Jacobian times it."""
        rows = block.stop - block.start
        gradient = _transposed(by_outputs)
        for layer in range(len(self._layers) - 1, -1, -1):
            total.matrices[layer] += self._activations[layer][block].T @ gradient
            if layer:
                before = self._scratch[layer - 1][0][:rows]
                np.matmul(gradient, self._layers[layer][:-1].T, out=before)
                before *= self._slopes[layer - 1][block]
                gradient = before


class _Gradient:
    """A flat float64 vector of theta's layout, with its parts as views."""

    def __init__(self, shape: MLPShape, family: Family) -> None:
        self.theta = np.zeros(shape.n_parameters + family.n_extra)
        self.matrices = shape.matrices(self.theta[: shape.n_parameters])
        self.extra = self.theta[shape.n_parameters :]


def _transposed(matrix: Array) -> Array:
    """In memory too: BLAS takes three times as long for a product of two transposed views."""
    return np.ascontiguousarray(matrix.T)


def _with_ones(rows: int, columns: int, dtype: np.dtype[Any]) -> Array:
    array = np.empty((rows, columns + 1), dtype)
    array[:, -1] = 1
    return array
