"""Any algorithm, on normalised observations and scaled rewards.

The rule for rewards is that of Engstrom et al. 2020, "Implementation matters in deep policy gradients", section 3
("reward scaling"): they are divided by the standard deviation of the discounted return so far.

One epoch::

    freeze mean m and variance v of all observations so far
    the algorithm's own epoch, in which
        its policies see  clip((o - m) / sqrt(v + 1e-8), -c, c)
        what it collects  holds what they saw, and rewards  clip(r_t / sqrt(var R + 1e-8), -c, c)
        where  R_t = discount R_tm1 + r_t,  and var R is over all training steps so far, these included
    add the epoch's observations to m and v

The statistics are part of the state, and are learned from what is collected for training alone.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from gymnasium import spaces

from garage.core import options
from garage.core.normalising_policy import EPSILON, NormalisingPolicy, normalise
from garage.core.ports import Algorithm, Collect, Env, Policy
from garage.core.recipe import Component
from garage.core.returns import discounted_sums
from garage.core.state import take, take_array
from garage.core.statistics import Statistics
from garage.core.streams import Streams
from garage.core.types import Array, EpisodeBatch, Metrics, State
from garage.errors import ArgumentError, MismatchError

_OWNER = "Normalised"


class Normalised(Component):
    """Normalises for an algorithm; see above.

    The trainer counts what the world gave, so that ``Evaluation/*`` stays as it was. A batch for any purpose is
    normalised alike.

    Args:
        algo: who learns.
        observations: whether observations are normalised; they have to be a Box of floats.
        rewards: whether rewards are scaled.
        clip: c above, in standard deviations; ``math.inf`` clips nothing.

    Raises:
        ArgumentError: an option is out of range, or there is nothing to normalise.
        MismatchError: the observations are no Box of floats.
    """

    def __init__(self, algo: Algorithm, *, observations: bool = True, rewards: bool = True, clip: float = 10.0) -> None:
        options.check(
            _OWNER,
            observations=(observations, options.SWITCH),
            rewards=(rewards, options.SWITCH),
            clip=(clip, options.POSITIVE_OR_INFINITE),
        )
        if not observations and not rewards:
            msg = f"Normalised(observations=False, rewards=False) would do nothing. Use {type(algo).__name__} itself."
            raise ArgumentError(msg)
        self.algo, self.observations, self.rewards, self.clip = algo, observations, rewards, float(clip)
        spaces_ = [policy.spec.observation_space for policy in algo.policies().values()]
        self._shape = _shape_of(spaces_[0]) if observations else ()
        self._observed = Statistics.none(self._shape)
        self._returned = Statistics.none()
        self._running_returns = np.zeros(0)

    @property
    def discount(self) -> float:
        """The algorithm's."""
        return self.algo.discount

    def initialise(self, streams: Streams) -> None:
        """The algorithm's."""
        self.algo.initialise(streams)

    def policies(self) -> Mapping[str, Policy]:
        """The algorithm's, each normalising what it sees."""
        return {name: self._normalising(policy) for name, policy in self.algo.policies().items()}

    def epoch(self, collect: Collect, streams: Streams) -> Metrics:
        """One epoch, as in the pseudo-code above."""
        observed = self._observed  # grows with each batch, while the policies see by the frozen one

        def normalised(  # noqa: PLR0913 - the port's
            policy: Policy,
            *,
            n_steps: int | None = None,
            n_episodes: int | None = None,
            env: Env | None = None,
            fragments: bool = False,
            purpose: str = "train",
        ) -> EpisodeBatch:
            nonlocal observed
            batch = collect(
                self._normalising(policy),
                n_steps=n_steps,
                n_episodes=n_episodes,
                env=env,
                fragments=fragments,
                purpose=purpose,
            )
            if purpose == "train":
                observed = observed.with_rows(batch.observations) if self.observations else observed
                self._learn_returns(batch, fragments=fragments)
            return self._normalised(batch)

        metrics = self.algo.epoch(normalised, streams)
        self._observed = observed
        return metrics | ({f"{_OWNER}/ReturnStd": float(np.sqrt(self._returned.variance))} if self.rewards else {})

    def state_dict(self) -> State:
        """The algorithm's, the statistics, and what cut episodes have returned so far, ``[k]``."""
        state: State = {"algo": self.algo.state_dict()}
        if self.observations:
            state["observations"] = self._observed.state_dict()
        if self.rewards:
            state["returns"] = self._returned.state_dict()
            state["running_returns"] = self._running_returns
        return state

    def load_state_dict(self, state: State) -> None:
        """Take them back."""
        self.algo.load_state_dict(take(state, "algo", _OWNER))
        if self.observations:
            saved = take(state, "observations", _OWNER)
            self._observed = Statistics.from_state(saved, f"{_OWNER}'s observations", self._shape)
        if self.rewards:
            self._returned = Statistics.from_state(take(state, "returns", _OWNER), f"{_OWNER}'s returns", ())
            k = np.size(take(state, "running_returns", _OWNER))
            self._running_returns = take_array(state, "running_returns", _OWNER, np.float64, (k,))

    def _normalising(self, policy: Policy) -> Policy:
        if not self.observations:
            return policy
        return NormalisingPolicy(policy, self._observed.mean, self._observed.variance, self.clip)

    def _normalised(self, batch: EpisodeBatch) -> EpisodeBatch:
        if self.observations:
            of = (self._observed.mean, self._observed.variance, self.clip)
            batch = replace(
                batch,
                observations=normalise(batch.observations, *of),
                last_observations=normalise(batch.last_observations, *of),
            )
        if self.rewards:
            scaled = batch.rewards / np.sqrt(self._returned.variance + EPSILON)
            batch = replace(batch, rewards=np.clip(scaled, -self.clip, self.clip))
        return batch

    def _learn_returns(self, batch: EpisodeBatch, *, fragments: bool) -> None:
        """Add R_t of each step; fragments go on from what their episodes had returned when they were cut."""
        if not self.rewards:
            return
        before = np.zeros(batch.n_segments)
        if fragments:
            goes_on = batch.first_steps > 0
            if np.count_nonzero(goes_on) != len(self._running_returns):
                msg = (
                    f"Cannot normalise: {len(self._running_returns)} episodes were cut before, and "
                    f"{np.count_nonzero(goes_on)} segments go on with one. Collect all of an algorithm's fragments "
                    "through the collect that its epoch is given."
                )
                raise MismatchError(msg)
            before[goes_on] = self._running_returns
        r_t = _sums_so_far(batch.rewards, batch.lengths, self.discount, before)
        if fragments:
            self._running_returns = r_t[batch.starts + batch.lengths - 1][~batch.episode_ended]
        self._returned = self._returned.with_rows(r_t)


def _sums_so_far(rewards: Array, lengths: Array, discount: float, before: Array) -> Array:
    """``R_t = discount R_tm1 + r_t`` within each segment, ``[N]``; ``before`` ``[E]`` is what R was before it."""
    return discounted_sums(rewards[::-1], lengths[::-1], discount, before[::-1])[::-1]


def _shape_of(space: "spaces.Space[object]") -> tuple[int, ...]:
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return space.shape
    msg = (
        f"Observations of {space} cannot be normalised: expected a Box of floats. Pass observations=False to scale "
        "rewards alone."
    )
    raise MismatchError(msg)
