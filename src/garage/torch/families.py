"""Families of action distributions: what an objective must know of them, derived by hand.

Tensors of outputs are ``[n, K]``, one row a step. ``extra`` are parameters that no observation changes, such as a
Gaussian's log-stds.
"""

import math
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from garage.core.types import Array

_LOG_2PI = math.log(2.0 * math.pi)


class Family(Protocol):
    """A family of distributions, parametrised by network outputs ``[K]`` a step and by ``extra`` ``[X]``."""

    @property
    def n_extra(self) -> int:
        """X."""
        ...

    def rows(self, actions: Array, like: Tensor) -> Tensor:
        """Actions ``[N, ...]`` of a batch as rows ``[N, K]``, of the dtype and on the device of ``like``."""
        ...

    def distributions(self, outputs: Tensor, extra: Tensor) -> Any:  # noqa: ANN401 - each family's own
        """The distributions of n steps."""
        ...

    def log_likelihoods(self, distributions: Any, actions: Tensor) -> Tensor:  # noqa: ANN401
        """``[n]``, nats."""
        ...

    def kl(self, old: Any, new: Any) -> Tensor:  # noqa: ANN401
        """KL(old || new), ``[n]``, nats."""
        ...

    def entropies(self, distributions: Any) -> Tensor:  # noqa: ANN401
        """``[n]``, nats."""
        ...

    def score(
        self,
        distributions: Any,  # noqa: ANN401
        actions: Tensor,
        weights: Tensor,
        entropy_weight: float,
    ) -> tuple[Tensor, Tensor]:
        """Gradient of ``weights @ log_likelihoods + entropy_weight * sum(entropies)`` by outputs and extra."""
        ...

    def fisher(self, distributions: Any, outputs: Tensor, extra: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        """The steps' Fisher information times a change of outputs ``[n, K]`` and extra ``[X]``; extra's is summed."""
        ...


class Probabilities(NamedTuple):
    """Categorical distributions of n steps."""

    log_p: Tensor
    """``[n, K]``."""
    p: Tensor
    """``[n, K]``."""


class Categorical:
    """One of K actions, with the outputs as unnormalised log-probabilities."""

    n_extra = 0

    def __init__(self, n_actions: int) -> None:
        self._n_actions = n_actions

    def rows(self, actions: Array, like: Tensor) -> Tensor:
        """One-hot."""
        indices = torch.tensor(actions, dtype=torch.int64, device=like.device)
        return torch.nn.functional.one_hot(indices, self._n_actions).to(like.dtype)

    def distributions(self, outputs: Tensor, extra: Tensor) -> Probabilities:  # noqa: ARG002 - it has none
        """By log-softmax over the outputs."""
        log_p = torch.log_softmax(outputs, 1)
        return Probabilities(log_p, log_p.exp())

    def log_likelihoods(self, distributions: Probabilities, actions: Tensor) -> Tensor:
        """``log p`` of the actions taken."""
        return (distributions.log_p * actions).sum(1)

    def kl(self, old: Probabilities, new: Probabilities) -> Tensor:
        """``sum_k p_k (log p_k - log q_k)``."""
        return (old.p * (old.log_p - new.log_p)).sum(1)

    def entropies(self, distributions: Probabilities) -> Tensor:
        """``-sum_k p_k log p_k``."""
        return -(distributions.p * distributions.log_p).sum(1)

    def score(
        self, distributions: Probabilities, actions: Tensor, weights: Tensor, entropy_weight: float
    ) -> tuple[Tensor, Tensor]:
        """``w (1[k = a] - p_k)``, and ``-p_k (log p_k + H)`` for the entropy."""
        log_p, p = distributions
        gradient = (actions - p).mul_(weights[:, None])
        if entropy_weight:
            gradient -= entropy_weight * (p * (log_p + self.entropies(distributions)[:, None]))
        return gradient, p.new_empty(0, dtype=torch.float64)

    def fisher(self, distributions: Probabilities, outputs: Tensor, extra: Tensor) -> tuple[Tensor, Tensor]:
        """``(diag(p) - p pᵀ) d``."""
        weighted = distributions.p * outputs
        return weighted - distributions.p * weighted.sum(1, keepdim=True), extra


class TwoProbabilities(NamedTuple):
    """Distributions over two actions of n steps; each ``[n, 1]``."""

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
    n_extra = 0

    def rows(self, actions: Array, like: Tensor) -> Tensor:
        """Whether it is the second one, ``[N, 1]`` bool."""
        return torch.tensor(actions == 1, device=like.device)[:, None]

    def distributions(self, outputs: Tensor, extra: Tensor) -> TwoProbabilities:  # noqa: ARG002 - it has none
        """``log p = -log(1 + exp(-z))``, ``log q = -log(1 + exp(z))``."""
        log_p, log_q = torch.nn.functional.logsigmoid(outputs), torch.nn.functional.logsigmoid(-outputs)
        return TwoProbabilities(log_p, log_q, log_p.exp(), log_q.exp())

    def log_likelihoods(self, distributions: TwoProbabilities, actions: Tensor) -> Tensor:
        """``log p`` or ``log q``."""
        return torch.where(actions, distributions.log_p, distributions.log_q)[:, 0]

    def kl(self, old: TwoProbabilities, new: TwoProbabilities) -> Tensor:
        """As `Categorical.kl`, over both actions."""
        return (old.p * (old.log_p - new.log_p) + old.q * (old.log_q - new.log_q))[:, 0]

    def entropies(self, distributions: TwoProbabilities) -> Tensor:
        """``-p log p - q log q``."""
        log_p, log_q, p, q = distributions
        return -(p * log_p + q * log_q)[:, 0]

    def score(
        self, distributions: TwoProbabilities, actions: Tensor, weights: Tensor, entropy_weight: float
    ) -> tuple[Tensor, Tensor]:
        """``w q`` for the second action and ``-w p`` for the first one, and ``-p q z`` for the entropy."""
        log_p, log_q, p, q = distributions
        gradient = torch.where(actions, q, -p).mul_(weights[:, None])
        if entropy_weight:
            gradient -= entropy_weight * (p * q * (log_p - log_q))
        return gradient, p.new_empty(0, dtype=torch.float64)

    def fisher(self, distributions: TwoProbabilities, outputs: Tensor, extra: Tensor) -> tuple[Tensor, Tensor]:
        """``p q d``."""
        return distributions.p * distributions.q * outputs, extra


class Normals(NamedTuple):
    """Diagonal normal distributions of n steps."""

    mean: Tensor
    """``[n, K]``."""
    log_std: Tensor
    """``[K]``, not below the smallest."""
    free: Tensor
    """``[K]``: 1 where the log-std is not below the smallest and can learn, else 0."""


class DiagonalGaussian:
    """K independent normals, with the outputs as means and ``extra`` as log-stds.

    Args:
        n_dimensions: K.
        min_std: stds below it count as it.
    """

    def __init__(self, n_dimensions: int, min_std: float) -> None:
        self.n_extra = n_dimensions
        self._min_log_std = math.log(min_std)

    def rows(self, actions: Array, like: Tensor) -> Tensor:
        """Flat."""
        return torch.tensor(actions, dtype=like.dtype, device=like.device).reshape(len(actions), self.n_extra)

    def distributions(self, outputs: Tensor, extra: Tensor) -> Normals:
        """Means are the outputs."""
        log_std = extra.clamp(min=self._min_log_std)
        return Normals(outputs, log_std, (extra >= log_std).to(extra.dtype))

    def log_likelihoods(self, distributions: Normals, actions: Tensor) -> Tensor:
        """``-sum_k (z_k² / 2 + log s_k + log(2 pi) / 2)``."""
        z = self._standardised(distributions, actions)
        constant = distributions.log_std.double().sum() + 0.5 * self.n_extra * _LOG_2PI
        return -0.5 * (z * z).sum(1) - constant

    def kl(self, old: Normals, new: Normals) -> Tensor:
        """``sum_k log(t_k / s_k) + (s_k² + (m_k - n_k)²) / (2 t_k²) - 1/2``."""
        difference = (old.mean - new.mean) * torch.exp(-new.log_std)
        variances = torch.exp(2.0 * (old.log_std - new.log_std))
        return (new.log_std - old.log_std + 0.5 * (variances + difference * difference - 1.0)).sum(1)

    def entropies(self, distributions: Normals) -> Tensor:
        """``sum_k log s_k + (1 + log(2 pi)) / 2``, the same at every step."""
        entropy = distributions.log_std.double().sum() + 0.5 * self.n_extra * (1.0 + _LOG_2PI)
        return entropy.expand(len(distributions.mean))

    def score(
        self, distributions: Normals, actions: Tensor, weights: Tensor, entropy_weight: float
    ) -> tuple[Tensor, Tensor]:
        """``w z_k / s_k`` by the means, ``w (z_k² - 1)`` by the log-stds; the entropy has 1 by each log-std."""
        z = self._standardised(distributions, actions)
        by_log_std = (weights[:, None] * (z * z - 1.0)).sum(0, dtype=torch.float64) + entropy_weight * len(z)
        return weights[:, None] * z * torch.exp(-distributions.log_std), by_log_std * distributions.free

    def fisher(self, distributions: Normals, outputs: Tensor, extra: Tensor) -> tuple[Tensor, Tensor]:
        """``d / s_k²`` by the means, 2 by each log-std."""
        return outputs * torch.exp(-2.0 * distributions.log_std), 2.0 * len(outputs) * extra * distributions.free

    @staticmethod
    def _standardised(distributions: Normals, actions: Tensor) -> Tensor:
        return (actions - distributions.mean) * torch.exp(-distributions.log_std)
