"""Vanilla policy gradient.

Williams 1992, "Simple statistical gradient-following algorithms for connectionist reinforcement learning"; Sutton,
McAllester, Singh and Mansour 2000, "Policy gradient methods for reinforcement learning with function approximation";
advantages by Schulman et al. 2016, "High-dimensional continuous control using generalized advantage estimation".

One epoch::

    collect about batch_size steps with the policy pi
    A_t <- generalised advantage estimates from the baseline            (2016, equation 16)
    g <- d/dtheta mean[ log pi(a|s) A_t ] + c mean entropy              (2000, theorem 1; 1992, section 4)
    theta <- theta + Adam's step along g
    fit the baseline to the discounted returns

Deviations from the papers: one batch of many episodes a step, generalised advantages, Adam, steps of an episode are
not weighted by discount^t, and where a time limit cuts an episode the return is bootstrapped from the baseline.
"""

import logging
from collections.abc import Mapping

import numpy as np

from garage.algos import on_policy
from garage.core import losses, options, returns
from garage.core.adam import Adam, Moments
from garage.core.ports import Baseline, Collect, DifferentiablePolicy, Env, Evaluation, Policy
from garage.core.recipe import Component
from garage.core.spaces import check_fit
from garage.core.state import take
from garage.core.streams import Streams
from garage.core.types import Array, EpisodeBatch, Metrics, State

logger = logging.getLogger(__name__)


class VPG(Component):
    """Vanilla policy gradient: one step an epoch.

    Args:
        env: the world to learn; the policy must have been built for its spaces.
        policy: what learns.
        baseline: predicts returns, to lower the variance of the gradient.
        discount: gamma, in [0, 1].
        gae_lambda: lambda of the advantage estimates, in [0, 1].
        center_adv: whether advantages are centred and scaled to unit variance.
        learning_rate: Adam's, about how far a parameter moves in one epoch.
        entropy_weight: weight of the mean entropy in the loss, per nat.
        fragments: whether batches may begin and end in the middle of episodes, instead of having whole ones.

    Raises:
        ArgumentError: an option is out of range.
        MismatchError: the policy was built for other spaces than the environment's.
    """

    def __init__(  # noqa: PLR0913 - the options of the field, keyword-only
        self,
        *,
        env: Env,
        policy: DifferentiablePolicy,
        baseline: Baseline,
        discount: float = 0.99,
        gae_lambda: float = 0.98,
        center_adv: bool = True,
        learning_rate: float = 1e-2,
        entropy_weight: float = 0.0,
        fragments: bool = False,
    ) -> None:
        options.check(
            "VPG",
            discount=(discount, options.FRACTION),
            gae_lambda=(gae_lambda, options.FRACTION),
            center_adv=(center_adv, options.SWITCH),
            learning_rate=(learning_rate, options.POSITIVE),
            entropy_weight=(entropy_weight, options.NOT_NEGATIVE),
            fragments=(fragments, options.SWITCH),
        )
        check_fit(policy, env)
        self.policy, self.baseline = policy, baseline
        self.discount, self.gae_lambda, self.center_adv = discount, gae_lambda, center_adv
        self.learning_rate, self.entropy_weight, self.fragments = learning_rate, entropy_weight, fragments
        self._moments = Moments.zeros(0)

    def initialise(self, streams: Streams) -> None:
        """Draw the baseline's first parameters, and the policy's unless it has some already."""
        on_policy.initialise(self.policy, self.baseline, streams)
        self._moments = Moments.zeros(len(self.policy.theta))

    def policies(self) -> Mapping[str, Policy]:
        """The one policy."""
        return {"policy": self.policy}

    def epoch(self, collect: Collect, streams: Streams) -> Metrics:  # noqa: ARG002 - VPG itself draws nothing
        """One epoch, as in the pseudo-code above."""
        batch = collect(self.policy, fragments=self.fragments)
        v_t, v_last = returns.values(batch, self.baseline.predict)
        advantages = returns.advantages(
            batch, v_t, v_last, discount=self.discount, gae_lambda=self.gae_lambda, centre=self.center_adv
        )
        metrics = self._improve(batch, advantages)
        g_t = returns.discounted_sums(batch.rewards, batch.lengths, self.discount, v_last)
        return metrics | on_policy.fitted(self.baseline, batch, g_t)

    def state_dict(self) -> State:
        """The policy's, the baseline's and Adam's."""
        return on_policy.state_of(self.policy, self.baseline) | {"optimizer": self._moments.state_dict()}

    def load_state_dict(self, state: State) -> None:
        """Take all three back."""
        on_policy.load_state(self.policy, self.baseline, state, "VPG")
        self._moments = Moments.of_state(take(state, "optimizer", "VPG"), len(self.policy.theta), "VPG/optimizer")

    def _improve(self, batch: EpisodeBatch, advantages: Array) -> Metrics:
        logger.info("Optimizing policy...")
        objective = self.policy.objective(batch)
        before = objective.evaluate(objective.theta)

        def loss_at(evaluation: Evaluation) -> tuple[float, Array]:
            """The loss of any parameters, and the weights of their descent direction."""
            value, weights = losses.policy_gradient(evaluation.log_likelihoods, advantages)
            return value - self.entropy_weight * evaluation.entropy, weights

        loss_before, weights = loss_at(before)
        descent = objective.to_array(objective.score(objective.theta, weights, self.entropy_weight))
        if np.isfinite(descent).all():
            adam = Adam(self.learning_rate)
            self.policy.theta, self._moments = adam.step(self.policy.theta, -descent, self._moments)
        else:
            logger.warning("VPG took no step: the gradient is not finite; the old parameters are kept")
        after = objective.evaluate(self.policy.theta)
        return on_policy.step_rows(self.policy, before, loss_before, after, loss_at(after)[0])
