"""Families of action distributions: what an objective must know of them, derived by hand.

Arrays of outputs are ``[K, n]``, one column a step, so that sums over the K outputs run along the
processor's vectors. ``extra`` are parameters that no observation changes, such as a Gaussian's log-stds.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from garage.core.types import Array

_LOG_2PI = math.log(2.0 * math.pi)


class Family(Protocol):
    """A family of distributions, parametrised by network outputs ``[K, n]`` and ``extra`` ``[X]``."""

    @property
    def n_outputs(self) -> int:
        """K."""
        ...

    @property
    def n_extra(self) -> int:
        """X."""
        ...

    @property
    def n_coordinates(self) -> int:
        """C, how many numbers of the K outputs matter; a single one is the last output less the first, or the only."""
        ...

    def columns(self, actions: Array, dtype: np.dtype[Any]) -> Array:
        """Actions ``[N, ...]`` of a batch, laid out with steps last."""
        ...

    def distributions(self, outputs: Array, extra: Array) -> Any:  # noqa: ANN401 - each family's own
        """The distributions of n steps."""
        ...

    def log_likelihoods(self, distributions: Any, actions: Array) -> Array:  # noqa: ANN401
        """``[n]``, nats."""
        ...

    def kl(self, old: Any, new: Any) -> Array:  # noqa: ANN401
        """KL(old || new), ``[n]``, nats."""
        ...

    def entropies(self, distributions: Any) -> Array:  # noqa: ANN401
        """``[n]``, nats."""
        ...

    def score(
        self,
        distributions: Any,  # noqa: ANN401
        actions: Array,
        weights: Array,
        entropy_weight: float,
    ) -> tuple[Array, Array]:
        """Gradient of ``weights @ log_likelihoods + entropy_weight * sum(entropies)`` by outputs and extra."""
        ...

    def fisher(self, distributions: Any, change: Array, extra: Array) -> tuple[Array, Array]:  # noqa: ANN401
        """The steps' Fisher information times a change of outputs ``[K, n]`` and extra ``[X]``; extra's is summed.

        Where one number matters, the change is that number's, ``[1, n]``, and so is the answer.
        """
        ...


class Probabilities(NamedTuple):
    """Categorical distributions of n steps."""

    log_p: Array
    """``[K, n]``."""
    p: Array
    """``[K, n]``."""


class Categorical:
    """One of K actions, with the outputs as unnormalised log-probabilities."""

    n_extra = 0

    def __init__(self, n_actions: int) -> None:
        self.n_outputs = n_actions
        self.n_coordinates = n_actions - 1  # a constant added to all outputs changes nothing

    def columns(self, actions: Array, dtype: np.dtype[Any]) -> Array:  # noqa: ARG002 - indices have a type of their own
        """Where each step's is in a flattened ``[K, N]``: ``[N]``."""
        return actions.astype(np.intp) * len(actions) + np.arange(len(actions))

    def distributions(self, outputs: Array, extra: Array) -> Probabilities:  # noqa: ARG002 - it has none
        """By log-softmax over the outputs."""
        log_p = outputs - outputs.max(axis=0)
        p = np.exp(log_p)
        total = p.sum(axis=0)
        p /= total
        log_p -= np.log(total)
        return Probabilities(log_p, p)

    def log_likelihoods(self, distributions: Probabilities, actions: Array) -> Array:
        """``log p`` of the actions taken."""
        return distributions.log_p.take(actions)

    def kl(self, old: Probabilities, new: Probabilities) -> Array:
        """``sum_k p_k (log p_k - log q_k)``."""
        return np.asarray((old.p * (old.log_p - new.log_p)).sum(axis=0))

    def entropies(self, distributions: Probabilities) -> Array:
        """``-sum_k p_k log p_k``."""
        return np.asarray(-(distributions.p * distributions.log_p).sum(axis=0))

    def score(
        self, distributions: Probabilities, actions: Array, weights: Array, entropy_weight: float
    ) -> tuple[Array, Array]:
        """``w (1[k = a] - p_k)``, and ``-p_k (log p_k + H)`` for the entropy."""
        log_p, p = distributions
        gradient = -weights * p
        gradient.ravel()[actions] += weights
        if entropy_weight:
            gradient -= entropy_weight * (p * (log_p + self.entropies(distributions)))
        return gradient, np.empty(0)

    def fisher(self, distributions: Probabilities, change: Array, extra: Array) -> tuple[Array, Array]:
        """``(diag(p) - p pᵀ) d``; ``p_0 p_1 d`` by the difference of two outputs."""
        p = distributions.p
        if self.n_coordinates == 1:
            return p[:1] * p[1:] * change, extra
        weighted = p * change
        return weighted - p * weighted.sum(axis=0), extra


