"""How well the algorithms have learned after 100,000 steps, and stable-baselines3's PPO at its published settings.

Each final policy plays 50 episodes with its actions drawn and 50 greedily, all of them with the same seeds, in
gymnasium's own environment. A row says, over the training seeds: the mean, the interquartile mean (of the middle
half), the least, and a 95 % interval of the mean by 10,000 bootstrap samples. Exits with 1 if one of our algorithms has
a greedy mean return below 475 on CartPole-v1; TRPO is run as in ``examples/np/trpo_cartpole.py``.

The settings of stable-baselines3's PPO are those of rl-baselines3-zoo, ``hyperparams/ppo.yml``.
"""

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import argparse
import contextlib
import io
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from garage.algos import NPG, PPO, TRPO, VPG
from garage.baselines import LinearFeatureBaseline
from garage.core.ports import Algorithm, Env
from garage.core.streams import Streams
from garage.envs import GymEnv
from garage.experiment import ExperimentContext, Trainer
from garage.experiment.deterministic import set_seed
from garage.np.policies import CategoricalMLPPolicy, GaussianMLPPolicy
from garage.np.value_functions import MLPValueFunction

STEPS = 100_000
EPISODES = 50
SOLVED = 475
PEER = "PPO of stable-baselines3"

Act = Callable[[np.ndarray, Any], np.ndarray]
"""From one observation, and a generator or None to be greedy, to one action."""


class Case(NamedTuple):
    """An algorithm in a world."""

    world: str
    algorithm: str
    learn: Callable[[int], Act]
    """From a seed to the policy after the steps."""


def ours(world: str, make: Callable[[Env], Algorithm], batch_size: int, n_lanes: int | None = None) -> Case:
    """A case of ours: the first policy after the steps."""

    def learn(seed: int) -> Act:
        set_seed(seed)
        env = GymEnv(world)
        algo = make(env)
        with tempfile.TemporaryDirectory() as scratch:
            trainer = Trainer(ExperimentContext(scratch, snapshot_mode="none"))
            trainer.setup(algo, env, n_lanes=n_lanes)
            trainer.train(n_epochs=1, batch_size=batch_size)
            n_epochs = 1
            while trainer.total_env_steps < STEPS:
                n_epochs += 1
                trainer.resume(n_epochs=n_epochs)
        policy = algo.policies()["policy"]

        def act(observation: np.ndarray, generator: Any) -> np.ndarray:  # noqa: ANN401 - a NumPy generator or None
            noise = None if generator is None else policy.draw_noise(generator, 1)
            return policy.act(observation[np.newaxis], policy.initial_memory(1), noise)[0][0]

        return act

    return Case(world, make.__name__.removesuffix("_pendulum").upper(), learn)


def trpo(env: Env) -> Algorithm:
    """As in the examples."""
    policy = CategoricalMLPPolicy(env.spec, hidden_sizes=(32, 32))
    return TRPO(env=env, policy=policy, baseline=LinearFeatureBaseline(env.spec))


def npg(env: Env) -> Algorithm:
    """As TRPO."""
    policy = CategoricalMLPPolicy(env.spec, hidden_sizes=(32, 32))
    return NPG(env=env, policy=policy, baseline=LinearFeatureBaseline(env.spec))


def vpg(env: Env) -> Algorithm:
    """As TRPO."""
    policy = CategoricalMLPPolicy(env.spec, hidden_sizes=(32, 32))
    return VPG(env=env, policy=policy, baseline=LinearFeatureBaseline(env.spec))


