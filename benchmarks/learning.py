"""How well the algorithms have learned after 100,000 steps, and their peers at their published settings.

Each final policy plays 50 episodes with its actions drawn and 50 greedily, all of them with the same seeds, in
gymnasium's own environment. A row says, over the training seeds: the mean, the interquartile mean (of the middle
half), the least, and a 95 % interval of the mean by bootstrap. Exits with 1 if one of our algorithms has a greedy mean
return below 475 on CartPole-v1, or if the interval of our TRPO's does not reach the mean of sb3-contrib's in the same
world. ``--pictures FOLDER`` draws the learning curves: of ours the mean return of each epoch's episodes, of the peers
that of the episodes of each 2,000 steps.

The peers' settings are those of rl-baselines3-zoo, ``hyperparams/ppo.yml`` and ``hyperparams/trpo.yml``.
"""

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import argparse
import contextlib
import csv
import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
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
from garage.recording.curves import Series, curve
from garage.recording.intervals import bootstrap_interval, interquartile_mean
from garage.recording.pictures import Captions, draw

STEPS = 100_000
EPISODES = 50
SOLVED = 475
PEERS = {"PPO": "PPO of stable-baselines3", "TRPO": "TRPO of sb3-contrib"}
POINT_STEPS = 2000
"""Steps between two points of a peer's curve."""

Act = Callable[[np.ndarray, Any], np.ndarray]
"""From one observation, and a generator or None to be greedy, to one action."""


class Learned(NamedTuple):
    """What came of one seed."""

    act: Act
    """The policy after the steps."""
    returns: list[tuple[float, float]]
    """Steps, and the mean return of the episodes that ended until then and after the point before."""


class Case(NamedTuple):
    """An algorithm in a world."""

    world: str
    algorithm: str
    learn: Callable[[int], Learned]
    """From a seed."""


def ours(world: str, make: Callable[[Env], Algorithm], batch_size: int, n_lanes: int | None = None) -> Case:
    """A case of ours: the first policy after the steps."""

    def learn(seed: int) -> Learned:
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
            rows = list(csv.DictReader(Path(scratch, "progress.csv").read_text().splitlines()))
        policy = algo.policies()["policy"]

        def act(observation: np.ndarray, generator: Any) -> np.ndarray:  # noqa: ANN401 - a NumPy generator or None
            noise = None if generator is None else policy.draw_noise(generator, 1)
            return policy.act(observation[np.newaxis], policy.initial_memory(1), noise)[0][0]

        return Learned(act, [(float(row["TotalEnvSteps"]), float(row["Evaluation/AverageReturn"])) for row in rows])

    return Case(world, make.__name__.partition("_")[0].upper(), learn)


def trpo(env: Env) -> Algorithm:
    """As in the examples."""
    policy = CategoricalMLPPolicy(env.spec, hidden_sizes=(32, 32))
    return TRPO(env=env, policy=policy, baseline=LinearFeatureBaseline(env.spec))


def trpo_pendulum(env: Env) -> Algorithm:
    """At the peer's settings, but for its exploration, which is a function of the state."""
    policy = GaussianMLPPolicy(env.spec, hidden_sizes=(64, 64))
    baseline = MLPValueFunction(env.spec, (64, 64), n_passes=15, minibatch_size=64, time_input=False)
    return TRPO(env=env, policy=policy, baseline=baseline, discount=0.9, gae_lambda=0.95, fragments=True)


def trpo_acrobot(env: Env) -> Algorithm:
    """At the peer's settings, but for batches of half the size, and without normalisation."""
    policy = CategoricalMLPPolicy(env.spec, hidden_sizes=(64, 64))
    baseline = MLPValueFunction(env.spec, (64, 64), n_passes=10, minibatch_size=64, time_input=False)
    return TRPO(env=env, policy=policy, baseline=baseline, gae_lambda=0.95, fragments=True)


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


