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