def ppo(env: Env) -> Algorithm:
    """As near to the peer's settings as ours go: the value function's learning rate does not fall."""
    return PPO(
        env=env,
        policy=CategoricalMLPPolicy(env.spec, hidden_sizes=(64, 64)),
        baseline=MLPValueFunction(env.spec, (64, 64), n_passes=20, minibatch_size=256, time_input=False),
        discount=0.98,
        gae_lambda=0.8,
        learning_rate=1e-3,
        clip_range=0.2,
        n_passes=20,
        minibatch_size=256,
        decay_epochs=-(-STEPS // 256),
        fragments=True,
    )


def ppo_pendulum(env: Env) -> Algorithm:
    """As near to the peer's settings as ours go: noise is of each step, not of a state-dependent exploration."""
    return PPO(
        env=env,
        policy=GaussianMLPPolicy(env.spec, hidden_sizes=(64, 64)),
        baseline=MLPValueFunction(env.spec, (64, 64), n_passes=10, minibatch_size=64, time_input=False),
        discount=0.9,
        gae_lambda=0.95,
        learning_rate=1e-3,
        clip_range=0.2,
        n_passes=10,
        minibatch_size=64,
        fragments=True,
    )


def peers(world: str, n_envs: int, **settings: Any) -> Case:
    """stable-baselines3's PPO."""

    def learn(seed: int) -> Act:
        import stable_baselines3 as sb3  # noqa: PLC0415 - it imports PyTorch, which our own cases need not
        import torch  # noqa: PLC0415
        from stable_baselines3.common.env_util import make_vec_env  # noqa: PLC0415

        torch.set_num_threads(1)
        model = sb3.PPO("MlpPolicy", make_vec_env(world, n_envs, seed=seed), seed=seed, device="cpu", **settings)
        model.learn(STEPS)
        return lambda observation, generator: model.predict(observation, deterministic=generator is None)[0]

    return Case(world, PEER, learn)


CASES = (
    ours("CartPole-v1", trpo, 4000),
    ours("CartPole-v1", npg, 4000),
    ours("CartPole-v1", vpg, 4000),
    ours("CartPole-v1", ppo, 256, 8),
    peers(
        "CartPole-v1",
        8,
        n_steps=32,
        batch_size=256,
        n_epochs=20,
        gae_lambda=0.8,
        gamma=0.98,
        learning_rate=lambda left: 1e-3 * left,
        clip_range=lambda left: 0.2 * left,
    ),
    ours("Pendulum-v1", ppo_pendulum, 4096, 4),
    peers(
        "Pendulum-v1",
        4,
        n_steps=1024,
        n_epochs=10,
        gae_lambda=0.95,
        gamma=0.9,
        learning_rate=1e-3,
        clip_range=0.2,
        use_sde=True,
        sde_sample_freq=4,
    ),
)


def mean_return(world: str, act: Act, *, greedy: bool) -> float:
    """Of `EPISODES` episodes."""
    env, returns = gymnasium.make(world), np.zeros(EPISODES)
    for episode in range(EPISODES):
        generator = None if greedy else Streams(0).generator("evaluation", episode)
        observation, over = env.reset(seed=10_000 + episode)[0], False
        while not over:
            observation, reward, terminated, truncated, _ = env.step(act(observation, generator))
            returns[episode] += reward
            over = terminated or truncated
    return float(returns.mean())


def summary(returns: list[float]) -> str:
    """Mean, interquartile mean, least, and the interval of the mean."""
    values = np.sort(returns)
    cut = len(values) // 4
    samples = np.random.default_rng(0).choice(values, (10_000, len(values))).mean(axis=1)
    low, high = np.quantile(samples, [0.025, 0.975])
    middle = values[cut : len(values) - cut].mean()
    return f"{values.mean():.1f} | {middle:.1f} | {values.min():.1f} | {low:.1f} to {high:.1f}"


def main() -> int:
    """Learn and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    for option, names in (("--worlds", {case.world for case in CASES}), ("--algorithms", {c.algorithm for c in CASES})):
        parser.add_argument(option, nargs="+", default=sorted(names), choices=sorted(names))
    asked = parser.parse_args()
    rows, status = [], 0
    for world, algorithm, learn in CASES:
        if world not in asked.worlds or algorithm not in asked.algorithms:
            continue
        returns: dict[str, list[float]] = {"drawn": [], "greedy": []}
        for seed in asked.seeds:
            start = time.monotonic()
            with contextlib.redirect_stdout(io.StringIO()):
                act = learn(seed)
            seconds = time.monotonic() - start
            for kind, values in returns.items():
                values.append(mean_return(world, act, greedy=kind == "greedy"))
            print(
                f"{world}, {algorithm}, seed {seed}: mean return {returns['drawn'][-1]:.1f} drawn, "
                f"{returns['greedy'][-1]:.1f} greedy; learned in {seconds:.0f} s",
                flush=True,
            )
        rows += [f"| {world} | {algorithm} | {kind} | {summary(values)} |" for kind, values in returns.items()]
        if world == "CartPole-v1" and algorithm != PEER and np.mean(returns["greedy"]) < SOLVED:
            status = 1
    print(f"\n{len(asked.seeds)} seeds, {STEPS:,} steps:\n")
    print("| world | algorithm | actions | mean | interquartile mean | least | 95 % interval of the mean |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(rows))
    return status


if __name__ == "__main__":
    sys.exit(main())
