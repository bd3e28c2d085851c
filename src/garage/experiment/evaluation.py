"""How well a policy acts: whole episodes for that alone, of which training knows nothing.

They have streams and lanes of their own, and leave the process's generators and the world's state as they were; so a
run comes to the same numbers whether or not it is evaluated.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from garage import process
from garage.core.greedy_policy import GreedyPolicy
from garage.core.ports import Env, Group, Policy, Stateful
from garage.core.state import copied
from garage.core.streams import Streams
from garage.core.types import Array, End, EpisodeBatch, Metrics
from garage.errors import ArgumentError
from garage.experiment.arguments import TrainArgs
from garage.experiment.run_state import Run
from garage.sampler.local import LocalSampler
from garage.storage.retention import AFTER_ITS_EPOCH

_PURPOSE = "evaluation"
_ROWS = ("NumEpisodes", "AverageReturn", "StdReturn", "MaxReturn", "MinReturn", "AverageLength", "TerminationRate")
EVALUATED = tuple(f"{AFTER_ITS_EPOCH}{row}" for row in _ROWS)
"""The metrics that an epoch has besides when its policy was evaluated."""
N_EPISODES = EVALUATED[0]


def check_evaluable(env: Env, args: TrainArgs) -> None:
    """Make sure that a world can have lanes besides those of training, if evaluation is asked for.

    Raises:
        ArgumentError: it cannot.
    """
    if args.eval_every and env.lane_width == 1:
        msg = (
            f"eval_every={args.eval_every} needs lanes besides those of training, and {env} cannot be copied. "
            "Pass GymEnv an id, or a callable that makes the environment; or leave eval_every out."
        )
        raise ArgumentError(msg)


@dataclass(frozen=True)
class Episodes:
    """Episodes that were played to their ends.

    Attributes:
        returns: ``[E]`` float64, undiscounted.
        lengths: ``[E]`` int64, steps.
        terminated: ``[E]`` bool: whether the world ended, and not a time limit.
    """

    returns: Array
    lengths: Array
    terminated: Array

    @classmethod
    def of(cls, batch: EpisodeBatch) -> Self:
        """Those of a batch of whole episodes."""
        return cls(np.add.reduceat(batch.rewards, batch.starts), batch.lengths, batch.ends == End.TERMINATED)


class Evaluator:
    """Plays episodes in one world, on lanes of its own that are kept from call to call.

    Args:
        env: the world.
    """

    def __init__(self, env: Env) -> None:
        self._env, self._sampler = env, LocalSampler()

    def play(self, policy: Policy, streams: Streams, n_episodes: int, *, epoch: int = 0) -> Episodes:
        """Play whole episodes; a function of these arguments.

        Args:
            policy: who acts; in a `GreedyPolicy`, its actions are not drawn.
            streams: of all randomness.
            n_episodes: how many, at least 1.
            epoch: other episodes for each.

        Raises:
            WorldError: the world misbehaves.
        """
        n_lanes = min(self._env.lane_width, 1 << (n_episodes.bit_length() - 1))
        group = Group(
            env=self._env,
            policy=policy,
            streams=streams.at("episode", _PURPOSE),
            epoch=epoch,
            call=0,
            index=0,
            n_lanes=n_lanes,
            n_steps=None,
            n_episodes=n_episodes,
            mean_length=0.0,
            fragments=False,
            carried={},
        )
        (result,) = self._sampler.run([group])
        return Episodes.of(result.batch)

    def close(self) -> None:
        """Let go of the lanes."""
        self._sampler.close()


class TrainingEvaluator:
    """Evaluates what a run has learned, greedily, without leaving a trace in it.

    Args:
        run: whose ``"policy"``.
    """

    def __init__(self, run: Run) -> None:
        self._run, self._evaluator = run, Evaluator(run.env)

    def rows(self, epoch: int, n_episodes: int) -> Metrics:
        """What is evaluated after an epoch's update, as metrics."""
        policy = GreedyPolicy(self._run.algo.policies()["policy"])
        with process.keeping_generators(), _as_it_was(self._run.env):
            episodes = self._evaluator.play(policy, Streams(self._run.seed), n_episodes, epoch=epoch)
        returns = episodes.returns
        values = (
            len(returns),
            float(returns.mean()),
            float(returns.std()),
            float(returns.max()),
            float(returns.min()),
            float(episodes.lengths.mean()),
            float(episodes.terminated.mean()),
        )
        return dict(zip(EVALUATED, values, strict=True))

    def close(self) -> None:
        """Let go of the lanes."""
        self._evaluator.close()


@contextlib.contextmanager
def _as_it_was(env: Env) -> Iterator[None]:
    """Put the state of a world back that has one of its own."""
    if not isinstance(env, Stateful):
        yield
        return
    state = copied(env.state_dict())
    try:
        yield
    finally:
        env.load_state_dict(state)
