"""How an algorithm gets its data, and what is counted on the way: `Collect`, ``Evaluation/*``, ``TotalEnvSteps``."""

import logging
from collections import Counter
from typing import Any

import numpy as np

from garage.core import options
from garage.core.ports import Env, Group, Policy, Sampler
from garage.core.returns import discounted_sums
from garage.core.state import take_as
from garage.core.streams import Streams
from garage.core.types import Array, End, EpisodeBatch, Metrics, State
from garage.errors import ArgumentError, MismatchError
from garage.experiment.cut_episodes import CutEpisodes

logger = logging.getLogger(__name__)

_RECENT_EPISODES = 100
_ASSUMED_EPISODE_LENGTH = 1000
_ROWS_PER_LANE = 32
_MOST_GROUPS = 16


class Collector:
    """Answers ``collect`` for the algorithm of one run.

    Args:
        env: the experiment's world.
        sampler: who runs the groups.
        discount: of ``Evaluation/AverageDiscountedReturn``.
        n_lanes: width of a group, or None to choose it at the first epoch.
        n_groups: units of work of a collect, or None to choose their number at the first epoch.
    """

    def __init__(
        self, env: Env, sampler: Sampler, discount: float, *, n_lanes: int | None, n_groups: int | None
    ) -> None:
        options.check("setup", n_lanes=(n_lanes, options.COUNT_OR_NONE), n_groups=(n_groups, options.COUNT_OR_NONE))
        if n_lanes is not None and env.lane_width == 1 and n_lanes > 1:
            msg = f"n_lanes={n_lanes}, but {env} cannot be copied, so it has one lane. Leave n_lanes out."
            raise ArgumentError(msg)
        self._env, self._sampler, self._discount = env, sampler, discount
        self._n_lanes, self._n_groups = options.plain(n_lanes), options.plain(n_groups)
        self._mean_lengths: dict[str, float] = {}
        self._cut = CutEpisodes(discount)
        self._rung_is_said = False
        self.total_env_steps = self._total_episodes = 0
        self._recent_returns = np.zeros(0)
        self._streams: Streams | None = None
        self._epoch = -1
        self._batch_size = 0
        self._begin()

    def begin_epoch(self, epoch: int, streams: Streams, batch_size: int) -> None:
        """Start counting an epoch.

        Args:
            epoch: its number.
            streams: those of the run.
            batch_size: steps of a collect that names no size.
        """
        self._epoch, self._streams, self._batch_size = epoch, streams, batch_size
        self._choose_shapes(batch_size)
        self._begin()

    def __call__(  # noqa: PLR0913 - the port's
        self,
        policy: Policy,
        *,
        n_steps: int | None = None,
        n_episodes: int | None = None,
        env: Env | None = None,
        fragments: bool = False,
        purpose: str = "train",
    ) -> EpisodeBatch:
        """See `Collect`.

        Raises:
            ArgumentError: the size is not positive, or given twice; or fragments are asked for by the episode, or in
                another world than the experiment's.
        """
        quota = _quota(n_steps, n_episodes, self._batch_size)
        if fragments and (env is not None or n_episodes is not None):
            msg = (
                "collect(fragments=True) takes no env and no n_episodes: fragments are counted in steps, and go on in "
                "the experiment's own world. Leave them out, or collect whole episodes."
            )
            raise ArgumentError(msg)
        call = self._calls[purpose]
        self._calls[purpose] += 1
        groups = self._groups(policy, env or self._env, purpose, call, quota, fragments=fragments)
        results = self._sampler.run(groups)
        for result in results:
            self._seconds.update(result.seconds)
        batch = EpisodeBatch.concatenate([result.batch for result in results])
        lengths = (batch.first_steps + batch.lengths)[batch.episode_ended]
        self._lengths.setdefault(purpose, []).extend(lengths.tolist())
        if fragments or purpose == "train":
            sums = np.add.reduceat(batch.rewards, batch.starts)
            discounted = discounted_sums(batch.rewards, batch.lengths, self._discount)[batch.starts]
            if fragments:
                self._cut.go_on(groups, results, sums, discounted)
            if purpose == "train":
                logger.info("Logging diagnostics...")
                self._count(batch, sums, discounted)
        return batch

    def end_epoch(self) -> None:
        """Take the epoch's mean episode lengths for the next one's start rule."""
        known = {purpose: float(np.mean(lengths)) for purpose, lengths in self._lengths.items() if lengths}
        self._mean_lengths |= known

    def metrics(self) -> Metrics:
        """``Evaluation/*``, ``Extras/*``, ``TotalEnvSteps`` and the seconds of this epoch's sampling."""
        returns = np.array(self._returns)
        n = len(returns)
        nan = float("nan")
        recent = self._recent_returns
        return {
            "Evaluation/Iteration": self._epoch,
            "Evaluation/NumEpisodes": n,
            "Evaluation/AverageReturn": float(returns.mean()) if n else nan,
            "Evaluation/StdReturn": float(returns.std()) if n else nan,
            "Evaluation/MaxReturn": float(returns.max()) if n else nan,
            "Evaluation/MinReturn": float(returns.min()) if n else nan,
            "Evaluation/AverageDiscountedReturn": float(np.mean(self._discounted)) if n else nan,
            "Evaluation/TerminationRate": self._n_terminated / n if n else nan,
            "Extras/EpisodeRewardMean": float(recent.mean()) if len(recent) else nan,
            "TotalEnvSteps": self.total_env_steps,
            "EnvExecTime": self._seconds["env"],
            "PolicyExecTime": self._seconds["policy"],
            "ProcessExecTime": self._seconds["process"],
        }

    @property
    def last_batch(self) -> EpisodeBatch | None:
        """All that was collected for training in the epoch."""
        return EpisodeBatch.concatenate(self._batches) if self._batches else None

    def sampler_state(self) -> State:
        """Shapes, mean episode lengths and lanes in flight."""
        if self._cut.rung is not None and not self._rung_is_said:
            self._rung_is_said = True
            logger.info("Episodes are cut between epochs; in another process they go on by %s", self._cut.rung)
        return {
            "n_lanes": self._n_lanes,
            "n_groups": self._n_groups,
            "mean_lengths": dict(self._mean_lengths),
            "carried": self._cut.state_dict(),
        }

    def counters_state(self) -> State:
        """What has been counted since the run began."""
        return {
            "total_env_steps": self.total_env_steps,
            "total_episodes": self._total_episodes,
            "recent_returns": self._recent_returns,
        }

    def load_state(self, sampler: dict[str, Any], counters: dict[str, Any]) -> None:
        """Take both back.

        Raises:
            MismatchError: a part is missing, or of another kind.
            ArgumentError: lanes or groups were asked for that are not the snapshot's.
        """
        for name, asked in (("n_lanes", self._n_lanes), ("n_groups", self._n_groups)):
            saved = take_as(sampler, name, "the sampler", int, type(None))
            if saved is not None and saved < 1:
                msg = f"Cannot load the state of the sampler: `{name}` is {saved}, expected at least 1."
                raise MismatchError(msg)
            if asked is not None and saved is not None and asked != saved:
                msg = (
                    f"{name}={asked}, but the snapshot was made with {saved}, which decides its numbers. Leave it out."
                )
                raise ArgumentError(msg)
            if saved is not None:
                setattr(self, f"_{name}", saved)
        lengths = take_as(sampler, "mean_lengths", "the sampler", dict)
        self._mean_lengths = {purpose: take_as(lengths, purpose, "the mean lengths", float) for purpose in lengths}
        self._cut.load_state_dict(take_as(sampler, "carried", "the sampler", dict))
        self.total_env_steps = take_as(counters, "total_env_steps", "the counters", int)
        self._total_episodes = take_as(counters, "total_episodes", "the counters", int)
        returns = take_as(counters, "recent_returns", "the counters", np.ndarray)
        if returns.ndim != 1 or returns.dtype != np.float64:
            msg = (
                f"Cannot load the state of the counters: `recent_returns` is {returns.dtype}{list(returns.shape)}, "
                "expected float64 with one axis."
            )
            raise MismatchError(msg)
        self._recent_returns = returns

    def close(self) -> None:
        """Let go of lanes."""
        self._sampler.close()

    def _begin(self) -> None:
        self._calls: Counter[str] = Counter()
        self._seconds: Counter[str] = Counter()
        self._lengths: dict[str, list[int]] = {}
        self._returns: list[float] = []
        self._discounted: list[float] = []
        self._batches: list[EpisodeBatch] = []
        self._n_terminated = 0

    def _choose_shapes(self, batch_size: int) -> None:
        """Once, from world and batch size alone, so that they are the same on every machine.

        Lanes: the world's width, or less for a small batch, in powers of two. Groups: as many as the batch holds
        whole episodes for every lane; more would collect too much, for each may overshoot by an episode.
        """
        if self._n_lanes is None:
            fitting = max(1, batch_size // _ROWS_PER_LANE)
            self._n_lanes = min(self._env.lane_width, 1 << (fitting.bit_length() - 1))
        if self._n_groups is None:
            longest = self._env.spec.max_episode_length or _ASSUMED_EPISODE_LENGTH
            n_groups = batch_size // (self._n_lanes * longest) if self._env.lane_width > 1 else 1
            self._n_groups = max(1, min(_MOST_GROUPS, n_groups))

    def _groups(  # noqa: PLR0913 - what a collect says
        self,
        policy: Policy,
        env: Env,
        purpose: str,
        call: int,
        quota: tuple[int | None, int | None],
        *,
        fragments: bool,
    ) -> list[Group]:
        if self._streams is None or self._n_groups is None or self._n_lanes is None:
            msg = "collect belongs to an epoch: it is called by algo.epoch(collect, streams), during trainer.train."
            raise ArgumentError(msg)
        n_lanes = min(self._n_lanes, env.lane_width)
        steps, episodes = (_shares(total, self._n_groups) for total in quota)
        return [
            Group(
                env=env,
                policy=policy,
                streams=self._streams.at("episode", purpose),
                epoch=self._epoch,
                call=call,
                index=index,
                n_lanes=n_lanes,
                n_steps=steps[index],
                n_episodes=episodes[index],
                mean_length=self._mean_lengths.get(purpose, 0.0),
                fragments=fragments,
                carried=self._cut.lanes(purpose, index) if fragments else {},
            )
            for index in range(self._n_groups)
            if steps[index] or episodes[index]
        ]

    def _count(self, batch: EpisodeBatch, sums: Array, discounted: Array) -> None:
        """Count the steps of a batch, and the returns ``[E]`` of those of its episodes that ended."""
        self._batches.append(batch)
        returns = sums[batch.episode_ended]
        self._returns.extend(returns.tolist())
        self._discounted.extend(discounted[batch.episode_ended].tolist())
        self._n_terminated += int((batch.ends == End.TERMINATED).sum())
        self.total_env_steps += batch.n_steps
        self._total_episodes += len(returns)
        self._recent_returns = np.concatenate([self._recent_returns, returns])[-_RECENT_EPISODES:]


def _quota(n_steps: int | None, n_episodes: int | None, batch_size: int) -> tuple[int | None, int | None]:
    if n_steps is not None and n_episodes is not None:
        msg = f"collect takes n_steps or n_episodes, got both: {n_steps} and {n_episodes}."
        raise ArgumentError(msg)
    for name, value in (("n_steps", n_steps), ("n_episodes", n_episodes)):
        if value is not None and value < 1:
            msg = f"collect's {name} must be at least 1, got {value}."
            raise ArgumentError(msg)
    if n_episodes is not None:
        return None, n_episodes
    return batch_size if n_steps is None else n_steps, None


def _shares(total: int | None, n: int) -> list[int | None]:
    """A total in n parts as equal as can be."""
    if total is None:
        return [None] * n
    return [total // n + (index < total % n) for index in range(n)]
