"""What the kill tests train: every algorithm, in every port and kind of world."""

import importlib

import gymnasium
import numpy as np
from gymnasium import spaces, wrappers

from garage.algos import NPG, PPO, TRPO, VPG, Normalised
from garage.baselines import LinearFeatureBaseline
from garage.envs import GymEnv


def ppo(**parts):
    """With every kind of state that it can have."""
    return PPO(**parts, minibatch_size=32, n_passes=2, decay_epochs=40)


ALGORITHMS = {
    "TRPO": TRPO,
    "NPG": NPG,
    "VPG": VPG,
    "PPO": ppo,
    "Normalised": lambda **parts: Normalised(ppo(**parts)),
}


class Drift(gymnasium.Env):
    """A user's world: a point that noise pushes about, and whose wrappers have memories of their own."""

    observation_space = spaces.Box(-100, 100, (2,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.wind = self.np_random.normal(size=2), 0.0
        return self._seen(), {}

    def step(self, action):
        self.wind = 0.9 * self.wind + self.np_random.normal()
        self.place = self.place + np.array([float(action[0]) + 0.1 * self.wind, self.wind])
        self.place = np.clip(self.place, -99, 99)
        return self._seen(), -float(np.square(self.place).sum()), bool(abs(self.place[0]) > 9), False, {}

    def _seen(self):
        return self.place.astype(np.float32)


def wrapped_drift():
    """With a frame stack, a time limit and statistics of its own."""
    env = wrappers.RecordEpisodeStatistics(wrappers.TimeLimit(Drift(), 37))
    return wrappers.FrameStackObservation(wrappers.TransformReward(env, lambda reward: reward / 10), 3)


def pong():
    """An Atari game, seen by its memory."""
    gymnasium.register_envs(importlib.import_module("ale_py"))
    return gymnasium.make("ALE/Pong-v5", obs_type="ram", max_episode_steps=45)


WORLDS = {
    "CartPole": lambda: GymEnv("CartPole-v1"),
    "gymnasium's CartPole": lambda: GymEnv("CartPole-v1", native_lanes=False),
    "Pendulum": lambda: GymEnv("Pendulum-v1"),
    "Acrobot": lambda: GymEnv("Acrobot-v1", max_episode_length=80),
    "MountainCar": lambda: GymEnv("MountainCar-v0", max_episode_length=70),
    "MountainCarContinuous": lambda: GymEnv("MountainCarContinuous-v0", max_episode_length=60),
    "HalfCheetah": lambda: GymEnv("HalfCheetah-v5", max_episode_length=50),
    "HalfCheetah of gymnasium's": lambda: GymEnv("HalfCheetah-v5", max_episode_length=50, ctrl_cost_weight=0.2),
    "Pong": lambda: GymEnv(pong),
    "LunarLander": lambda: GymEnv("LunarLander-v3", max_episode_length=60),
    "a user's": lambda: GymEnv(wrapped_drift),
}


def experiment(job, port):
    """The algorithm and the world of a job, built in a port."""
    env = WORLDS[job["world"]]()
    policies = importlib.import_module(f"garage.{port}.policies")
    discrete = isinstance(env.spec.action_space, spaces.Discrete)
    policy = (policies.CategoricalMLPPolicy if discrete else policies.GaussianMLPPolicy)(env.spec, hidden_sizes=(8, 8))
    if job.get("value_function"):
        functions = importlib.import_module(f"garage.{port}.value_functions")
        baseline = functions.MLPValueFunction(env.spec, hidden_sizes=(8, 8))
    else:
        baseline = LinearFeatureBaseline(env.spec)
    make = ALGORITHMS[job.get("algorithm", "TRPO")]
    fragments = job.get("fragments", False)
    parts = {"env": env, "policy": policy, "baseline": baseline}
    return make(**parts, fragments=fragments), env
