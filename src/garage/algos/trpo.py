"""Trust region policy optimization.

Schulman, Levine, Moritz, Jordan and Abbeel 2015, "Trust region policy optimization"; advantages by
Schulman et al. 2016, "High-dimensional continuous control using generalized advantage estimation".

One epoch::

    collect about batch_size steps with the policy pi
    A_t <- generalised advantage estimates from the baseline            (2016, equation 16)
    L(theta) <- -mean[ pi_theta(a|s) / pi(a|s) A_t ] - c mean entropy   (2015, equation 14)
    x <- solve (F + damping I) x = -dL/dtheta by conjugate gradient     (2015, appendix C)
    step <- sqrt(2 max_kl_step / x (F + damping I) x) x
    theta <- theta + ratio^j step for the least j with L lower and KL <= max_kl_step
    fit the baseline to the discounted returns

Deviations from the paper: generalised advantages instead of Q-values, damping, and where a time limit
cuts an episode the return is bootstrapped from the baseline.
"""

import logging
from collections.abc import Mapping

from garage.algos import on_policy
from garage.core import losses, options, returns, trust_region
from garage.core.ports import Baseline, Collect, DifferentiablePolicy, Env, Evaluation, Objective, Policy
from garage.core.recipe import Component
from garage.core.spaces import check_fit
from garage.core.streams import Streams
from garage.core.trust_region import V
from garage.core.types import Array, Metrics, State

logger = logging.getLogger(__name__)


class TRPO(Component):
    """Trust region policy optimization.

    Args:
        env: the world to learn; the policy must have been built for its spaces.
        policy: what learns.
        baseline: predicts returns, to lower the variance of the gradient.
        discount: gamma, in [0, 1].
        gae_lambda: lambda of the advantage estimates, in [0, 1].
        center_adv: whether advantages are centred and scaled to unit variance.
        max_kl_step: bound on the mean KL divergence of one step, nats.
        entropy_weight: weight of the mean entropy in the loss, per nat.
        cg_iterations: conjugate-gradient iterations, at most.
        damping: added to the Fisher information's diagonal; 1e-5 leaves the step ill-conditioned.
        backtrack_ratio: each trial step is so many times as long as the one before, in (0, 1).
        max_backtracks: how often a step is shortened before the old parameters are kept.
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
        max_kl_step: float = 0.01,
        entropy_weight: float = 0.0,
        cg_iterations: int = 10,
        damping: float = 0.1,
        backtrack_ratio: float = 0.8,
        max_backtracks: int = 15,
        fragments: bool = False,
    ) -> None:
        options.check(
            "TRPO",
            discount=(discount, options.FRACTION),
            gae_lambda=(gae_lambda, options.FRACTION),
            center_adv=(center_adv, options.SWITCH),
            max_kl_step=(max_kl_step, options.POSITIVE),
            entropy_weight=(entropy_weight, options.NOT_NEGATIVE),
            cg_iterations=(cg_iterations, options.COUNT),
            damping=(damping, options.NOT_NEGATIVE),
            backtrack_ratio=(backtrack_ratio, options.INNER_FRACTION),
            max_backtracks=(max_backtracks, options.COUNT_OR_ZERO),
            fragments=(fragments, options.SWITCH),
        )
        check_fit(policy, env)
        self.policy, self.baseline = policy, baseline
        self.discount, self.gae_lambda, self.center_adv = discount, gae_lambda, center_adv
        self.max_kl_step, self.entropy_weight = max_kl_step, entropy_weight
        self.cg_iterations, self.damping = cg_iterations, damping
        self.backtrack_ratio, self.max_backtracks = backtrack_ratio, max_backtracks
        self.fragments = fragments

    def initialise(self, streams: Streams) -> None:
        """Draw the baseline's first parameters, and the policy's unless it has some already."""
        on_policy.initialise(self.policy, self.baseline, streams)

    def policies(self) -> Mapping[str, Policy]:
        """The one policy."""
        return {"policy": self.policy}

    def epoch(self, collect: Collect, streams: Streams) -> Metrics:  # noqa: ARG002 - TRPO itself draws nothing
        """One epoch, as in the pseudo-code above."""
        batch = collect(self.policy, fragments=self.fragments)
        v_t, v_last = returns.values(batch, self.baseline.predict)
        advantages = returns.advantages(
            batch, v_t, v_last, discount=self.discount, gae_lambda=self.gae_lambda, centre=self.center_adv
        )
        metrics = self._improve(self.policy.objective(batch), batch.n_segments, advantages)
        g_t = returns.discounted_sums(batch.rewards, batch.lengths, self.discount, v_last)
        return metrics | on_policy.fitted(self.baseline, batch, g_t)

    def state_dict(self) -> State:
        """The policy's and the baseline's."""
        return on_policy.state_of(self.policy, self.baseline)

    def load_state_dict(self, state: State) -> None:
        """Take both back."""
        on_policy.load_state(self.policy, self.baseline, state, "TRPO")

    def _improve(self, objective: Objective[V], n_inputs: int, advantages: Array) -> Metrics:
        logger.info("Optimizing policy...")
        theta = objective.theta
        before = objective.evaluate(theta)

        def loss_at(evaluation: Evaluation) -> tuple[float, Array]:
            """The loss of any parameters, and the weights of their descent direction."""
            value, weights = losses.surrogate(evaluation.log_likelihoods, before.log_likelihoods, advantages)
            return value - self.entropy_weight * evaluation.entropy, weights

        logger.info("Computing loss before")
        loss_before, weights = loss_at(before)
        logger.info("Computing KL before")
        logger.info("Optimizing")
        logger.info(
            "Start CG optimization: #parameters: %d, #inputs: %d, #subsample_inputs: %d",
            len(theta), n_inputs, n_inputs,
        )  # fmt: skip
        logger.info("computing loss before")
        logger.info("computing gradient")
        descent = objective.score(theta, weights, self.entropy_weight)
        logger.info("gradient computed")
        logger.info("computing descent direction")
        longest = trust_region.natural_step(
            lambda vector: objective.fisher_product(theta, vector),
            descent,
            damping=self.damping,
            cg_iterations=self.cg_iterations,
            quadratic_kl=self.max_kl_step,
        )
        logger.info("descent direction computed")

        def loss_and_kl(candidate: V) -> tuple[float, float]:
            evaluation = objective.evaluate(candidate)
            return loss_at(evaluation)[0], evaluation.kl

        step = trust_region.backtrack(
            theta,
            longest,
            loss_and_kl,
            loss_before=loss_before,
            max_kl=self.max_kl_step,
            backtrack_ratio=self.backtrack_ratio,
            max_backtracks=self.max_backtracks,
        )
        logger.info("backtrack iters: %d", step.n_backtracks)
        if step.outcome is not trust_region.Outcome.ACCEPTED:
            logger.warning("TRPO took no step: %s", step.outcome.value)
        logger.info("optimization finished")
        self.policy.theta = objective.to_array(step.theta)
        logger.info("Computing KL after")
        logger.info("Computing loss after")
        after = objective.evaluate(step.theta)
        return on_policy.step_rows(self.policy, before, loss_before, after, step.loss)
