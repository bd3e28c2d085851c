"""Evaluations have episodes of their own, and leave no trace in what is trained."""

import random
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from experiment.parts import Drawing, Walk, kept, rows, tiny
from experiment.test_rerun import assert_equal
from garage.algos import PPO, TRPO, Normalised
from garage.core.greedy_policy import GreedyPolicy
from garage.core.streams import Streams
from garage.envs import GymEnv
from garage.errors import ArgumentError
from garage.experiment import ExperimentContext, Trainer
from garage.experiment.deterministic import set_seed
from garage.experiment.evaluation import EVALUATED, Evaluator
from garage.process import set_process_seed
from garage.storage.store import SnapshotStore

RETURN = "EvaluationGreedy/AverageReturn"


class Dicing(Walk):
    """Draws from the process's generators, though nothing that it returns depends on them."""

    def step(self, action):
        random.random()
        np.random.random()  # noqa: NPY002 - users' code may use it
        return super().step(action)


class Counting(GymEnv):
    """A world that remembers how many lanes were made of it."""

    n_made = 0

    def make_lanes(self, n):
        self.n_made += 1
        return super().make_lanes(n)

    def state_dict(self):
        return {"n_made": self.n_made}

    def load_state_dict(self, state):
        self.n_made = state["n_made"]


def trained(path, n_epochs=3, *, context=None, batch_size=60, options=None, **parts):
    set_seed(1)
    trainer = Trainer(ExperimentContext(str(path), **(context or {})), **(options or {}))
    if "env" in parts:
        parts["world"] = parts.pop("env")()
    trainer.setup(*tiny(**parts))
    trainer.train(n_epochs=n_epochs, batch_size=batch_size)
    set_process_seed(None)
    return trainer


def reproducible(row):
    """All of a row that is no second, and of no evaluation."""
    return {key: value for key, value in row.items() if not key.endswith("Time") and key not in EVALUATED}


def evaluated(path):
    """What was evaluated, by epoch."""
    return {row["epoch"]: [row[name] for name in EVALUATED] for row in rows(path) if RETURN in row}


PARTS = {
    "whole episodes": {},
    "fragments": {"kind": PPO, "fragments": True},
    "fragments of a gymnasium world": {"world": Walk, "kind": PPO, "fragments": True},
    "normalised": {"kind": lambda **parts: Normalised(TRPO(**parts))},
    "generators of the process": {"world": Dicing, "kind": Drawing},
    "a world with a state": {"env": lambda: Counting("CartPole-v1")},
}


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_training_comes_to_the_same_numbers(parts):
    trained("plain", **parts)
    trained("evaluated", **parts, options={"eval_every": 1, "eval_episodes": 3})
    assert list(evaluated("evaluated")) == [0, 1, 2]
    assert list(map(reproducible, rows("evaluated"))) == list(map(reproducible, rows("plain")))


def test_it_comes_at_epochs_that_are_divisible_and_a_resumed_run_keeps_to_it():
    trained("whole", 7, options={"eval_every": 3, "eval_episodes": 4})
    trained("halves", 2, options={"eval_every": 3, "eval_episodes": 4})
    again = Trainer()
    args = again.restore("halves")
    assert (args.eval_every, args.eval_episodes) == (3, 4)
    again.resume(n_epochs=7)
    assert list(evaluated("whole")) == [0, 3, 6]
    assert evaluated("halves") == evaluated("whole")
    assert all(values[0] == 4 for values in evaluated("whole").values())
    header = Path("whole/progress.csv").read_text().splitlines()[0].split(",")
    assert set(EVALUATED) <= set(header)


def test_it_can_be_changed_and_left_out_after_a_restore():
    trained("run", 2, options={"eval_every": 1})
    for options, n_epochs in (({"eval_every": 2, "eval_episodes": 3}, 4), ({"eval_every": 0}, 6)):
        again = Trainer(**options)
        again.restore("run")
        again.resume(n_epochs=n_epochs)
    assert {epoch: values[0] for epoch, values in evaluated("run").items()} == {0: 10, 1: 10, 2: 3}


def test_it_is_of_the_policy_that_the_epoch_has_led_to_and_greedy():
    trainer = trained("run", 2, options={"eval_every": 1, "eval_episodes": 5})
    env = GymEnv("CartPole-v1")
    policy = GreedyPolicy(trainer.algo.policies()["policy"])
    played = Evaluator(env).play(policy, Streams(1), 5, epoch=1)
    assert evaluated("run")[1][1] == played.returns.mean()
    np.testing.assert_array_equal(played.lengths, played.returns)  # CartPole pays 1 a step
    drawn = Evaluator(env).play(trainer.algo.policies()["policy"], Streams(1), 5, epoch=1)
    assert list(drawn.lengths) != list(played.lengths)


def test_the_best_snapshot_is_that_of_the_best_evaluation():
    context = {"snapshot_mode": "last", "keep_best": RETURN}
    trained("run", 9, batch_size=200, context=context, options={"eval_every": 2, "eval_episodes": 20})
    returns = {epoch: values[1] for epoch, values in evaluated("run").items()}
    best = max(returns, key=lambda epoch: (returns[epoch], -epoch))
    assert kept("run") == sorted({best, 7, 8})
    assert SnapshotStore(Path("run")).read("best").manifest.epoch == best


def test_a_metric_of_no_evaluation_cannot_choose_the_best():
    with pytest.raises(ArgumentError, match=f"no metric '{RETURN}' to keep the best"):
        trained("run", context={"keep_best": RETURN})


def test_a_replay_evaluates_too():
    trained("run", 4, options={"eval_every": 2, "eval_episodes": 3}, world=Walk)
    assert_equal("run", epochs=range(4))


def test_a_world_that_cannot_be_copied_is_refused_before_anything_is_written():
    class Lone(gymnasium.Env):
        observation_space, action_space = spaces.Box(-1, 1, (2,)), spaces.Discrete(2)

    world = GymEnv(Lone())
    with pytest.raises(ArgumentError, match=r"eval_every=5 needs lanes besides those of training"):
        trained("run", world=world, options={"eval_every": 5})
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eval_every": -1}, "eval_every must be an integer of at least 0, got -1"),
        ({"eval_every": 1.5}, "eval_every must be"),
        ({"eval_every": True}, "eval_every must be"),
        ({"eval_every": 1, "eval_episodes": 0}, "eval_episodes must be an integer of at least 1"),
    ],
)
def test_numbers_out_of_range(options, message):
    with pytest.raises(ArgumentError, match=message):
        Trainer(**options)


@pytest.mark.parametrize("options", [{}, {"eval_every": 0}])
def test_episodes_of_no_evaluation_would_be_ignored(options):
    with pytest.raises(ArgumentError, match="eval_episodes=5 would be ignored without eval_every"):
        trained("run", options={**options, "eval_episodes": 5})
