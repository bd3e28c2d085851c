"""Proximal policy optimization.

Schulman, Wolski, Dhariwal, Radford and Klimov 2017, "Proximal policy optimization algorithms"; advantages by Schulman
et al. 2016, "High-dimensional continuous control using generalized advantage estimation".

One epoch::

    collect about batch_size steps with the policy pi                            (2017, algorithm 1)
    A_t <- generalised advantage estimates from the baseline                     (2017, equations 11 and 12)
    repeat n_passes times, for each of the minibatches that a permutation of all steps is divided into:
        r_t <- pi_theta(a|s) / pi(a|s)
        L(theta) <- -mean[ min(r_t A_t, clip(r_t, 1 - eps, 1 + eps) A_t) ]       (2017, equation 7)
                    - c mean entropy                                             (2017, equation 9)
        theta <- theta - Adam's step along dL/dtheta, shortened to max_gradient_norm
    stop after the first pass at whose end KL > target_kl
    fit the baseline to V(s_t) + A_t

Deviations from the paper: the value function is a component of its own, with no parameters in the policy, and fitted
once an epoch; so equation 9's value loss is its. Gradients are shortened, and ``target_kl`` and ``decay_epochs``
follow public implementations. Where a time limit cuts an episode the return is bootstrapped from the baseline.
"""

import enum
import logging
import math
from collections.abc import Mapping

import numpy as np

from garage.algos import on_policy
from garage.core import losses, options, returns
from garage.core.adam import Adam, Moments, shortened
from garage.core.ports import Baseline, Collect, DifferentiablePolicy, Env, Evaluation, Policy
from garage.core.recipe import Component
from garage.core.spaces import check_fit
from garage.core.state import take, take_as
from garage.core.streams import Streams, uniforms
from garage.core.types import Array, EpisodeBatch, Metrics, State
from garage.errors import ArgumentError, MismatchError

logger = logging.getLogger(__name__)


class Outcome(enum.Enum):
    """Why an epoch's passes ended; the value is the message."""

    FINISHED = "all passes were made"
    FAR_ENOUGH = "the KL divergence exceeds target_kl; no further pass is made"
    NOT_FINITE = "a gradient is not finite; the parameters before it are kept"
    DECAYED = "learning rate and clip range are 0, decay_epochs after the beginning; the old parameters are kept"


