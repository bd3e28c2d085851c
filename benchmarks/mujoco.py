"""HalfCheetah-v5 steps a second with a 64-64 policy: ours, gymnasium's vector, SB3, EnvPool, and the physics alone.

Ours is all that a collect is: lanes, the NumPy policy, noise, and a batch sorted by episodes. gymnasium's SyncVectorEnv
is stepped by the same policy, without any book-keeping. SB3 is PPO's ``collect_rollouts`` with its default network of
the same size, at the best of several widths and vectors, those with processes included. EnvPool is stepped by a policy
of the same size in NumPy, without any book-keeping, by another Python that has it (``--envpool-python``); without one
it is left out. The physics alone is MuJoCo's batch, given the states and actions of ours in one call: the same numbers,
and nothing else. All have the same number of threads, and take turns. Prints medians with the range, and the medians
of the ratios within a round; writes the same as JSON to ``--out``.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
_HERE = str(Path(__file__).resolve().parent)
sys.path[:] = [folder for folder in sys.path if folder != _HERE]  # where this file would be taken for the package

import gymnasium
import numpy as np
import torch
from mujoco.batch import Batch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

from garage.core.ports import Group, GroupResult
from garage.core.streams import Streams
from garage.envs import GymEnv
from garage.envs.mujoco.physics import compiled
from garage.np.policies import GaussianMLPPolicy
from garage.process import PHYSICS_THREADS
from garage.sampler.local import LocalSampler

WORLD, MODEL, FRAME_SKIP = "HalfCheetah-v5", "half_cheetah.xml", 5
HIDDEN = (64, 64)
ENVPOOL = Path(__file__).with_name("mujoco_envpool.py")


class Garage:
    """Collects of fragments; each takes the same steps, from the same places in the middle of episodes."""

    def __init__(self, n_lanes: int, n_steps: int) -> None:
        self.env, self.n_lanes, self.n_steps = GymEnv(WORLD), n_lanes, n_steps
        self.policy = GaussianMLPPolicy(self.env.spec, hidden_sizes=HIDDEN)
        self.policy.initialise(np.random.default_rng(0))
        self.sampler = LocalSampler()
        self.start = self.collect({}).carried

    def collect(self, carried: dict[str, Any]) -> GroupResult:
        """One group's collect."""
        group = Group(
            env=self.env,
            policy=self.policy,
            streams=Streams(1).at("episode", "train"),
            epoch=0,
            call=0,
            index=0,
            n_lanes=self.n_lanes,
            n_steps=self.n_steps * self.n_lanes,
            n_episodes=None,
            mean_length=0.0,
            fragments=True,
            carried=carried,
        )
        return self.sampler.run([group])[0]

    def rate(self) -> float:
        """Steps a second."""
        began = time.perf_counter()
        result = self.collect(self.start)
        seconds = time.perf_counter() - began
        self.parts = {part: share / seconds for part, share in result.seconds.items()}
        return result.batch.n_steps / seconds


class Physics:
    """The physics of the very steps that ours takes, in one call."""

    def __init__(self, ours: Garage, n_threads: int) -> None:
        batch = ours.collect(ours.start).batch
        self.actions = batch.actions.reshape(ours.n_lanes, ours.n_steps, -1)
        self.batch = Batch(compiled(MODEL), ours.n_lanes, n_threads)
        self.start = ours.start["world"]["arrays"]["physics"]
        limits = compiled(MODEL).actuator_ctrlrange.T
        self.controls = np.repeat(np.clip(self.actions, *limits), FRAME_SKIP, axis=1).astype(np.float64)
        self.end = ours.collect(ours.start).carried["world"]["arrays"]["physics"]
        self.rate()
        positions = self.batch.qpos
        if positions.tobytes() != self.end[:, 1 : 1 + positions.shape[1]].tobytes():
            msg = "the physics alone went elsewhere than ours did"
            raise AssertionError(msg)

    def rate(self) -> float:
        """Steps a second."""
        self.batch.state[:] = self.start
        began = time.perf_counter()
        self.batch.rollout(self.controls.shape[1], self.controls, record=())
        return self.actions.shape[0] * self.actions.shape[1] / (time.perf_counter() - began)


class GymnasiumVector:
    """gymnasium's vector of single environments, stepped by our policy."""

    def __init__(self, policy: GaussianMLPPolicy, width: int, n_steps: int) -> None:
        self.policy, self.width, self.n_steps = policy, width, n_steps
        self.vector = gymnasium.make_vec(WORLD, width, vectorization_mode="sync")
        self.memory = policy.initial_memory(width)
        self.observations, _ = self.vector.reset(seed=1)
        self.noise = policy.draw_noise(np.random.default_rng(0), n_steps * width).reshape(n_steps, width, -1)

    def rate(self) -> float:
        """Steps a second."""
        began = time.perf_counter()
        for noise in self.noise:
            actions, self.memory, _ = self.policy.act(self.observations, self.memory, noise)
            self.observations, *_ = self.vector.step(np.clip(actions, -1, 1))
        return self.width * self.n_steps / (time.perf_counter() - began)


