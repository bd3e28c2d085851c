import json
import os

import cloudpickle
import gymnasium
import numpy as np
import pytest
from blake3 import blake3
from msgspec.structs import replace

import garage as library
from garage.storage import manifest as manifests
from garage.storage.run_directory import RunDirectory


class Touches:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def garage(trained):
    """The command, beside a run whose algorithm is of a class in a file of its own."""
    return trained


@pytest.fixture
def run(garage):
    """That run."""
    return garage.run_path


def test_it_says_mean_spread_and_interval(garage, run):
    said = json.loads(garage("eval", run, "--episodes", 20, "--json").stdout)
    returns = np.array(said["returns"])
    assert (said["epoch"], said["n_episodes"], said["greedy"], said["seed"]) == (3, 20, True, 0)
    assert (said["mean"], said["std"]) == (returns.mean(), returns.std())
    assert (said["min"], said["max"]) == (returns.min(), returns.max())
    assert said["min"] <= said["interval"][0] < said["mean"] < said["interval"][1] <= said["max"]
    assert said["lengths"] == said["returns"]  # CartPole pays 1 a step
    lines = garage("eval", run, "--episodes", 20).stdout.splitlines()
    assert lines[0] == f"{run}, epoch 3"
    assert [line.split()[0] for line in lines[1:]] == ["world", "episodes", "mean", "interval", "std", "min", "max"]
    assert lines[2].split(maxsplit=1)[1].startswith("20, greedy, of seed 0, ")
    assert float(lines[3].split()[1]) == pytest.approx(said["mean"], rel=1e-5)


def test_the_same_call_plays_the_same_episodes_and_others_play_others(garage, run):
    calls = {
        "greedy": [run],
        "again": [run],
        "drawn": [run, "--stochastic"],
        "seed": [run, "--seed", 1],
        "epoch": [f"{run}@first"],
    }
    files = garage.files()
    returns = {
        name: json.loads(garage("eval", *words, "--episodes", 8, "--json").stdout)["returns"]
        for name, words in calls.items()
    }
    assert returns["greedy"] == returns["again"]
    for name in ("drawn", "seed", "epoch"):
        assert returns[name] != returns["greedy"]
    assert garage.files() == files


def test_greedy_episodes_are_those_of_anybodys_loop(garage, run):
    """Of the same policy in gymnasium's own environment: the returns are alike, though the seeds are not."""
    said = json.loads(garage("eval", run, "--episodes", 64, "--json").stdout)
    policy, env, returns = library.load_policy(run), gymnasium.make("CartPole-v1"), []
    for seed in range(64):
        observation, _ = env.reset(seed=seed)
        memory, ended, total = policy.initial_memory(1), False, 0.0
        while not ended:
            actions, memory, _ = policy.act(observation[np.newaxis], memory, None)
            observation, reward, terminated, truncated, _ = env.step(actions[0])
            ended, total = terminated or truncated, total + reward
        returns.append(total)
    spread = np.hypot(np.std(returns), said["std"]) / np.sqrt(64)
    assert abs(np.mean(returns) - said["mean"]) < 4 * spread


def test_another_world_runs_no_code_of_the_run(garage, run):
    recipe = (run / "recipe").read_bytes().partition(b"\n")[0] + b"\n" + cloudpickle.dumps(Touches(run / "sprung"))
    (run / "recipe").write_bytes(recipe)
    for path in RunDirectory(run).snapshots_path.glob("*.json"):
        changed = replace(manifests.read(path), recipe=blake3(recipe).hexdigest(), signature=None)
        path.write_bytes(manifests.encode(changed))
    said = garage("eval", run, "--episodes", 4, code=6)
    assert "is not signed" in said.stderr
    garage("eval", run, "--env", "CartPole-v1", "--episodes", 4)
    assert not (run / "sprung").exists()


def test_one_episode_has_no_interval(garage, run):
    assert json.loads(garage("eval", run, "--episodes", 1, "--json").stdout)["interval"] is None
    assert "needs two episodes" in garage("eval", run, "--episodes", 1).stdout


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["sample@99"], 3, "no snapshot of epoch 99"),
        (["nowhere"], 3, "no such directory"),
        (["sample@soon"], 2, "After the @"),
        (["sample", "--episodes", "0"], 2, "0 is not in the range"),
        (["sample", "--seed", "-1"], 2, "-1 is not in the range"),
        (["sample", "--env", "Pendulum-v1"], 1, "does not fit the environment"),
        (["sample", "--env", "NoSuchWorld-v0"], 1, "NoSuchWorld"),
    ],
)
def test_bad_input(garage, run, words, code, message):
    name, *options = words
    assert message in garage("eval", run.parent / name, *options, code=code).stderr
