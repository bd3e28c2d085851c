"""What the on-policy algorithms say alike around their one step: first parameters, state, rows, the baseline's fit."""

import logging
import math

from garage.core.ports import Baseline, DifferentiablePolicy, Evaluation
from garage.core.state import take
from garage.core.streams import Streams
from garage.core.types import Array, EpisodeBatch, Metrics, State
from garage.errors import ArgumentError

logger = logging.getLogger(__name__)


def initialise(policy: DifferentiablePolicy, baseline: Baseline, streams: Streams) -> None:
    """Draw the baseline's first parameters, and the policy's unless it has some already.

    Raises:
        ArgumentError: the baseline is none.
    """
    if not isinstance(baseline, Baseline):
        msg = (
            f"The baseline must be one such as LinearFeatureBaseline(env_spec=env.spec), got {baseline!r}. To learn "
            "without: ZeroBaseline(env_spec=env.spec)."
        )
        raise ArgumentError(msg)
    baseline.initialise(streams.generator("baseline"))
    if policy.initialised:
        logger.info("The policy `%s` has parameters already; they are kept", policy.name)
    else:
        policy.initialise(streams.generator("policy"))


def state_of(policy: DifferentiablePolicy, baseline: Baseline) -> State:
    """The policy's and the baseline's."""
    return {"policy": policy.state_dict(), "baseline": baseline.state_dict()}


def load_state(policy: DifferentiablePolicy, baseline: Baseline, state: State, owner: str) -> None:
    """Take both back.

    Raises:
        MismatchError: one is missing, or of another kind.
    """
    policy.load_state_dict(take(state, "policy", owner))
    baseline.load_state_dict(take(state, "baseline", owner))


def step_rows(
    policy: DifferentiablePolicy, before: Evaluation, loss_before: float, after: Evaluation, loss_after: float
) -> Metrics:
    """What a step did, under the policy's name; losses as the algorithm defines its own."""
    return prefixed(
        policy.name,
        {
            "LossBefore": loss_before,
            "LossAfter": loss_after,
            "dLoss": loss_before - loss_after,
            "KLBefore": before.kl,
            "KL": after.kl,
            "Entropy": after.entropy,
            "Perplexity": _perplexity(after.entropy),
        },
    )


def _perplexity(entropy: float) -> float:
    """Its exponential: of hundreds of action dimensions, more than there are floats."""
    try:
        return math.exp(entropy)
    except OverflowError:
        return math.inf


def fitted(baseline: Baseline, batch: EpisodeBatch, targets: Array) -> Metrics:
    """Fit the baseline to targets ``[N]``, and say how it went under its name."""
    logger.info("Fitting baseline...")
    return prefixed(baseline.name, baseline.fit(batch, targets))


def prefixed(name: str, metrics: Metrics) -> Metrics:
    """Metrics as rows of ``name``."""
    return {f"{name}/{row}": value for row, value in metrics.items()}
