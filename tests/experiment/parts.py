"""Small experiments, and worlds and algorithms that behave well or badly in one way each."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces

from garage.algos import TRPO
from garage.baselines import LinearFeatureBaseline
from garage.core.ports import Rung
from garage.core.recipe import Component
from garage.core.types import EnvSpec, Transition
from garage.envs import GymEnv
from garage.experiment import ExperimentContext, Trainer
from garage.experiment.deterministic import set_seed
from garage.np.policies import CategoricalMLPPolicy
from garage.process import set_process_seed
from garage.storage.run_directory import RunDirectory


def tiny(world="CartPole-v1", *, hidden_sizes=(4,), kind=TRPO, baseline=LinearFeatureBaseline, **options):
    """An algorithm and its environment."""
    env = GymEnv(world) if isinstance(world, str) or callable(world) else world
    policy = CategoricalMLPPolicy(env.spec, hidden_sizes=hidden_sizes)
    return kind(env=env, policy=policy, baseline=baseline(env.spec), **options), env


def new_trainer(path=None, seed=1, *, world="CartPole-v1", context=None, setup=None, **options):
    """A trainer that was set up; without a path it has no context."""
    if seed is not None:
        set_seed(seed)
    trainer = Trainer(None if path is None else ExperimentContext(str(path), **(context or {})))
    trainer.setup(*tiny(world, **options), **(setup or {}))
    return trainer


def trained(path, n_epochs=3, seed=1, *, batch_size=60, store_episodes=False, **options):
    """A trainer that has trained. Afterwards the process has no seed, as a new one."""
    trainer = new_trainer(path, seed, **options)
    trainer.train(n_epochs=n_epochs, batch_size=batch_size, store_episodes=store_episodes)
    set_process_seed(None)
    return trainer


def rows(path):
    """The rows of metrics.jsonl."""
    return [json.loads(line) for line in RunDirectory(Path(path)).metrics_path.read_text().splitlines()]


def digests(path):
    """The digest of each epoch."""
    return [row["digest"] for row in rows(path)]


def events(path):
    """What happened to a run."""
    return [event["event"] for event in RunDirectory(Path(path)).events()]


def kept(path):
    """Epochs that have a snapshot."""
    return RunDirectory(Path(path)).manifest_epochs()


def everything_below(path):
    """Bytes and times of all files and folders."""
    return {
        entry: (entry.stat().st_mtime_ns, entry.read_bytes() if entry.is_file() else b"")
        for entry in [Path(path), *sorted(Path(path).rglob("*"))]
    }


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def messages(text):
    """The lines of a console or log without their time."""
    return [line.split(" | ", 1)[-1] for line in text.splitlines()]


def run_script(path, text=None, *words, code=0, **environment):
    """Run a script in a process of its own, in the folder where this process is; returns what it printed."""
    if text is not None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


class Walk(gymnasium.Env):
    """A short walk that can be made to misbehave by the class's switches."""

    observation_space = spaces.Box(-100, 100, (2,), np.float32)
    action_space = spaces.Discrete(2)
    misbehaves: ClassVar[str] = ""
    steps_left: ClassVar[int] = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed, options=options)
        self.age = 0
        return self.np_random.normal(size=2).astype(np.float32), {}

    def step(self, action):
        self.age += 1
        observation = self.np_random.normal(size=2).astype(np.float32) + np.float32(action)
        reward = float(self.np_random.random())
        if Walk.misbehaves:
            Walk.steps_left -= 1
            if Walk.steps_left < 0:
                if Walk.misbehaves == "raises":
                    msg = "the wheel came off"
                    raise ZeroDivisionError(msg)
                observation = observation * np.nan if Walk.misbehaves == "observation" else observation
                reward = float("nan") if Walk.misbehaves == "reward" else reward
        return observation, reward, self.age >= 7, False, {}


class Fuse(TRPO):
    """Blows at the end of an epoch, when everything has been learned and nothing been saved."""

    blows_at: ClassVar[int | None] = None
    error: ClassVar[type[BaseException]] = EOFError

    def epoch(self, collect, streams):
        metrics = super().epoch(collect, streams)
        if streams.path[-1] == Fuse.blows_at:
            msg = "blown"
            raise Fuse.error(msg)
        return metrics


