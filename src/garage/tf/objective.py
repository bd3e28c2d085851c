"""Three questions about one batch, answered by operations that are added to a graph once.

The operations know no batch. What belongs to one (inputs, actions, and the hidden layers' values, their derivatives
and the distributions at the theta asked about last) is kept by its `MLPObjective` as arrays: fetched once, and fed
wherever a later question would compute it again. TensorFlow hands over and takes back such arrays without copying
them, so any number of objectives share the operations, and a session holds nothing of a batch.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np

from garage.core.mlp import MLPShape
from garage.core.ports import Evaluation
from garage.core.types import Array
from garage.errors import MismatchError
from garage.tf.families import Family
from garage.tf.flat_variable import FlatVariable
from garage.tf.installation import import_tensorflow
from garage.tf.networks import Network, OneOutput, Sweeps

tf = import_tensorflow()


class Questions(NamedTuple):
    """The three questions in a graph, at the theta that the graph's variable holds; rows are steps.

    Values are what the network keeps for its outputs, derivatives what it keeps for its Jacobian, see `Network`.
    """

    forward: Callable[..., Any]
    """Inputs ``[N, units]`` -> values, and the parts of the distributions."""
    differentiate: Callable[..., Any]
    """Values -> derivatives."""
    compare: Callable[..., Any]
    """Old distributions, actions ``[N, K]``, present ones -> log-likelihoods ``[N]``, mean KL and entropy; float64."""
    score: Callable[..., Any]
    """Weights ``[N]``, weight of the mean entropy, actions, inputs, all that is kept -> gradient ``[P]``."""
    fisher_product: Callable[..., Any]
    """Vector ``[P]``, inputs, all that is kept -> its product with the summed Fisher information ``[P]``."""


class MLPGraph:
    """A network whose outputs parametrise a family of distributions, in a graph.

    The Fisher product is the Jacobian forwards, the family's Fisher information, the Jacobian back: Schraudolph 2002,
    "Fast curvature matrix-vector products for second-order gradient descent", section 3.

    Args:
        variable: theta ``[P]``: the network's parameters, then the family's extra ones.
        shape: the network; its output layer has ``family.n_outputs`` units, or two for `TwoActions`.
        family: the action distributions.
        dtype: to compute in.
    """

    def __init__(self, variable: FlatVariable, shape: MLPShape, family: Family, dtype: "np.dtype[Any]") -> None:
        self.variable, self.family, self.dtype = variable, family, dtype
        self.n_parameters = shape.n_parameters + family.n_extra
        self._shape = shape

    @cached_property
    def questions(self) -> Questions:
        """Operations are added to the graph the first time; policies that only act need none."""
        variable, shape, family = self.variable, self._shape, self.family
        n, kind = shape.n_parameters, OneOutput if family.n_outputs == 1 else Sweeps
        with variable.building():
            inputs, actions, weights, entropy_weight, vector = (
                tf.compat.v1.placeholder(self.dtype.name, size)
                for size in ((None, shape.sizes[0]), (None, family.n_outputs), (None,), (), (self.n_parameters,))
            )
            extra = variable.vector[n:]
            network: Network = kind(shape, variable.vector[:n], inputs)
            outputs = network.outputs
            # TensorFlow simplifies a - (-b) even where -b is fed, and then asks for what b comes from.
            new = tf.nest.map_structure(tf.identity, family.distributions(outputs, extra))

            old = type(new)(*(tf.compat.v1.placeholder(part.dtype, part.shape) for part in new))
            log_likelihoods, entropies = family.log_likelihoods(new, actions), family.entropies(new)
            answers = [tf.cast(answer, tf.float64) for answer in (log_likelihoods, family.kl(old, new), entropies)]
            evaluation = [answers[0], tf.reduce_mean(answers[1]), tf.reduce_mean(answers[2])]

            value = tf.reduce_sum(weights * log_likelihoods) + entropy_weight * tf.reduce_mean(entropies)
            by_parts = tf.gradients(value, [outputs, extra], unconnected_gradients=tf.UnconnectedGradients.ZERO)
            gradient = tf.concat([network.reverse(by_parts[0]), by_parts[1]], 0)

            by_outputs, by_extra = family.fisher(new, network.forward(vector[:n]), vector[n:])
            product = tf.concat([network.reverse(by_outputs), by_extra], 0)
        derivatives = network.derivatives
        kept = [inputs, *network.values, *derivatives, *new]
        return Questions(
            forward=variable.callable((network.values, list(new)), [inputs]),
            differentiate=variable.callable(derivatives, network.values) if derivatives else lambda *_: derivatives,
            compare=variable.callable(evaluation, [*old, actions, *new]),
            score=variable.callable(gradient, [weights, entropy_weight, actions, *kept]),
            fisher_product=variable.callable(product, [vector, *kept]),
        )

    def __copy__(self) -> Self:
        """Itself: copies of a policy share its graph."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Itself, for a graph cannot be copied."""
        return self