class PPO(Component):
    """Proximal policy optimization with clipped ratios.

    Args:
        env: the world to learn; the policy must have been built for its spaces.
        policy: what learns; it must have no memory, for minibatches are of single steps.
        baseline: the value function; it predicts returns, to lower the variance of the gradient.
        discount: gamma, in [0, 1].
        gae_lambda: lambda of the advantage estimates and of the baseline's targets, in [0, 1].
        center_adv: whether advantages are centred and scaled to unit variance, over the whole batch.
        learning_rate: Adam's, about how far a parameter moves in one minibatch.
        clip_range: eps: how far a ratio of likelihoods may be from 1 and still be encouraged to go on.
        n_passes: how often each step of a batch is learned from.
        minibatch_size: steps a gradient at most; a batch is divided evenly into as few minibatches as that allows.
        entropy_weight: weight of the mean entropy in the loss, per nat.
        max_gradient_norm: gradients are shortened to it; infinity leaves them.
        target_kl: no pass is begun at a larger mean KL divergence from the policy that acted, nats.
        decay_epochs: learning rate and clip range fall in a line, to 0 after so many epochs; None: they stay.
        fragments: whether batches may begin and end in the middle of episodes, instead of having whole ones.

    Raises:
        ArgumentError: an option is out of range, or would be ignored.
        MismatchError: the policy was built for other spaces than the environment's, or has a memory.
    """

    def __init__(  # noqa: PLR0913 - the options of the field, keyword-only
        self,
        *,
        env: Env,
        policy: DifferentiablePolicy,
        baseline: Baseline,
        discount: float = 0.99,
        gae_lambda: float = 0.95,
        center_adv: bool = True,
        learning_rate: float = 3e-4,
        clip_range: float = 0.2,
        n_passes: int = 10,
        minibatch_size: int = 64,
        entropy_weight: float = 0.0,
        max_gradient_norm: float = 0.5,
        target_kl: float = math.inf,
        decay_epochs: int | None = None,
        fragments: bool = False,
    ) -> None:
        options.check(
            "PPO",
            discount=(discount, options.FRACTION),
            gae_lambda=(gae_lambda, options.FRACTION),
            center_adv=(center_adv, options.SWITCH),
            learning_rate=(learning_rate, options.POSITIVE),
            clip_range=(clip_range, options.POSITIVE),
            n_passes=(n_passes, options.COUNT),
            minibatch_size=(minibatch_size, options.COUNT),
            entropy_weight=(entropy_weight, options.NOT_NEGATIVE),
            max_gradient_norm=(max_gradient_norm, options.POSITIVE_OR_INFINITE),
            target_kl=(target_kl, options.POSITIVE_OR_INFINITE),
            decay_epochs=(decay_epochs, options.COUNT_OR_NONE),
            fragments=(fragments, options.SWITCH),
        )
        if n_passes == 1 and target_kl < math.inf:
            msg = (
                f"PPO's target_kl={target_kl} would be ignored: it ends passes, and n_passes=1. Leave one of them out."
            )
            raise ArgumentError(msg)
        check_fit(policy, env)
        if policy.initial_memory(1).size:
            msg = (
                f"PPO cannot teach `{policy.name}`, which has a memory of shape {policy.initial_memory(1).shape[1:]}: "
                "its minibatches are of single steps. TRPO, NPG and VPG learn from whole segments."
            )
            raise MismatchError(msg)
        self.policy, self.baseline = policy, baseline
        self.discount, self.gae_lambda, self.center_adv = discount, gae_lambda, center_adv
        self.learning_rate, self.clip_range, self.decay_epochs = learning_rate, clip_range, decay_epochs
        self.n_passes, self.minibatch_size, self.target_kl = n_passes, minibatch_size, target_kl
        self.entropy_weight, self.max_gradient_norm = entropy_weight, max_gradient_norm
        self.fragments = fragments
        self._moments, self._n_epochs = Moments.zeros(0), 0

    def initialise(self, streams: Streams) -> None:
        """Draw the baseline's first parameters, and the policy's unless it has some already."""
        on_policy.initialise(self.policy, self.baseline, streams)
        self._moments, self._n_epochs = Moments.zeros(len(self.policy.theta)), 0

    def policies(self) -> Mapping[str, Policy]:
        """The one policy."""
        return {"policy": self.policy}

    def epoch(self, collect: Collect, streams: Streams) -> Metrics:
        """One epoch, as in the pseudo-code above."""
        batch = collect(self.policy, fragments=self.fragments)
        v_t, v_last = returns.values(batch, self.baseline.predict)
        a_t = returns.advantages(batch, v_t, v_last, discount=self.discount, gae_lambda=self.gae_lambda, centre=False)
        metrics = self._improve(batch, returns.centred(a_t) if self.center_adv else a_t, streams)
        self._n_epochs += 1
        return metrics | on_policy.fitted(self.baseline, batch, v_t + a_t)

    def state_dict(self) -> State:
        """The policy's, the baseline's and Adam's, and the number of epochs."""
        learned = on_policy.state_of(self.policy, self.baseline)
        return learned | {"optimizer": self._moments.state_dict(), "n_epochs": self._n_epochs}

    def load_state_dict(self, state: State) -> None:
        """Take everything back."""
        n_epochs = take_as(state, "n_epochs", "PPO", int)
        if n_epochs < 0:
            msg = f"Cannot load the state of PPO: `n_epochs` is {n_epochs}, expected at least 0."
            raise MismatchError(msg)
        on_policy.load_state(self.policy, self.baseline, state, "PPO")
        self._moments = Moments.of_state(take(state, "optimizer", "PPO"), len(self.policy.theta), "PPO/optimizer")
        self._n_epochs = n_epochs

    def _improve(self, batch: EpisodeBatch, a_t: Array, streams: Streams) -> Metrics:
        logger.info("Optimizing policy...")
        left = 1.0 if self.decay_epochs is None else max(0.0, 1.0 - self._n_epochs / self.decay_epochs)
        learning_rate, clip_range = left * self.learning_rate, left * self.clip_range
        whole = self.policy.objective(batch)
        before = whole.evaluate(whole.theta)

        def loss_at(evaluation: Evaluation) -> float:
            surrogate = losses.clipped_surrogate(evaluation.log_likelihoods, before.log_likelihoods, a_t, clip_range)
            return surrogate.value - self.entropy_weight * evaluation.entropy

        theta, moments = self.policy.theta, self._moments
        outcome, n_passes, norms = Outcome.FINISHED if left else Outcome.DECAYED, 0, []
        while outcome is Outcome.FINISHED and n_passes < self.n_passes:
            for rows in _minibatches(streams.generator("minibatches", n_passes), batch.n_steps, self.minibatch_size):
                ascent = self._ascent(theta, batch.rows(rows), before.log_likelihoods[rows], a_t[rows], clip_range)
                gradient, norm = shortened(-ascent, self.max_gradient_norm)
                norms.append(norm)
                if not math.isfinite(norm):
                    outcome = Outcome.NOT_FINITE
                    break
                theta, moments = Adam(learning_rate).step(theta, gradient, moments)
            else:
                n_passes += 1
                if n_passes < self.n_passes and self.target_kl < math.inf and whole.evaluate(theta).kl > self.target_kl:
                    outcome = Outcome.FAR_ENOUGH
        level = logging.INFO if outcome in {Outcome.FINISHED, Outcome.FAR_ENOUGH} else logging.WARNING
        logger.log(level, "PPO made %d of %d passes: %s", n_passes, self.n_passes, outcome.value)
        self.policy.theta, self._moments = theta, moments
        after = whole.evaluate(self.policy.theta)
        shares = losses.clipped_share(after.log_likelihoods, before.log_likelihoods, clip_range)
        return on_policy.step_rows(self.policy, before, loss_at(before), after, loss_at(after)) | on_policy.prefixed(
            self.policy.name,
            {
                "ClipFraction": shares,
                "GradientNorm": float(np.mean(norms)) if norms else math.nan,
                "LearningRate": learning_rate,
                "NumPasses": n_passes,
            },
        )

    def _ascent(self, theta: Array, minibatch: EpisodeBatch, old: Array, a_t: Array, clip_range: float) -> Array:
        """The negative gradient of the loss at theta, over a minibatch."""
        objective = self.policy.at(theta).objective(minibatch)
        now = objective.evaluate(objective.theta)
        weights = losses.clipped_surrogate(now.log_likelihoods, old, a_t, clip_range).weights
        return objective.to_array(objective.score(objective.theta, weights, self.entropy_weight))


def _minibatches(generator: np.random.Generator, n: int, minibatch_size: int) -> list[Array]:
    """All n rows, in an order that is drawn."""
    order = np.argsort(uniforms(generator, n), kind="stable")
    return np.array_split(order, math.ceil(n / minibatch_size))