class StableBaselines:
    """PPO's collection."""

    def __init__(self, width: int, vector: type[DummyVecEnv] | type[SubprocVecEnv], n_steps: int) -> None:
        torch.set_num_threads(1)
        self.name = f"{vector.__name__} of {width}"
        self.steps = n_steps // width * width
        options = {"start_method": "fork"} if vector is SubprocVecEnv else {}  # the quickest to start
        env = make_vec_env(WORLD, width, seed=1, vec_env_cls=vector, vec_env_kwargs=options)
        self.model = PPO("MlpPolicy", env, n_steps=n_steps // width, batch_size=64, seed=1, device="cpu")
        self.model._setup_learn(self.steps)

    def rate(self) -> float:
        """Steps a second."""
        _, callback = self.model._setup_learn(self.steps, reset_num_timesteps=False)
        began = time.perf_counter()
        self.model.collect_rollouts(self.model.env, callback, self.model.rollout_buffer, self.model.n_steps)
        return self.steps / (time.perf_counter() - began)

    def close(self) -> None:
        """End its processes."""
        self.model.env.close()


class EnvPool:
    """EnvPool in a Python of its own, which waits for its turns."""

    def __init__(self, python: str, width: int, n_threads: int, n_steps: int) -> None:
        self.child = subprocess.Popen(
            [python, str(ENVPOOL), str(width), str(n_threads), str(n_steps)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.version = self._answer()

    def rate(self) -> float:
        """Steps a second."""
        self.child.stdin.write("go\n")
        self.child.stdin.flush()
        return float(self._answer())

    def _answer(self) -> str:
        line = self.child.stdout.readline()
        if not line:
            msg = f"EnvPool's process ended with {self.child.wait()}"
            raise RuntimeError(msg)
        return line.strip()


def best_of_stable_baselines(widths: list[int], n_steps: int) -> StableBaselines:
    """The fastest of these widths in one process, and of 2 and 8 processes, by the better of two trials."""
    kinds = [(width, DummyVecEnv) for width in widths] + [(width, SubprocVecEnv) for width in (2, 8)]
    found: tuple[float, StableBaselines] | None = None
    for width, vector in kinds:
        peer = StableBaselines(width, vector, n_steps)
        rate = max(peer.rate() for _ in range(2))
        if found is None or rate > found[0]:
            found, peer = (rate, peer), found and found[1]
        if peer is not None:
            peer.close()
    return found[1]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--lanes", type=int, default=128)
    parser.add_argument("--steps", type=int, default=100, help="of each lane, in each round")
    parser.add_argument("--widths", type=int, nargs="+", default=[8, 32, 64], help="of SB3's vector in one process")
    parser.add_argument("--envpool-python", help="a Python that has envpool and numpy")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    os.environ[PHYSICS_THREADS] = str(arguments.threads)
    lanes, steps = arguments.lanes, arguments.steps
    peer = best_of_stable_baselines(arguments.widths, lanes * steps // 2)
    ours = Garage(lanes, steps)
    sides = {
        "physics alone": Physics(ours, arguments.threads).rate,
        "garage": ours.rate,
        "gymnasium": GymnasiumVector(ours.policy, lanes, steps // 4).rate,
        f"SB3, {peer.name}": peer.rate,
    }
    if arguments.envpool_python:
        pool = EnvPool(arguments.envpool_python, lanes, arguments.threads, steps)
        sides[f"EnvPool {pool.version}"] = pool.rate
    rates: dict[str, list[float]] = {name: [] for name in sides}
    parts = []
    for _ in range(arguments.rounds):
        for name, rate in sides.items():
            rates[name].append(rate())
        parts.append(ours.parts)
    peer.close()
    report = {
        "machine": platform.platform(),
        "cpu_count": os.cpu_count(),
        "threads": arguments.threads,
        "lanes": lanes,
        "rates": {
            name: {"median": statistics.median(values), "min": min(values), "max": max(values)}
            for name, values in rates.items()
        },
        "ours_over": {
            name: statistics.median(a / b for a, b in zip(rates["garage"], values, strict=True))
            for name, values in rates.items()
        },
        "parts": {part: statistics.median(sample[part] for sample in parts) for part in parts[0]},
    }
    print(f"{WORLD}, {lanes} lanes, {arguments.threads} threads; steps a second")
    for name, found in report["rates"].items():
        spread = f"{found['median']:8.0f} ({found['min']:.0f} to {found['max']:.0f})"
        print(f"  {name:28} {spread:32} ours over it: {report['ours_over'][name]:.2f}")
    print("  ours by part: " + ", ".join(f"{part} {share:.0%}" for part, share in report["parts"].items()))
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