class MLPObjective:
    """The three questions about a batch; vectors are NumPy's, float64.

    Args:
        graph: that answers.
        inputs: ``[N, units]`` of the first layer, in the graph's dtype.
        actions: ``[N, ...]``, the actions taken.
        theta: ``[P]``, where KL is measured from.

    Raises:
        OrderError: here and at every question, the graph's session was closed.
    """

    def __init__(self, graph: MLPGraph, inputs: Array, actions: Array, theta: Array) -> None:
        self._graph, self._n = graph, len(inputs)
        self._inputs, self._actions = inputs, graph.family.rows(actions, graph.dtype)
        self._at: Array | None = None
        self._values: list[Array] = []
        self._derivatives: list[Array] | None = None
        self._distributions: list[Array] = []
        self.theta = theta.astype(np.float64)
        self._go_to(self.theta)
        self._old = self._distributions

    def to_array(self, theta: Array) -> Array:
        """Itself."""
        return theta

    def evaluate(self, theta: Array) -> Evaluation:
        """See `Objective.evaluate`."""
        self._go_to(theta)
        log_likelihoods, kl, entropy = self._graph.questions.compare(*self._old, self._actions, *self._distributions)
        return Evaluation(log_likelihoods, float(kl), float(entropy))

    def score(self, theta: Array, weights: Array, entropy_weight: float = 0.0) -> Array:
        """See `Objective.score`."""
        _check_shape("weights", weights, self._n)
        kept = self._all_kept(theta)
        weights = weights.astype(self._graph.dtype)
        gradient: Array = self._graph.questions.score(weights, entropy_weight, self._actions, *kept)
        return gradient.astype(np.float64)

    def fisher_product(self, theta: Array, vector: Array) -> Array:
        """See `Objective.fisher_product`."""
        _check_shape("vector", vector, self._graph.n_parameters)
        kept = self._all_kept(theta)
        product: Array = self._graph.questions.fisher_product(vector.astype(self._graph.dtype), *kept)
        return product.astype(np.float64) / self._n

    def _go_to(self, theta: Array) -> None:
        """Let the graph, the values and the distributions be at theta."""
        _check_shape("theta", theta, self._graph.n_parameters)
        self._graph.variable.load(theta)
        if self._at is None or not np.array_equal(self._at, theta):
            self._values, self._distributions = self._graph.questions.forward(self._inputs)
            self._at, self._derivatives = theta.copy(), None

    def _all_kept(self, theta: Array) -> list[Array]:
        """Inputs, and what is kept of them at theta."""
        self._go_to(theta)
        if self._derivatives is None:
            self._derivatives = self._graph.questions.differentiate(*self._values)
        return [self._inputs, *self._values, *self._derivatives, *self._distributions]


def _check_shape(name: str, array: Array, length: int) -> None:
    if array.shape != (length,):
        msg = f"Cannot answer for `{name}` of shape {array.shape}: this objective expects ({length},)."
        raise MismatchError(msg)