class Drawing(TRPO):
    """Draws from the process's generators, as users' code may; an odd number of normals, so one is cached."""

    def epoch(self, collect, streams):
        metrics = super().epoch(collect, streams)
        drawn = {"python": random.gauss(0, 1), "uniform": random.random()}
        drawn |= {"numpy": np.random.normal(), "integer": int(np.random.randint(1000))}  # noqa: NPY002 - users' code may use it
        return metrics | {f"Drawn/{name}": value for name, value in drawn.items()}


class Reporting(TRPO):
    """Adds metrics of the class's choice."""

    extra: ClassVar[dict[str, object]] = {}

    def epoch(self, collect, streams):
        return super().epoch(collect, streams) | Reporting.extra


class WithArgument(TRPO):
    """Has an argument of its own, which need not be picklable."""

    def __init__(self, *, argument, **options):
        super().__init__(**options)
        self.argument = argument


class Secretive(TRPO):
    """Has an attribute that no argument and no state knows of, and that differs from object to object."""

    n_made = 0

    def __init__(self, **options):
        super().__init__(**options)
        Secretive.n_made += 1
        self.secret = Secretive.n_made


class Opaque:
    """A user's algorithm without state_dict."""

    discount = 0.9

    def __init__(self, policy):
        self.policy, self.n_epochs = policy, 0

    def initialise(self, streams):
        self.policy.initialise(streams.generator("policy"))

    def policies(self):
        return {"policy": self.policy}

    def epoch(self, collect, streams):
        batch = collect(self.policy)
        self.n_epochs += 1
        self.policy.theta = self.policy.theta + streams.generator("step").normal(size=len(self.policy.theta)) * 0.1
        return {"Opaque/Epochs": self.n_epochs, "Opaque/Steps": batch.n_steps}


def opaque():
    env = GymEnv("CartPole-v1")
    return Opaque(CategoricalMLPPolicy(env.spec, hidden_sizes=(4,))), env


class Trap:
    """Goes off when it is unpickled."""

    n_sprung = 0

    def __reduce__(self):
        return spring, ()


def spring():
    Trap.n_sprung += 1
    return tiny()


class Still:
    """A policy that does nothing, quickly."""

    name = "still"
    initialised = True
    theta = np.zeros(1)

    def __init__(self, spec):
        self.spec = spec

    def initialise(self, generator):
        """It has nothing to draw."""

    def initial_memory(self, n):
        return np.zeros((n, 0))

    def draw_noise(self, generator, n_steps):
        return np.zeros((n_steps, 1))

    def act(self, observations, memory, noise):
        return np.zeros(len(observations), np.int64), memory, {}


class Scripted(Component):
    """A world whose episodes have the lengths that a function draws; each step pays 1, each observation is its seed."""

    def __init__(self, length_of, lane_width=64, max_episode_length=None):
        self.length_of, self.lane_width = length_of, lane_width
        self.spec = EnvSpec(spaces.Box(0, 2**31, (1,), np.float64), spaces.Discrete(2), max_episode_length)

    def make_lanes(self, n):
        return ScriptedLanes(n, self.length_of)

    def with_task(self, task):
        return self


class ScriptedLanes:
    """The lanes of `Scripted`."""

    rung = Rung.ARRAYS

    def __init__(self, n, length_of):
        self.n, self._length_of = n, length_of
        self._left, self._seeds = np.zeros(n, np.int64), np.zeros(n)

    def reset(self, lanes, seeds):
        self._left[lanes] = [max(1, self._length_of(np.random.default_rng(seed))) for seed in seeds]
        self._seeds[lanes] = seeds
        return self._seeds[lanes, np.newaxis]

    def step(self, lanes, actions):
        self._left[lanes] -= 1
        ended = self._left[lanes] == 0
        return Transition(self._seeds[lanes, np.newaxis], np.ones(len(lanes)), ended, np.zeros(len(lanes), bool))

    def state_dict(self, lanes):
        return {"left": self._left[lanes], "seeds": self._seeds[lanes]}

    def load_state_dict(self, lanes, state):
        self._left[lanes], self._seeds[lanes] = state["left"], state["seeds"]
        return self._seeds[lanes, np.newaxis]

    def close(self):
        self.n = 0