class Normals(NamedTuple):
    """Diagonal normal distributions of n steps."""

    mean: Array
    """``[K, n]``."""
    log_std: Array
    """``[K, 1]``, not below the smallest."""
    free: Array
    """``[K, 1]``: 1 where the log-std is above the smallest and can learn, else 0."""


class DiagonalGaussian:
    """K independent normals, with the outputs as means and ``extra`` as log-stds.

    Args:
        shape: of one action.
        min_std: stds below it count as it.
    """

    def __init__(self, shape: Sequence[int], min_std: float) -> None:
        self.n_outputs = self.n_extra = self.n_coordinates = math.prod(shape)
        self.min_log_std = math.log(min_std)

    def columns(self, actions: Array, dtype: np.dtype[Any]) -> Array:
        """``[K, N]``."""
        return np.ascontiguousarray(actions.reshape(len(actions), -1).T, dtype)

    def distributions(self, outputs: Array, extra: Array) -> Normals:
        """Means are the outputs."""
        log_std = np.maximum(extra, extra.dtype.type(self.min_log_std))
        return Normals(outputs, log_std[:, None], (extra >= log_std)[:, None].astype(extra.dtype))

    def log_likelihoods(self, distributions: Normals, actions: Array) -> Array:
        """``-sum_k (z_k² / 2 + log s_k + log(2 pi) / 2)``."""
        z = self._standardised(distributions, actions)
        constant = float(distributions.log_std.sum(dtype=np.float64)) + 0.5 * self.n_outputs * _LOG_2PI
        return np.asarray(-0.5 * (z * z).sum(axis=0) - z.dtype.type(constant))

    def kl(self, old: Normals, new: Normals) -> Array:
        """``sum_k log(t_k / s_k) + (s_k² + (m_k - n_k)²) / (2 t_k²) - 1/2``."""
        difference = (old.mean - new.mean) * np.exp(-new.log_std)
        variances = np.exp(2.0 * (old.log_std - new.log_std))
        return np.asarray((new.log_std - old.log_std + 0.5 * (variances + difference * difference - 1.0)).sum(axis=0))

    def entropies(self, distributions: Normals) -> Array:
        """``sum_k log s_k + (1 + log(2 pi)) / 2``, the same at every step."""
        entropy = float(distributions.log_std.sum(dtype=np.float64)) + 0.5 * self.n_outputs * (1.0 + _LOG_2PI)
        return np.full(distributions.mean.shape[1], entropy)

    def score(
        self, distributions: Normals, actions: Array, weights: Array, entropy_weight: float
    ) -> tuple[Array, Array]:
        """``w z_k / s_k`` by the means, ``w (z_k² - 1)`` by the log-stds; the entropy has 1 by each log-std."""
        z = self._standardised(distributions, actions)
        by_log_std = (weights * (z * z - 1.0)).sum(axis=1, dtype=np.float64) + entropy_weight * z.shape[1]
        return weights * z * np.exp(-distributions.log_std), by_log_std * distributions.free[:, 0]

    def fisher(self, distributions: Normals, change: Array, extra: Array) -> tuple[Array, Array]:
        """``d / s_k²`` by the means, 2 by each log-std."""
        return change * np.exp(-2.0 * distributions.log_std), 2.0 * change.shape[1] * extra * distributions.free[:, 0]

    @staticmethod
    def _standardised(distributions: Normals, actions: Array) -> Array:
        return np.asarray((actions - distributions.mean) * np.exp(-distributions.log_std))
