"""check_env: each planted fault is found, and what is sound is not blamed."""

import json
import os
import re
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.utils import RecordConstructorArgs

from envs.sample_worlds import (
    Dial,
    DifferentCopies,
    Drifting,
    EpisodeMean,
    GlobalNumpy,
    Hashing,
    IgnoresSeed,
    NoEarlyReset,
    OwnGenerator,
    Raises,
    Stopwatch,
    TupleObservations,
    Unrecorded,
    Walk,
    WrongShape,
)
from garage.core.ports import Rung
from garage.envs import GymEnv, check_env
from garage.envs.check import Outcome
from garage.errors import ArgumentError


class Wide(Walk):
    """Returns more digits than its space has."""

    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed, options=options)
        return observation.astype(np.float64), info


class OutOfBounds(Walk):
    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed, options=options)
        return observation + np.float32(1000), info


class NaNObservation(Walk):
    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        return observation * np.nan if self.age == 5 else observation, reward, terminated, truncated, info


class NaNReward(Walk):
    def step(self, action):
        observation, _, terminated, truncated, info = super().step(action)
        return observation, float("nan"), terminated, truncated, info


class RaisesTheSecondTime(gymnasium.Wrapper, RecordConstructorArgs):
    """Raises late in the episode with the seed of the mid-episode trial, unless it is the first to take it."""

    taken = 0

    def __init__(self, env):
        RecordConstructorArgs.__init__(self)
        gymnasium.Wrapper.__init__(self, env)

    def reset(self, *, seed=None, options=None):
        RaisesTheSecondTime.taken += seed == 1000
        self.seed, self.age = seed, 0
        return super().reset(seed=seed, options=options)

    def step(self, action):
        self.age += 1
        if self.seed == 1000 and self.age > 12 and RaisesTheSecondTime.taken > 4:
            msg = "only so often"
            raise RuntimeError(msg)
        return super().step(action)


class Unpicklable(gymnasium.Wrapper):
    def __init__(self, env):
        super().__init__(env)
        self.stream = (number for number in range(3))


def episode_mean():
    return EpisodeMean(Walk())


def no_early_reset():
    return NoEarlyReset(Walk(length=6))


def raises_the_second_time():
    return RaisesTheSecondTime(Walk(length=40))


def outcomes(report):
    return {finding.about: finding.outcome for finding in report.findings}


def said(report, about):
    return " ".join(finding.said for finding in report.findings if finding.about == about)


@pytest.mark.parametrize(
    ("world", "about", "words"),
    [
        (IgnoresSeed, "repeated", "seed 0 gives another observation at step 0"),
        (GlobalNumpy, "repeated", "seed 0 gives another observation at step 0"),
        (OwnGenerator, "repeated", "gives another reward at step 1"),
        (Drifting, "repeated", "after other episodes in the same environment, seed 0 gives another observation"),
        (episode_mean, "repeated", "draw from `self.np_random` alone"),
        (DifferentCopies, "made again", "in a freshly made environment, seed 0 gives another observation"),
        (Hashing, "another process", "in a process with another hash seed, seed 0 gives another reward at step 1"),
        (raises_the_second_time, "left in mid-episode", "WorldRaisedError.*only so often.*seed 1000.*at step 13 of"),
        (Raises, "episodes", "ZeroDivisionError: the wheel came off"),
        (WrongShape, "observations", r"shape \(1,\) instead of \(2,\) at step 1 of seed 0"),
        (NaNObservation, "observations", "NaN or infinity at step 5 of seed 0"),
        (NaNReward, "rewards", "nan at step 1 of seed 0"),
        (TupleObservations, "made", "MismatchError: The observation space of TupleObservations"),
        ("NoSuchWorld-v0", "made", "UnknownWorldError: No environment is registered as 'NoSuchWorld-v0'"),
        (3, "made", "ArgumentError: `world` must be an id"),
        (Unpicklable(Walk()), "another process", "TypeError: cannot pickle 'generator' object"),
    ],
)
def test_each_fault_is_found(world, about, words, monkeypatch):
    monkeypatch.setattr(RaisesTheSecondTime, "taken", 0)
    report = check_env(world, n_episodes=2, other_process=about in {"another process", "made"})
    assert not report.exact
    assert about in [finding.about for finding in report.faults]
    assert re.search(words, said(report, about))
    assert about in report.verdict
    assert " is not exact: " in report.verdict


