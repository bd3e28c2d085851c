"""One epoch of the page's size, ours against sb3-contrib's TRPO, interleaved in one process.

10,000 steps of CartPole-v1, a 4-32-32-2 tanh policy, one TRPO update, the baseline's fit and a snapshot: split
into sampling, update and save, with policies whose episodes are about 20, 200 and 500 steps long. Both sides
act with the same weights at the start of every epoch and use their own defaults otherwise; sb3-contrib runs at
its best number of environments. One thread each. Ours is timed from the epoch's first line in the log to its
last; sb3-contrib by the calls that its ``learn`` makes, without its logger. Prints medians with the range, and
the ratio of the medians; writes the same as JSON to ``--out``.
"""

import argparse
import contextlib
import io
import itertools
import json
import logging
import os
import platform
import re
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import sb3_contrib
import torch
from stable_baselines3.common.env_util import make_vec_env

from garage.algos import TRPO
from garage.baselines import LinearFeatureBaseline
from garage.core.mlp import MLPShape
from garage.envs import GymEnv
from garage.experiment import ExperimentContext, Trainer
from garage.experiment.deterministic import set_seed
from garage.np.policies import CategoricalMLPPolicy

BATCH = 10_000
SHAPE = MLPShape((4, 32, 32, 2))
TARGETS = (20, 200, 500)
PARTS = ("sampling", "update", "save", "total")


class Stopwatch(logging.Handler):
    """When each line of an epoch was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.times: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Note the time of the line."""
        self.times[re.split(r" for iteration| \d", record.getMessage())[0]] = time.perf_counter()

    def between(self, first: str, last: str) -> float:
        """Seconds from one line to another."""
        return self.times[last] - self.times[first]


class Ours:
    """A run of ours whose policy is put back to the same weights before every epoch."""

    def __init__(self, folder: str) -> None:
        with quiet():
            set_seed(1)
            env = GymEnv("CartPole-v1")
            policy = CategoricalMLPPolicy(env.spec)
            algo = TRPO(env=env, policy=policy, baseline=LinearFeatureBaseline(env.spec))
            self.trainer = Trainer(ExperimentContext(folder))
            self.trainer.setup(algo, env)
        self.policy, self.n_epochs, self.mean_length = policy, 0, 0.0
        self.watch = Stopwatch()
        logging.getLogger("garage").addHandler(self.watch)

    def epoch(self, theta: np.ndarray | None = None) -> dict[str, float]:
        """Seconds of one epoch by part."""
        if theta is not None:
            self.policy.theta = theta
        self.n_epochs += 1
        with quiet():
            if self.n_epochs == 1:
                self.mean_length = self.trainer.train(n_epochs=1, batch_size=BATCH)
            else:
                self.mean_length = self.trainer.resume(n_epochs=self.n_epochs)
        watch = self.watch
        return {
            "sampling": watch.between("Obtaining samples", "Logging diagnostics..."),
            "update": watch.between("Logging diagnostics...", "Saving snapshot..."),
            "save": watch.between("Saving snapshot...", "Saved"),
            "total": watch.between("Obtaining samples", "EpochTime"),
        }


class Theirs:
    """sb3-contrib's TRPO with the same network, put back to the same weights before every epoch."""

    def __init__(self, n_envs: int) -> None:
        torch.set_num_threads(1)
        arch = {"pi": [32, 32], "vf": [32, 32]}
        warnings.filterwarnings("ignore", message="You have specified a mini-batch size")
        self.model = sb3_contrib.TRPO(
            "MlpPolicy",
            make_vec_env("CartPole-v1", n_envs, seed=1),
            n_steps=BATCH // n_envs,
            seed=1,
            device="cpu",
            policy_kwargs={"net_arch": arch, "activation_fn": torch.nn.Tanh},
        )
        self.steps = BATCH // n_envs * n_envs
        self.model._setup_learn(self.steps)

    def epoch(self, theta: np.ndarray) -> dict[str, float]:
        """Seconds of one epoch by part, scaled up where the number of environments does not divide the batch."""
        policy = self.model.policy
        layers = [policy.mlp_extractor.policy_net[0], policy.mlp_extractor.policy_net[2], policy.action_net]
        with torch.no_grad():
            for layer, (weights, biases) in zip(layers, SHAPE.layers(theta), strict=True):
                layer.weight.copy_(torch.tensor(weights.T.copy()))
                layer.bias.copy_(torch.tensor(biases.copy()))
        _, callback = self.model._setup_learn(self.steps)
        times = [time.perf_counter()]
        self.model.collect_rollouts(self.model.env, callback, self.model.rollout_buffer, self.model.n_steps)
        times.append(time.perf_counter())
        self.model.train()
        times.append(time.perf_counter())
        self.model.save(io.BytesIO())
        times.append(time.perf_counter())
        scale = BATCH / self.steps
        sampling, update, save = (scale * (b - a) for a, b in itertools.pairwise(times))
        return {"sampling": sampling, "update": update, "save": save, "total": sampling + update + save}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the experiment's lines."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def thetas(scratch: str) -> dict[int, np.ndarray]:
    """Weights whose episodes are about as long as each target."""
    ours, found = Ours(f"{scratch}/teacher"), {}
    previous = ours.policy.theta
    while len(found) < len(TARGETS):
        used = previous
        ours.epoch()
        for target in TARGETS:
            if target not in found and ours.mean_length >= 0.95 * target:
                found[target] = used.copy()
        previous = ours.policy.theta
    return found


def summary(samples: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Median and range of each part, in milliseconds."""
    return {
        part: {
            "median": 1e3 * statistics.median(values),
            "min": 1e3 * min(values),
            "max": 1e3 * max(values),
        }
        for part in PARTS
        for values in [[sample[part] for sample in samples]]
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--widths", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    report = {"machine": platform.platform(), "cpu_count": os.cpu_count(), "batch": BATCH, "cases": {}}
    with tempfile.TemporaryDirectory() as scratch:
        starts = thetas(scratch)
        ours = Ours(f"{scratch}/ours")
        peers = {n: Theirs(n) for n in arguments.widths}
        best = min(peers, key=lambda n: min(peers[n].epoch(starts[200])["total"] for _ in range(2)))
        print(f"sb3-contrib is fastest with {best} of {arguments.widths} environments")
        for target in TARGETS:
            samples = {"garage": [], "sb3-contrib": []}
            ours.epoch(starts[target])  # the start rule now knows how long these episodes are
            for index in range(arguments.rounds):
                samples["garage"].append(ours.epoch(starts[target]))
                if index < max(3, arguments.rounds // 3):
                    samples["sb3-contrib"].append(peers[best].epoch(starts[target]))
            case = {name: summary(values) for name, values in samples.items()}
            report["cases"][target] = case
            print(f"\nmean length near {target} (measured {ours.mean_length:.0f}); milliseconds, median (min to max)")
            for part in PARTS:
                cells = []
                for name in case:
                    c = case[name][part]
                    cells.append(f"{name} {c['median']:8.1f} ({c['min']:.1f} to {c['max']:.1f})")
                ratio = case["sb3-contrib"][part]["median"] / case["garage"][part]["median"]
                print(f"  {part:9} {'   '.join(cells)}   ratio {ratio:.1f}")
    report["peer_width"] = best
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
