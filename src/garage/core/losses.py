"""On-policy losses as weights for `Objective.score`.

Every such loss is a function of the log-likelihoods of the actions taken; its gradient is a weighted sum
of theirs. So a loss here is a value and the weights of its descent direction.
"""

from typing import NamedTuple

import numpy as np

from garage.core.types import Array


class Loss(NamedTuple):
    """A loss and the weights that make `Objective.score` its negative gradient."""

    value: float
    weights: Array
    """``[N]`` float64."""


def surrogate(log_likelihoods: Array, old_log_likelihoods: Array, advantages: Array) -> Loss:
    """Importance-weighted advantage, negated: the loss of a step from an old policy to a new one.

    Source: Schulman et al. 2015, "Trust region policy optimization", equation 14.

    Args:
        log_likelihoods: ``[N]`` under the policy that is judged.
        old_log_likelihoods: ``[N]`` under the policy that acted.
        advantages: ``[N]``.
    """
    weighted = np.exp(log_likelihoods - old_log_likelihoods) * advantages
    return Loss(-float(weighted.mean()), weighted / len(weighted))


def policy_gradient(log_likelihoods: Array, advantages: Array) -> Loss:
    """Advantage-weighted log-likelihood, negated.

    Source: Sutton et al. 2000, "Policy gradient methods for reinforcement learning with function approximation",
    theorem 1. Its gradient means something at the policy that acted only; its value means nothing.

    Args:
        log_likelihoods: ``[N]`` under the policy that acted.
        advantages: ``[N]``.
    """
    return Loss(-float((log_likelihoods * advantages).mean()), advantages / len(advantages))


def clipped_surrogate(log_likelihoods: Array, old_log_likelihoods: Array, advantages: Array, clip_range: float) -> Loss:
    """The surrogate, without what is won by a ratio of likelihoods further than ``clip_range`` from 1.

    Source: Schulman et al. 2017, "Proximal policy optimization algorithms", equation 7, negated.

    A ratio that overflows makes the loss or a weight infinite, or not a number; nothing is raised.

    Args:
        log_likelihoods: ``[N]`` under the policy that is judged.
        old_log_likelihoods: ``[N]`` under the policy that acted.
        advantages: ``[N]``.
        clip_range: epsilon of the paper, above 0.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        ratios = np.exp(log_likelihoods - old_log_likelihoods)
        weighted = ratios * advantages
        clipped = np.clip(ratios, 1.0 - clip_range, 1.0 + clip_range) * advantages
        # Where the clipped one is less, it is constant and has no gradient.
        weights = np.where(clipped < weighted, 0.0, weighted) / len(weighted)
        return Loss(-float(np.minimum(weighted, clipped).mean()), weights)


def clipped_share(log_likelihoods: Array, old_log_likelihoods: Array, clip_range: float) -> float:
    """Share of the steps whose ratio of likelihoods is further than ``clip_range`` from 1."""
    with np.errstate(over="ignore"):
        ratios = np.exp(log_likelihoods - old_log_likelihoods)
    return float(np.mean(np.abs(ratios - 1.0) > clip_range))
