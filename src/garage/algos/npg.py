"""Natural policy gradient.

Kakade 2001, "A natural policy gradient"; the length of a step as in Rajeswaran, Lowrey, Todorov and Kakade 2017,
"Towards generalization and simplicity in continuous control"; advantages by Schulman et al. 2016, "High-dimensional
continuous control using generalized advantage estimation".

One epoch::

    collect about batch_size steps with the policy pi
    A_t <- generalised advantage estimates from the baseline            (2016, equation 16)
    g <- d/dtheta mean[ log pi(a|s) A_t ] + c mean entropy              (2001, equation 1)
    x <- solve (F + damping I) x = g by conjugate gradient              (2001, equations 2 and 3)
    theta <- theta + sqrt(2 kl_step / x (F + damping I) x) x
    fit the baseline to the discounted returns

Deviations from the papers: generalised advantages instead of Q-values, conjugate gradient with damping instead of an
inverse, and where a time limit cuts an episode the return is bootstrapped from the baseline.
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


class NPG(Component):
    """Natural policy gradient: one step an epoch, as long as a given KL divergence, and no search.

    Args:
        env: the world to learn; the policy must have been built for its spaces.
        policy: what learns.
        baseline: predicts returns, to lower the variance of the gradient.
        discount: gamma, in [0, 1].
        gae_lambda: lambda of the advantage estimates, in [0, 1].
        center_adv: whether advantages are centred and scaled to unit variance.
        kl_step: length of a step: its mean KL divergence to second order, nats. The divergence itself may be larger.
        entropy_weight: weight of the mean entropy in the loss, per nat.
        cg_iterations: conjugate-gradient iterations, at most.
        damping: added to the Fisher information's diagonal; 1e-5 leaves the step ill-conditioned.
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
        kl_step: float = 0.01,
        entropy_weight: float = 0.0,
        cg_iterations: int = 10,
        damping: float = 0.1,
        fragments: bool = False,
    ) -> None:
        options.check(
            "NPG",
            discount=(discount, options.FRACTION),
            gae_lambda=(gae_lambda, options.FRACTION),
            center_adv=(center_adv, options.SWITCH),
            kl_step=(kl_step, options.POSITIVE),
            entropy_weight=(entropy_weight, options.NOT_NEGATIVE),
            cg_iterations=(cg_iterations, options.COUNT),
            damping=(damping, options.NOT_NEGATIVE),
            fragments=(fragments, options.SWITCH),
        )
        check_fit(policy, env)
        self.policy, self.baseline = policy, baseline
        self.discount, self.gae_lambda, self.center_adv = discount, gae_lambda, center_adv
        self.kl_step, self.entropy_weight = kl_step, entropy_weight
        self.cg_iterations, self.damping, self.fragments = cg_iterations, damping, fragments

    def initialise(self, streams: Streams) -> None:
        """Draw the baseline's first parameters, and the policy's unless it has some already."""
        on_policy.initialise(self.policy, self.baseline, streams)

    def policies(self) -> Mapping[str, Policy]:
        """The one policy."""
        return {"policy": self.policy}

    def epoch(self, collect: Collect, streams: Streams) -> Metrics:  # noqa: ARG002 - NPG itself draws nothing
        """One epoch, as in the pseudo-code above."""
        batch = collect(self.policy, fragments=self.fragments)
        v_t, v_last = returns.values(batch, self.baseline.predict)
        advantages = returns.advantages(
            batch, v_t, v_last, discount=self.discount, gae_lambda=self.gae_lambda, centre=self.center_adv
        )
        metrics = self._improve(self.policy.objective(batch), advantages)
        g_t = returns.discounted_sums(batch.rewards, batch.lengths, self.discount, v_last)
        return metrics | on_policy.fitted(self.baseline, batch, g_t)

    def state_dict(self) -> State:
        """The policy's and the baseline's."""
        return on_policy.state_of(self.policy, self.baseline)

    def load_state_dict(self, state: State) -> None:
        """Take both back."""
        on_policy.load_state(self.policy, self.baseline, state, "NPG")

    def _improve(self, objective: Objective[V], advantages: Array) -> Metrics:
        logger.info("Optimizing policy...")
        theta = objective.theta
        before = objective.evaluate(theta)

        def loss_at(evaluation: Evaluation) -> tuple[float, Array]:
            """The loss of any parameters, and the weights of their descent direction."""
            value, weights = losses.policy_gradient(evaluation.log_likelihoods, advantages)
            return value - self.entropy_weight * evaluation.entropy, weights

        loss_before, weights = loss_at(before)
        step = trust_region.natural_step(
            lambda vector: objective.fisher_product(theta, vector),
            objective.score(theta, weights, self.entropy_weight),
            damping=self.damping,
            cg_iterations=self.cg_iterations,
            quadratic_kl=self.kl_step,
        )
        if step is None:
            logger.warning("NPG took no step: %s", trust_region.Outcome.NO_DIRECTION.value)
        else:
            theta = theta + step
            self.policy.theta = objective.to_array(theta)
        after = objective.evaluate(theta)
        return on_policy.step_rows(self.policy, before, loss_before, after, loss_at(after)[0])
