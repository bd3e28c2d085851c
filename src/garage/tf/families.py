"""Families of action distributions as operations of a graph: what an objective must know of them.

Tensors of outputs are ``[N, K]``, one row a step. ``extra`` are parameters that no observation changes, such as a
Gaussian's log-stds. Formulas and conventions are those of the NumPy port.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from garage.core.types import Array
from garage.tf.installation import import_tensorflow

tf = import_tensorflow()

Tensor = Any
"""TensorFlow has no types."""

_LOG_2PI = math.log(2.0 * math.pi)


class Family(Protocol):
    """A family of distributions, parametrised by network outputs ``[N, K]`` and ``extra`` ``[X]``.

    The distributions of N steps are a NamedTuple of tensors; fetched once, they can be fed again.
    """

    @property
    def n_outputs(self) -> int:
        """K."""
        ...

    @property
    def n_extra(self) -> int:
        """X."""
        ...

    def rows(self, actions: Array, dtype: "np.dtype[Any]") -> Array:
        """Actions ``[N, ...]`` of a batch as they are fed, ``[N, K]``."""
        ...

    def distributions(self, outputs: Tensor, extra: Tensor) -> Any:  # noqa: ANN401 - each family's own
        """Of N steps."""
        ...

    def log_likelihoods(self, distributions: Any, actions: Tensor) -> Tensor:  # noqa: ANN401
        """``[N]``, nats."""
        ...

    def kl(self, old: Any, new: Any) -> Tensor:  # noqa: ANN401
        """KL(old || new), ``[N]``, nats."""
        ...

    def entropies(self, distributions: Any) -> Tensor:  # noqa: ANN401
        """``[N]``, nats, or one number if it is the same at every step."""
        ...

    def fisher(self, distributions: Any, outputs: Tensor, extra: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        """The steps' Fisher information times a change of outputs ``[N, K]`` and extra ``[X]``; extra's is summed."""
        ...


class Probabilities(NamedTuple):
    """Categorical distributions of N steps."""

    log_p: Tensor
    """``[N, K]``."""
    p: Tensor
    """``[N, K]``."""


class Categorical:
    """One of K actions, with the outputs as unnormalised log-probabilities."""

    n_extra = 0

    def __init__(self, n_actions: int) -> None:
        self.n_outputs = n_actions

    def rows(self, actions: Array, dtype: "np.dtype[Any]") -> Array:
        """1 at the action taken, else 0."""
        rows = np.zeros((len(actions), self.n_outputs), dtype)
        rows[np.arange(len(actions)), actions] = 1
        return rows

    def distributions(self, outputs: Tensor, extra: Tensor) -> Probabilities:  # noqa: ARG002 - it has none
        """By log-softmax over the outputs."""
        log_p = tf.nn.log_softmax(outputs)
        return Probabilities(log_p, tf.exp(log_p))

    def log_likelihoods(self, distributions: Probabilities, actions: Tensor) -> Tensor:
        """``log p`` of the actions taken."""
        return tf.reduce_sum(actions * distributions.log_p, 1)

    def kl(self, old: Probabilities, new: Probabilities) -> Tensor:
        """``sum_k p_k (log p_k - log q_k)``."""
        return tf.reduce_sum(old.p * (old.log_p - new.log_p), 1)

    def entropies(self, distributions: Probabilities) -> Tensor:
        """``-sum_k p_k log p_k``."""
        return -tf.reduce_sum(distributions.p * distributions.log_p, 1)

    def fisher(self, distributions: Probabilities, outputs: Tensor, extra: Tensor) -> tuple[Tensor, Tensor]:
        """``(diag(p) - p pᵀ) d``."""
        weighted = distributions.p * outputs
        return weighted - distributions.p * tf.reduce_sum(weighted, 1, keepdims=True), extra


class TwoProbabilities(NamedTuple):
    """Distributions over two actions of N steps; each ``[N, 1]``."""

    log_p: Tensor
    """Of the second action."""
    log_q: Tensor
    """Of the first one."""
    p: Tensor
    q: Tensor


class TwoActions:
    """One of two actions, with one output: the log-odds of the second one, z.

    It is `Categorical` in the one coordinate that matters: a constant added to both of its outputs changes nothing.
    """

    n_actions = 2
    n_outputs = 1
    n_extra = 0

    def rows(self, actions: Array, dtype: "np.dtype[Any]") -> Array:
        """1 for the second action, else 0."""
        return actions.astype(dtype)[:, np.newaxis]

    def distributions(self, outputs: Tensor, extra: Tensor) -> TwoProbabilities:  # noqa: ARG002 - it has none
        """``log p = -log(1 + exp(-z))``, ``log q = -log(1 + exp(z))``."""
        log_p, log_q = -tf.nn.softplus(-outputs), -tf.nn.softplus(outputs)
        return TwoProbabilities(log_p, log_q, tf.exp(log_p), tf.exp(log_q))

    def log_likelihoods(self, distributions: TwoProbabilities, actions: Tensor) -> Tensor:
        """``log p`` or ``log q``."""
        return tf.where(actions > 0, distributions.log_p, distributions.log_q)[:, 0]

    def kl(self, old: TwoProbabilities, new: TwoProbabilities) -> Tensor:
        """As `Categorical.kl`, over both actions."""
        return (old.p * (old.log_p - new.log_p) + old.q * (old.log_q - new.log_q))[:, 0]

    def entropies(self, distributions: TwoProbabilities) -> Tensor:
        """``-p log p - q log q``."""
        log_p, log_q, p, q = distributions
        return -(p * log_p + q * log_q)[:, 0]

    def fisher(self, distributions: TwoProbabilities, outputs: Tensor, extra: Tensor) -> tuple[Tensor, Tensor]:
        """``p q d``."""
        return distributions.p * distributions.q * outputs, extra


class Normals(NamedTuple):
    """Diagonal normal distributions of N steps."""

    mean: Tensor
    """``[N, K]``."""
    log_std: Tensor
    """``[K]``, not below the smallest."""
    free: Tensor
    """``[K]``: 1 where the log-std is not below the smallest and can learn, else 0."""


class DiagonalGaussian:
    """K independent normals, with the outputs as means and ``extra`` as log-stds.

    Args:
        shape: of one action.
        min_std: stds below it count as it.
    """

    def __init__(self, shape: Sequence[int], min_std: float) -> None:
        self.n_outputs = self.n_extra = math.prod(shape)
        self.min_log_std = math.log(min_std)

    def rows(self, actions: Array, dtype: "np.dtype[Any]") -> Array:
        """The actions."""
        return np.ascontiguousarray(actions.reshape(len(actions), -1), dtype)

    def distributions(self, outputs: Tensor, extra: Tensor) -> Normals:
        """Means are the outputs."""
        log_std = tf.maximum(extra, tf.constant(self.min_log_std, extra.dtype))
        return Normals(outputs, log_std, tf.cast(extra >= log_std, extra.dtype))

    def log_likelihoods(self, distributions: Normals, actions: Tensor) -> Tensor:
        """``-sum_k (z_k² / 2 + log s_k + log(2 pi) / 2)``."""
        z = (actions - distributions.mean) * tf.exp(-distributions.log_std)
        constant = tf.reduce_sum(distributions.log_std) + 0.5 * self.n_outputs * _LOG_2PI
        return -0.5 * tf.reduce_sum(z * z, 1) - constant

    def kl(self, old: Normals, new: Normals) -> Tensor:
        """``sum_k log(t_k / s_k) + (s_k² + (m_k - n_k)²) / (2 t_k²) - 1/2``."""
        difference = (old.mean - new.mean) * tf.exp(-new.log_std)
        variances = tf.exp(2.0 * (old.log_std - new.log_std))
        return tf.reduce_sum(new.log_std - old.log_std + 0.5 * (variances + difference * difference - 1.0), 1)

    def entropies(self, distributions: Normals) -> Tensor:
        """``sum_k log s_k + (1 + log(2 pi)) / 2``, the same at every step."""
        return tf.reduce_sum(distributions.log_std) + 0.5 * self.n_outputs * (1.0 + _LOG_2PI)

    def fisher(self, distributions: Normals, outputs: Tensor, extra: Tensor) -> tuple[Tensor, Tensor]:
        """``d / s_k²`` by the means, 2 by each log-std."""
        n = tf.cast(tf.shape(outputs)[0], extra.dtype)
        return outputs * tf.exp(-2.0 * distributions.log_std), 2.0 * n * extra * distributions.free