def peers(world: str, algorithm: str, n_envs: int, *, normalised: bool = False, **settings: Any) -> Case:
    """stable-baselines3's PPO, or sb3-contrib's TRPO."""

    def learn(seed: int) -> Learned:
        import sb3_contrib  # noqa: PLC0415 - it imports PyTorch, which our own cases need not
        import stable_baselines3 as sb3  # noqa: PLC0415
        import torch  # noqa: PLC0415
        from stable_baselines3.common.env_util import make_vec_env  # noqa: PLC0415
        from stable_baselines3.common.vec_env import VecNormalize  # noqa: PLC0415

        torch.set_num_threads(1)
        env = make_vec_env(world, n_envs, seed=seed)
        if normalised:
            env = VecNormalize(env)
        kind = {"PPO": sb3.PPO, "TRPO": sb3_contrib.TRPO}[algorithm]
        model = kind("MlpPolicy", env, seed=seed, device="cpu", **settings)
        ended: list[tuple[int, float]] = []

        def note(values: dict[str, Any], _: Any) -> bool:  # noqa: ANN401 - the peer's signature
            ended.extend((model.num_timesteps, info["episode"]["r"]) for info in values["infos"] if "episode" in info)
            return True

        model.learn(STEPS, callback=note)

        def act(observation: np.ndarray, generator: Any) -> np.ndarray:  # noqa: ANN401 - see `Act`
            seen = env.normalize_obs(observation) if normalised else observation
            return model.predict(seen, deterministic=generator is None)[0]

        points: dict[int, list[float]] = {}
        for steps, value in ended:
            points.setdefault(-(-steps // POINT_STEPS) * POINT_STEPS, []).append(value)
        return Learned(act, [(steps, float(np.mean(values))) for steps, values in sorted(points.items())])

    return Case(world, PEERS[algorithm], learn)


CASES = (
    ours("CartPole-v1", trpo, 4000),
    ours("CartPole-v1", npg, 4000),
    ours("CartPole-v1", vpg, 4000),
    ours("CartPole-v1", ppo, 256, 8),
    peers(
        "CartPole-v1",
        "TRPO",
        2,
        n_steps=512,
        batch_size=512,
        cg_damping=1e-3,
        gae_lambda=0.98,
        gamma=0.99,
        learning_rate=1e-3,
        n_critic_updates=20,
    ),
    peers(
        "CartPole-v1",
        "PPO",
        8,
        n_steps=32,
        batch_size=256,
        n_epochs=20,
        gae_lambda=0.8,
        gamma=0.98,
        learning_rate=lambda left: 1e-3 * left,
        clip_range=lambda left: 0.2 * left,
    ),
    ours("Pendulum-v1", trpo_pendulum, 2048, 2),
    peers(
        "Pendulum-v1",
        "TRPO",
        2,
        n_steps=1024,
        gamma=0.9,
        n_critic_updates=15,
        use_sde=True,
        sde_sample_freq=4,
    ),
    ours("Pendulum-v1", ppo_pendulum, 4096, 4),
    peers(
        "Pendulum-v1",
        "PPO",
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
    ours("Acrobot-v1", trpo_acrobot, 1024, 4),
    peers("Acrobot-v1", "TRPO", 2, normalised=True, n_steps=1024),
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
    low, high = interval(returns)
    middle = float(interquartile_mean(returns))
    return f"{np.mean(returns):.1f} | {middle:.1f} | {min(returns):.1f} | {low:.1f} to {high:.1f}"


def interval(returns: list[float]) -> tuple[float, float]:
    """Of the mean, 95 %."""
    low, high = bootstrap_interval(returns, lambda runs: runs.mean(axis=0), n_resamples=10_000).tolist()
    return low, high


def shortfalls(greedy: dict[tuple[str, str], list[float]]) -> list[str]:
    """What fell short of its bar, from the greedy returns by world and algorithm; one line each."""
    lines = [
        f"{algorithm} has a greedy mean return of {np.mean(returns):.1f} on CartPole-v1, below {SOLVED}"
        for (world, algorithm), returns in greedy.items()
        if world == "CartPole-v1" and algorithm not in PEERS.values() and np.mean(returns) < SOLVED
    ]
    for (world, algorithm), returns in greedy.items():
        peer = greedy.get((world, PEERS["TRPO"])) if algorithm == "TRPO" else None
        if peer is not None and interval(returns)[1] < np.mean(peer):
            lines.append(f"TRPO's interval on {world} ends at {interval(returns)[1]:.1f}, below {np.mean(peer):.1f}")
    return lines


def draw_world(world: str, learned: dict[str, list[Series]], folder: Path) -> None:
    """The learning curves of one world."""
    curves = [curve(algorithm, members) for algorithm, members in learned.items()]
    captions = Captions(world, "environment steps", "mean return of the episodes", 0.95)
    draw(curves, captions, folder / f"learning_{world}.png")


def main() -> int:
    """Learn and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    for option, names in (("--worlds", {case.world for case in CASES}), ("--algorithms", {c.algorithm for c in CASES})):
        parser.add_argument(option, nargs="+", default=sorted(names), choices=sorted(names))
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="draw learning curves there")
    asked = parser.parse_args()
    rows: list[str] = []
    greedy: dict[tuple[str, str], list[float]] = {}
    drawn: dict[str, dict[str, list[Series]]] = {}
    for world, algorithm, learn in CASES:
        if world not in asked.worlds or algorithm not in asked.algorithms:
            continue
        returns: dict[str, list[float]] = {"drawn": [], "greedy": []}
        for seed in asked.seeds:
            start = time.monotonic()
            with contextlib.redirect_stdout(io.StringIO()):
                act, points = learn(seed)
            seconds = time.monotonic() - start
            for kind, values in returns.items():
                values.append(mean_return(world, act, greedy=kind == "greedy"))
            print(
                f"{world}, {algorithm}, seed {seed}: mean return {returns['drawn'][-1]:.1f} drawn, "
                f"{returns['greedy'][-1]:.1f} greedy; learned in {seconds:.0f} s",
                flush=True,
            )
            x, y = np.array([point for point in points if np.isfinite(point[1])]).T
            drawn.setdefault(world, {}).setdefault(algorithm, []).append(Series(f"{algorithm}, {seed}", seed, x, y))
        rows += [f"| {world} | {algorithm} | {kind} | {summary(values)} |" for kind, values in returns.items()]
        greedy[world, algorithm] = returns["greedy"]
    print(f"\n{len(asked.seeds)} seeds, {STEPS:,} steps:\n")
    print("| world | algorithm | actions | mean | interquartile mean | least | 95 % interval of the mean |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(rows))
    if asked.pictures is not None:
        for world, learned in drawn.items():
            draw_world(world, learned, asked.pictures)
    short = shortfalls(greedy)
    print("\n".join(short))
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
