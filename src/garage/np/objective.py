"""Three questions about one batch, answered for an MLP by hand-derived forward and reverse passes.

The passes are compiled (`garage.kernels.mlp`); what the action distributions make of their outputs is NumPy.
"""

from typing import Any

import numpy as np

from garage.core.mlp import MLPShape
from garage.core.ports import Evaluation
from garage.core.types import Array
from garage.errors import MismatchError
from garage.kernels.mlp import Passes
from garage.np.families import Family


class MLPObjective:
    """The three questions for a network of ``shape`` whose outputs parametrise ``family``.

    Where only one number of the outputs matters (two actions, or one action dimension), a row's Jacobian is one outer
    product a layer; its factors are kept, and a Fisher product costs half of what it does with more outputs.

    Args:
        shape: the network; its output layer has ``family.n_outputs`` units.
        family: the action distributions.
        inputs: ``[N, shape.sizes[0]]``, in the dtype to compute in.
        actions: ``[N, ...]``, the actions taken.
        theta: ``[P]``, where KL is measured from.
    """

    def __init__(self, shape: MLPShape, family: Family, inputs: Array, actions: Array, theta: Array) -> None:
        self._family, self._n, self._dtype = family, len(inputs), inputs.dtype
        self._n_weights, self._one_number = shape.n_parameters, family.n_coordinates == 1
        self._actions = family.columns(actions, inputs.dtype)
        self._passes = Passes(shape.sizes, inputs)
        self._ones = np.ones((1, self._n), self._dtype)
        self._theta: Array | None = None
        self._distributions: Any = None
        self._go_to(theta)
        self._old = self._distributions
        self.theta = theta

    def to_array(self, theta: Array) -> Array:
        """Itself."""
        return theta

    def evaluate(self, theta: Array) -> Evaluation:
        """See `Objective.evaluate`."""
        self._go_to(theta)
        kl = self._family.kl(self._old, self._distributions).sum(dtype=np.float64) / self._n
        entropy = self._family.entropies(self._distributions).sum(dtype=np.float64) / self._n
        log_likelihoods = self._family.log_likelihoods(self._distributions, self._actions).astype(np.float64)
        return Evaluation(log_likelihoods, float(kl), float(entropy))

    def score(self, theta: Array, weights: Array, entropy_weight: float = 0.0) -> Array:
        """See `Objective.score`."""
        _check_shape("weights", weights, self._n)
        self._go_to(theta)
        by_outputs, by_extra = self._family.score(
            self._distributions, self._actions, weights.astype(self._dtype), entropy_weight / self._n
        )
        # A gradient by two outputs is one by their difference, for its parts cancel.
        gradient = self._passes.number_back(by_outputs[-1]) if self._one_number else self._passes.back(by_outputs)
        return np.concatenate([gradient, by_extra])

    def fisher_product(self, theta: Array, vector: Array) -> Array:
        """See `Objective.fisher_product`: the Jacobian forwards, the family's Fisher information, the Jacobian back."""
        _check_shape("vector", vector, self._n_weights + self._family.n_extra)
        self._go_to(theta)
        direction, extra = vector[: self._n_weights].astype(self._dtype), vector[self._n_weights :]
        if self._one_number:
            weights, by_extra = self._family.fisher(self._distributions, self._ones, extra)
            product = self._passes.number_product(direction, weights[0])
        else:
            by_outputs, by_extra = self._family.fisher(self._distributions, self._passes.along(direction), extra)
            product = self._passes.back(by_outputs)
        return np.concatenate([product, by_extra]) / self._n

    def _go_to(self, theta: Array) -> None:
        """Activations and distributions at theta; nothing to do if they are there already."""
        if self._theta is not None and np.array_equal(self._theta, theta):
            return
        _check_shape("theta", theta, self._n_weights + self._family.n_extra)
        self._theta = theta.copy()
        parameters = theta.astype(self._dtype)
        outputs = self._passes.forward(parameters[: self._n_weights])
        self._distributions = self._family.distributions(outputs, parameters[self._n_weights :])


def _check_shape(name: str, array: Array, length: int) -> None:
    if array.shape != (length,):
        msg = f"Cannot answer for `{name}` of shape {array.shape}: this objective expects ({length},)."
        raise MismatchError(msg)
