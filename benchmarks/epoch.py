"""One epoch of the page's size: the ports of ours side by side, against sb3-contrib's TRPO, interleaved in one process.

10,000 steps of CartPole-v1, a 4-32-32-2 tanh policy, one TRPO update, the baseline's fit and a snapshot: split
into sampling, update and save, with policies whose episodes are about 20, 200 and 500 steps long. All sides
act with the same weights at the start of every epoch and use their own defaults otherwise; sb3-contrib runs at
its best number of environments. Ours collect whole episodes; those that are called "cut" collect fragments, so many
steps whatever is in the middle of an episode, as sb3-contrib always does. One thread each. Each of ours is one
training, whose epochs wait for their turn; an epoch is timed from its turn to the next epoch's beginning. sb3-contrib
is timed by the calls that its ``learn`` makes, without its logger. Prints medians with the range, and the ratios of
the medians; writes the same as JSON to ``--out``.
"""

import argparse
import contextlib
import importlib
import io
import itertools
import json
import logging
import os
import platform
import re
import statistics
import sys
import tempfile
import threading
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
from garage.core.mlp_actors import CategoricalMLPActor
from garage.core.ports import Collect
from garage.core.streams import Streams
from garage.core.types import Metrics
from garage.envs import GymEnv
from garage.experiment import ExperimentContext, TFTrainer, Trainer
from garage.experiment.deterministic import set_seed

BATCH = 10_000
SHAPE = MLPShape((4, 32, 32, 2))
TARGETS = (20, 200, 500)
PARTS = ("sampling", "update", "save", "total")


class Paced(TRPO):
    """TRPO whose epochs wait for their turn."""

    def epoch(self, collect: Collect, streams: Streams) -> Metrics:
        """One epoch, when it is its turn."""
        pace: Ours = threading.current_thread()  # type: ignore[assignment]
        pace.wait_for_turn(self.policy)
        return super().epoch(collect, streams)


class Stopwatch(logging.Handler):
    """When each thread logged each line of its epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.times: dict[tuple[int, str], float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Note the time of the line."""
        line = re.split(r" for iteration| \d", record.getMessage())[0]
        self.times[threading.get_ident(), line] = time.perf_counter()


class Ours(threading.Thread):
    """A training in one of the ports, in a thread of its own; only one thread is awake at a time."""

    watch = Stopwatch()

    def __init__(self, port: str, folder: str, *, fragments: bool = False) -> None:
        super().__init__(daemon=True)
        self.port, self.folder, self.fragments = port, folder, fragments
        self.theta: np.ndarray | None = None
        self.mean_length = 0.0
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._begun = self._ended = 0.0
        self.start()
        self._done.acquire()

    def run(self) -> None:
        """Train, epoch by epoch as it is told to."""
        context = ExperimentContext(self.folder)
        policies = importlib.import_module(f"garage.{self.port}.policies")
        with TFTrainer(context) if self.port == "tf" else contextlib.nullcontext(Trainer(context)) as trainer:
            env = GymEnv("CartPole-v1")
            policy = policies.CategoricalMLPPolicy(env.spec)
            baseline = LinearFeatureBaseline(env.spec)
            trainer.setup(Paced(env=env, policy=policy, baseline=baseline, fragments=self.fragments), env)
            self.trainer = trainer
            trainer.train(n_epochs=1_000_000, batch_size=BATCH)

    def wait_for_turn(self, policy: CategoricalMLPActor) -> None:
        """Report the last epoch and wait until the next one may run."""
        self._ended = time.perf_counter()
        self.present = policy.theta
        self._done.release()
        self._go.acquire()
        if self.theta is not None:
            policy.theta = self.theta
        self._begun = time.perf_counter()

    def epoch(self, theta: np.ndarray | None = None) -> dict[str, float]:
        """Seconds of one epoch by part."""
        self.theta = theta
        self._go.release()
        self._done.acquire()
        diagnosed, saving, saved = (
            self.watch.times[self.ident, line] for line in ("Logging diagnostics...", "Saving snapshot...", "Saved")
        )
        return {
            "sampling": diagnosed - self._begun,
            "update": saving - diagnosed,
            "save": saved - saving,
            "total": self._ended - self._begun,
        }

    def length(self) -> float:
        """Mean length of the last epoch's episodes; in CartPole-v1, their mean return."""
        return float(self.trainer._progress.metrics["Evaluation/AverageReturn"])


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
    teacher, found = Ours("np", f"{scratch}/teacher"), {}
    while len(found) < len(TARGETS):
        used = teacher.present
        teacher.epoch()
        for target in TARGETS:
            if target not in found and teacher.length() >= 0.95 * target:
                found[target] = used.copy()
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
    parser.add_argument("--ports", nargs="+", default=["np", "torch", "tf"])
    parser.add_argument("--cut", nargs="*", default=["np"], help="ports that collect fragments too")
    parser.add_argument("--widths", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    report = {"machine": platform.platform(), "cpu_count": os.cpu_count(), "batch": BATCH, "cases": {}}
    logging.getLogger("garage").addHandler(Ours.watch)
    printed = sys.stdout
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch, quiet():
        set_seed(1)
        starts = thetas(scratch)
        sides = {port: Ours(port, f"{scratch}/{port}") for port in arguments.ports}
        sides |= {f"{port}, cut": Ours(port, f"{scratch}/{port}-cut", fragments=True) for port in arguments.cut}
        peers = {n: Theirs(n) for n in arguments.widths}
        best = min(peers, key=lambda n: min(peers[n].epoch(starts[200])["total"] for _ in range(2)))
        print(f"sb3-contrib is fastest with {best} of {arguments.widths} environments", file=printed)
        for target in TARGETS:
            samples = {name: [] for name in (*sides, "sb3-contrib")}
            for side in sides.values():
                side.epoch(starts[target])  # the start rule now knows how long these episodes are
            for index in range(arguments.rounds):
                for name, side in sides.items():
                    samples[name].append(side.epoch(starts[target]))
                if index % 3 == 0:
                    samples["sb3-contrib"].append(peers[best].epoch(starts[target]))
            case = {name: summary(values) for name, values in samples.items()}
            report["cases"][target] = case
            length = sides[arguments.ports[0]].length()
            print(f"\nmean length near {target} (measured {length:.0f}); milliseconds", file=printed)
            for name, parts in case.items():
                cells = [f"{part} {c['median']:7.1f} ({c['min']:.1f} to {c['max']:.1f})" for part, c in parts.items()]
                ratio = case["sb3-contrib"]["total"]["median"] / parts["total"]["median"]
                of_first = parts["total"]["median"] / case[arguments.ports[0]]["total"]["median"]
                ratios = f"{ratio:5.1f} times sb3-contrib, {of_first:.2f} of {arguments.ports[0]}'s time"
                print(f"  {name:12} {'  '.join(cells)}  {ratios}", file=printed, flush=True)
    report["peer_width"] = best
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
