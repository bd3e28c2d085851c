"""Three questions about one batch, answered for an MLP by hand-derived forward and reverse passes.

The batch goes through in blocks of 1,024 rows: a block's activations stay in the cache, and sums over
rows are taken block by block, in order, into float64. The block is a constant of the format: another
one gives other last bits.
"""

from typing import Any

import numpy as np

from garage.core.mlp import MLPShape
from garage.core.ports import Evaluation
from garage.core.types import Array
from garage.errors import MismatchError
from garage.np.families import Family
from garage.np.jacobians import Jacobian, OneCoordinate, Sweeps, halves

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
        rows, hidden = min(BLOCK_ROWS, self._n), shape.sizes[1:-1]
        self._scratch = [np.empty((rows, size), inputs.dtype) for size in hidden]
        self._jacobian: Jacobian = (
            OneCoordinate(hidden, family.n_outputs, self._n, rows, inputs.dtype)
            if family.n_coordinates == 1
            else Sweeps(hidden, self._n, rows, inputs.dtype)
        )
        self._theta: Array | None = None
        self._matrices: list[Array] = []
        self._distributions: list[Any] = []
        self._prepared = False
        self._go_to(theta)
        self._old = self._distributions
        self.theta = theta

    def to_array(self, theta: Array) -> Array:
        """Itself."""
        return theta

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
        _check_shape("weights", weights, self._n)
        self._differentiate(theta)
        weights = weights.astype(self._dtype)
        gradient, layers, extra = self._zero_gradient()
        for block, distributions in zip(self._blocks, self._distributions, strict=True):
            by_outputs, by_extra = self._family.score(
                distributions, self._actions[..., block], weights[block], entropy_weight / self._n
            )
            self._jacobian.reverse(block, by_outputs, layers)
            extra += by_extra
        return gradient

    def fisher_product(self, theta: Array, vector: Array) -> Array:
        """See `Objective.fisher_product`: the Jacobian forwards, the family's Fisher information, the Jacobian back."""
        n = self._shape.n_parameters
        _check_shape("vector", vector, n + self._family.n_extra)
        self._differentiate(theta)
        directions = self._shape.matrices(vector[:n].astype(self._dtype))
        gradient, layers, extra = self._zero_gradient()
        for block, distributions in zip(self._blocks, self._distributions, strict=True):
            change = self._jacobian.forward(block, directions)
            by_outputs, by_extra = self._family.fisher(distributions, change, vector[n:])
            self._jacobian.reverse(block, by_outputs, layers)
            extra += by_extra
        return gradient / self._n

    def _go_to(self, theta: Array) -> None:
        """Activations and distributions at theta; nothing to do if they are there already."""
        if self._theta is not None and np.array_equal(self._theta, theta):
            return
        n = self._shape.n_parameters
        _check_shape("theta", theta, n + self._family.n_extra)
        self._theta = theta.copy()
        parameters = theta.astype(self._dtype)
        self._matrices = self._shape.matrices(parameters[:n])
        self._prepared = False
        distributions = []
        for block in self._blocks:
            for layer, matrix in enumerate(self._matrices[:-1]):
                values = self._scratch[layer][: block.stop - block.start]
                np.matmul(halves(self._activations[layer][block]), matrix, out=halves(values))
                self._activations[layer + 1][block, :-1] = np.tanh(values, out=values)
            outputs = np.ascontiguousarray((self._activations[-1][block] @ self._matrices[-1]).T)
            distributions.append(self._family.distributions(outputs, parameters[n:]))
        self._distributions = distributions

    def _differentiate(self, theta: Array) -> None:
        """Make the Jacobian that of theta."""
        self._go_to(theta)
        if not self._prepared:
            for block in self._blocks:
                self._jacobian.prepare(block, self._matrices, self._activations)
            self._prepared = True

    def _zero_gradient(self) -> tuple[Array, list[Array], Array]:
        """A flat float64 vector of theta's layout, and views of its layers and of what follows them."""
        n = self._shape.n_parameters
        gradient = np.zeros(n + self._family.n_extra)
        return gradient, self._shape.matrices(gradient[:n]), gradient[n:]


def _check_shape(name: str, array: Array, length: int) -> None:
    if array.shape != (length,):
        msg = f"Cannot answer for `{name}` of shape {array.shape}: this objective expects ({length},)."
        raise MismatchError(msg)


def _with_ones(rows: int, columns: int, dtype: np.dtype[Any]) -> Array:
    array = np.empty((rows, columns + 1), dtype)
    array[:, -1] = 1
    return array