@pytest.mark.parametrize(
    ("world", "about", "words"),
    [
        (Wide, "observations", "float64 instead of float32, converted"),
        (OutOfBounds, "observations", "outside of Box"),
        (Walk, "time limit", "max_episode_length sets one"),
        (Stopwatch, "infos", "other numbers in clock"),
        (no_early_reset, "left in mid-episode", "a collect of fragments finishes this world's episodes"),
    ],
)
def test_what_leaves_runs_exact_is_a_warning(world, about, words):
    report = check_env(world, n_episodes=2, other_process=False)
    assert report.exact, report.faults
    assert outcomes(report)[about] is Outcome.WARNING
    assert words in said(report, about)


def test_a_world_that_cannot_be_left_is_exact_for_whole_episodes():
    report = check_env(no_early_reset, other_process=False)
    assert report.rung is Rung.CUT
    assert report.verdict == "no_early_reset is exact for whole episodes, and cannot be left in mid-episode."
    assert report.capture_us is None


@pytest.mark.parametrize(
    ("world", "rung"),
    [
        ("CartPole-v1", Rung.ARRAYS),
        (Walk, Rung.REPLAY),
        (Dial, Rung.REPLAY),
        (lambda: Walk(length=1), Rung.REPLAY),
        (GymEnv(Drifting, max_episode_length=9, fresh_episodes=True), Rung.REPLAY),
        (Unrecorded(Walk()), Rung.REPLAY),
    ],
)
def test_what_is_sound_is_not_blamed(world, rung):
    report = check_env(world, other_process=world is Dial or isinstance(world, gymnasium.Env))
    assert report.faults == ()
    assert report.rung is rung
    assert "is exact, in mid-episode by " in report.verdict
    assert {"made", "wrappers", "time limit", "episodes", "repeated", "left in mid-episode"} <= set(outcomes(report))


def no_early_reset_for_long():
    return NoEarlyReset(Walk(length=60))


def test_a_world_that_is_never_left_is_not_made_to():
    report = check_env(no_early_reset_for_long, other_process=False)
    assert report.exact, report.faults
    assert report.rung is Rung.CUT


def test_environments_are_closed_again():
    made = []

    def make():
        made.append(Drifting())
        return made[-1]

    assert check_env(GymEnv(make, fresh_episodes=True), n_episodes=1, other_process=False).exact
    assert all(env.closed for env in made)


def test_a_world_that_can_be_made_only_once_is_a_fault():
    made = []

    def make():
        made.append(Walk())
        return made[len(made) * 2 - 2]

    report = check_env(make, other_process=False)
    assert not report.exact
    assert "IndexError" in said(report, "made")


def test_costs_are_measured():
    report = check_env(lambda: Walk(length=30), other_process=False)
    assert 0 < report.capture_us < 5000
    assert report.restore_ms > 0
    assert report.restored_steps == 15


def test_wrappers_are_named():
    report = check_env("MountainCar-v0", n_episodes=1, other_process=False)
    assert said(report, "wrappers") == "TimeLimit, OrderEnforcing"


def test_global_generators_stay_as_they_were():
    np.random.seed(1)  # noqa: NPY002 - the global generator is what is under test
    before = np.random.get_state()[1].tolist()  # noqa: NPY002 - as above
    check_env(GlobalNumpy, n_episodes=1, other_process=False)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002 - as above


@pytest.mark.parametrize("n", [0, 1.5, True])
def test_a_wrong_number_of_episodes_is_refused(n):
    with pytest.raises(ArgumentError, match="check_env's n_episodes must be an integer of at least 1"):
        check_env(Walk, n_episodes=n)


WORLDS = """
import gymnasium
import numpy as np


class Coin(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.random(1, np.float32), {}

    def step(self, action):
        observation = self.np_random.random(1, np.float32)
        return observation, float(action), bool(observation[0] > 0.8), False, {}


class Unfair(Coin):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=None)
"""


def command(tmp_path, *words):
    (tmp_path / "coins.py").write_text(WORLDS)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "garage.cli.main", "check-env", *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_command_finds_a_factory_here(tmp_path):
    code, out, err = command(tmp_path, "coins:Coin", "--episodes", "2")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1].startswith("Coin is exact, in mid-episode by replay, ")
    assert any(line.startswith("fine     another process  ") for line in out.splitlines())


def test_the_command_says_what_is_wrong(tmp_path):
    code, out, _ = command(tmp_path, "coins:Unfair", "--json")
    report = json.loads(out)
    assert code == 9
    assert report["exact"] is False
    assert report["verdict"] == "Unfair is not exact: repeated, made again, left in mid-episode, another process."
    assert {"about", "outcome", "said"} == set(report["findings"][0])


@pytest.mark.parametrize("world", ["no_such_module:Coin", "coins:NoSuchThing"])
def test_the_command_names_what_is_not_there(tmp_path, world):
    code, out, err = command(tmp_path, world)
    assert code in (2, 9)
    assert "There is no module 'no_such_module'" in err or "No environment is registered as 'coins:NoSuch" in out
