"""Three questions about one batch, answered by operations that are added to a graph once.

The operations know no batch. What belongs to one (inputs, actions, and the hidden layers' values and
the distributions at the theta asked about last) is kept by its `MLPObjective` as arrays: fetched once, and fed
wherever a later question would compute it again. TensorFlow hands over and takes back such arrays without copying
them, so any number of objectives share the operations, and a session holds nothing of a batch.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np

from garage.core.mlp import MLPShape
from garage.core.ports import Evaluation
from garage.core.types import Array
from garage.errors import MismatchError
from garage.tf.families import Family, Tensor
from garage.tf.flat_variable import FlatVariable
from garage.tf.installation import import_tensorflow

tf = import_tensorflow()


class Questions(NamedTuple):
    """The three questions in a graph, at the theta that the graph's variable holds; rows are steps.

    What is kept of a batch are each hidden layer's values ``[N, units]``, then the parts of the distributions.
    """

    forward: Callable[..., Any]
    """Inputs ``[N, units]`` -> what is kept."""
    compare: Callable[..., Any]
    """Old distributions, actions ``[N, K]``, what is kept -> log-likelihoods ``[N]``, mean KL and entropy; float64."""
    score: Callable[..., Any]
    """Weights ``[N]``, weight of the mean entropy, actions, inputs, what is kept -> gradient ``[P]``."""
    fisher_product: Callable[..., Any]
    """Vector ``[P]``, inputs, what is kept -> its product with the summed Fisher information ``[P]``."""


class MLPGraph:
    """A network whose outputs parametrise a family of distributions, in a graph.

    The Fisher product is the Jacobian forwards, the family's Fisher information, the Jacobian back: Schraudolph 2002,
    "Fast curvature matrix-vector products for second-order gradient descent", section 3. The forward sweep is
    written out; what goes back is TensorFlow's gradient.

    Args:
        variable: theta ``[P]``: the network's parameters, then the family's extra ones.
        shape: the network; its output layer has ``family.n_outputs`` units.
        family: the action distributions.
        dtype: to compute in.
    """

    def __init__(self, variable: FlatVariable, shape: MLPShape, family: Family, dtype: "np.dtype[Any]") -> None:
        self.variable, self.family, self.dtype = variable, family, dtype
        self.n_parameters, self.n_hidden = shape.n_parameters + family.n_extra, len(shape.sizes) - 2
        self._shape = shape

    @cached_property
    def questions(self) -> Questions:
        """Operations are added to the graph the first time; policies that only act need none."""
        variable, shape, family = self.variable, self._shape, self.family
        with variable.building():
            inputs, actions, weights, entropy_weight, vector = (
                tf.compat.v1.placeholder(self.dtype.name, size)
                for size in ((None, shape.sizes[0]), (None, family.n_outputs), (None,), (), (self.n_parameters,))
            )
            theta = variable.vector
            layers, extra = _parts(theta, shape, family)
            values = _hidden(inputs, layers)
            outputs = _affine(values[-1], *layers[-1])
            new = family.distributions(outputs, extra)
            kept = [*values[1:], *new]

            old = type(new)(*(tf.compat.v1.placeholder(part.dtype, part.shape) for part in new))
            log_likelihoods, entropies = family.log_likelihoods(new, actions), family.entropies(new)
            answers = [tf.cast(answer, tf.float64) for answer in (log_likelihoods, family.kl(old, new), entropies)]
            evaluation = [answers[0], tf.reduce_mean(answers[1]), tf.reduce_mean(answers[2])]

            value = tf.reduce_sum(weights * log_likelihoods) + entropy_weight * tf.reduce_mean(entropies)
            (gradient,) = tf.gradients(value, theta)

            directions, extra_direction = _parts(vector, shape, family)
            by_parts = family.fisher(new, _change(values, layers, directions), extra_direction)
            (product,) = tf.gradients([outputs, extra], theta, by_parts)
        return Questions(
            forward=variable.callable(kept, [inputs]),
            compare=variable.callable(evaluation, [*old, actions, *kept]),
            score=variable.callable(gradient, [weights, entropy_weight, actions, inputs, *kept]),
            fisher_product=variable.callable(product, [vector, inputs, *kept]),
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
        self._kept: list[Array] = []
        self.theta = theta.astype(np.float64)
        self._go_to(self.theta)
        self._old = self._kept[graph.n_hidden :]

    def to_array(self, theta: Array) -> Array:
        """Itself."""
        return theta

    def evaluate(self, theta: Array) -> Evaluation:
        """See `Objective.evaluate`."""
        self._go_to(theta)
        log_likelihoods, kl, entropy = self._graph.questions.compare(*self._old, self._actions, *self._kept)
        return Evaluation(log_likelihoods, float(kl), float(entropy))

    def score(self, theta: Array, weights: Array, entropy_weight: float = 0.0) -> Array:
        """See `Objective.score`."""
        _check_shape("weights", weights, self._n)
        self._go_to(theta)
        weights = weights.astype(self._graph.dtype)
        gradient: Array = self._graph.questions.score(weights, entropy_weight, self._actions, self._inputs, *self._kept)
        return gradient.astype(np.float64)

    def fisher_product(self, theta: Array, vector: Array) -> Array:
        """See `Objective.fisher_product`."""
        _check_shape("vector", vector, self._graph.n_parameters)
        self._go_to(theta)
        vector = vector.astype(self._graph.dtype)
        product: Array = self._graph.questions.fisher_product(vector, self._inputs, *self._kept)
        return product.astype(np.float64) / self._n

    def _go_to(self, theta: Array) -> None:
        """Let the graph and what is kept be at theta."""
        _check_shape("theta", theta, self._graph.n_parameters)
        self._graph.variable.load(theta)
        if self._at is None or not np.array_equal(self._at, theta):
            self._kept, self._at = self._graph.questions.forward(self._inputs), theta.copy()


def _parts(theta: Tensor, shape: MLPShape, family: Family) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
    """Weights and biases of each layer as `MLPShape.layers` has them, and the family's extra parameters."""
    sizes = list(zip(shape.sizes[:-1], shape.sizes[1:], strict=True))
    lengths = [length for inputs, outputs in sizes for length in (inputs * outputs, outputs)]
    *parts, extra = tf.split(theta, [*lengths, family.n_extra])
    weights = [tf.reshape(part, size) for part, size in zip(parts[::2], sizes, strict=True)]
    return list(zip(weights, parts[1::2], strict=True)), extra


def _affine(values: Tensor, weights: Tensor, biases: Tensor) -> Tensor:
    return tf.nn.bias_add(values @ weights, biases)


def _hidden(inputs: Tensor, layers: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """What enters each layer, ``[N, units]``."""
    values = [inputs]
    for weights, biases in layers[:-1]:
        values.append(tf.tanh(_affine(values[-1], weights, biases)))
    return values


def _change(
    values: Sequence[Tensor], layers: Sequence[tuple[Tensor, Tensor]], directions: Sequence[tuple[Tensor, Tensor]]
) -> Tensor:
    """How the outputs ``[N, K]`` change along ``directions``, which are laid out as the layers are."""
    change = _affine(values[0], *directions[0])
    for entering, (weights, _), direction in zip(values[1:], layers[1:], directions[1:], strict=True):
        slopes = 1.0 - entering * entering
        change = _affine(entering, *direction) + (change * slopes) @ weights
    return change


def _check_shape(name: str, array: Array, length: int) -> None:
    if array.shape != (length,):
        msg = f"Cannot answer for `{name}` of shape {array.shape}: this objective expects ({length},)."
        raise MismatchError(msg)
