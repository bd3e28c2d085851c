"""One epoch of the page's size: the ports of ours side by side, beside others' TRPO, interleaved in one process.

10,000 steps, a tanh policy with two hidden layers of 32, one TRPO update, the baseline's fit and a snapshot: split
into sampling, update and save. CartPole-v1 with policies whose episodes are about 20, 200 and 500 steps long, and
Pendulum-v1, where all take 200. All sides act with the same weights at the start of every epoch and use their own
defaults otherwise; a peer runs at its best number of environments. Ours collect whole episodes; those that are called
"cut" collect fragments, so many steps whatever is in the middle of an episode, as the peers always do. One thread each.

Each of ours is one training, whose epochs wait for their turn; an epoch is timed from its turn to the next epoch's
beginning, so what is written in the background counts. A turn is several epochs in a row, and its first one is not in
the medians, for ours and for the peers: it runs with the caches as another side left them, and while that one's last
snapshot is still being written, and in no training do epochs of others lie between its own. JSON has it as "first".
The sides take turns in rounds; the peers, whose epochs are long, in every third one.

Prints medians with the range, and the ratios of the medians and of the fastest; writes the same as JSON to ``--out``.
The peers are those of ``epoch_peers.py`` that are installed; behind a peer's name is its number of environments.
"""

import argparse
import contextlib
import importlib
import io
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
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from epoch_peers import BATCH, INSTALLED, MISSING, WIDTHS, WORLDS, World, best

from garage.algos import TRPO
from garage.baselines import LinearFeatureBaseline
from garage.core.mlp_actors import MLPActor
from garage.core.ports import Collect
from garage.core.streams import Streams
from garage.core.types import Metrics
from garage.envs import GymEnv
from garage.experiment import ExperimentContext, TFTrainer, Trainer
from garage.experiment.deterministic import set_seed

PARTS = ("sampling", "update", "save", "total")
PEER_ROUNDS = 3

Case = dict[str, dict[str, float]]
"""Milliseconds of one side by part: median, min, max, first."""


class Side(Protocol):
    """Who is measured."""

    def epoch(self, theta: np.ndarray) -> dict[str, float]:
        """Seconds of one epoch by part, begun with these weights."""
        ...


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

    def __init__(self, world: World, port: str, folder: Path, *, fragments: bool = False) -> None:
        super().__init__(daemon=True)
        self.world, self.port, self.folder, self.fragments = world, port, folder, fragments
        self.theta: np.ndarray | None = None
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._begun = self._ended = 0.0
        self._steps_before = 0
        self.start()
        self._done.acquire()

    def run(self) -> None:
        """Train, epoch by epoch as it is told to."""
        context = ExperimentContext(self.folder)
        policies = importlib.import_module(f"garage.{self.port}.policies")
        kind = policies.GaussianMLPPolicy if self.world.n_log_stds else policies.CategoricalMLPPolicy
        with TFTrainer(context) if self.port == "tf" else contextlib.nullcontext(Trainer(context)) as trainer:
            env = GymEnv(self.world.name)
            baseline = LinearFeatureBaseline(env.spec)
            algo = Paced(env=env, policy=kind(env.spec), baseline=baseline, fragments=self.fragments)
            trainer.setup(algo, env)
            self.trainer = trainer
            trainer.train(n_epochs=1_000_000, batch_size=BATCH)

    def wait_for_turn(self, policy: MLPActor) -> None:
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
        self.theta, self._steps_before = theta, self.trainer.total_env_steps
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
        """Steps of the last epoch over episodes that ended in it."""
        n_steps = self.trainer.total_env_steps - self._steps_before
        return n_steps / float(self.trainer._progress.metrics["Evaluation/NumEpisodes"])


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the experiment's lines."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def thetas(world: World, folder: Path) -> dict[int, np.ndarray]:
    """Weights whose episodes are about as long as each of the world's lengths."""
    teacher, found = Ours(world, "np", folder), {}
    while len(found) < len(world.lengths):
        used = teacher.present
        teacher.epoch()
        for length in world.lengths:
            if length not in found and teacher.length() >= 0.95 * length:
                found[length] = used.copy()
    return found


def turns_of(
    sides: Mapping[str, Side], theta: np.ndarray, arguments: argparse.Namespace
) -> dict[str, list[list[dict[str, float]]]]:
    """Each side's turns, epoch by epoch, the first ones too."""
    turns: dict[str, list[list[dict[str, float]]]] = {name: [] for name in sides}
    for index in range(arguments.rounds):
        for name, side in sides.items():
            ours = isinstance(side, Ours)
            if ours or index % PEER_ROUNDS == 0:
                n_counted = arguments.turn if ours else arguments.peer_turn
                turns[name].append([side.epoch(theta) for _ in range(1 + n_counted)])
    return turns


def summary(turns: list[list[dict[str, float]]]) -> Case:
    """Of each part in milliseconds: median and range without the turns' first epochs, and the median of these."""
    return {
        part: {
            "median": 1e3 * statistics.median(values),
            "min": 1e3 * min(values),
            "max": 1e3 * max(values),
            "first": 1e3 * statistics.median(turn[0][part] for turn in turns),
        }
        for part in PARTS
        for values in [[epoch[part] for turn in turns for epoch in turn[1:]]]
    }


def table(cases: Mapping[str, Case]) -> str:
    """A line a side; how many times the first side's epoch its own takes: of medians, and of the fastest epochs."""
    first = next(iter(cases))
    lines = []
    for name, parts in cases.items():
        cells = [f"{part} {c['median']:7.1f} ({c['min']:.1f} to {c['max']:.1f})" for part, c in parts.items()]
        ratios = [parts["total"][kind] / cases[first]["total"][kind] for kind in ("median", "min")]
        lines.append(f"  {name:16} {'  '.join(cells)}  {ratios[0]:.2f} ({ratios[1]:.2f}) of {first}'s")
    return "\n".join(lines)


def measured(world: World, folder: Path, arguments: argparse.Namespace) -> Iterator[tuple[int, float, dict[str, Case]]]:
    """For each length of the world's: the length, the mean length found, and what was measured of each side."""
    starts = thetas(world, folder / "teacher")
    sides: dict[str, Side] = {port: Ours(world, port, folder / port) for port in arguments.ports}
    sides |= {f"{port}, cut": Ours(world, port, folder / f"{port}-cut", fragments=True) for port in arguments.cut}
    ours = list(sides.values())
    for kind in INSTALLED:
        peer = best(kind, world, arguments.widths, starts[200])
        sides[f"{peer.name}, {peer.n_envs}"] = peer
    for length, theta in starts.items():
        for side in ours:
            side.epoch(theta)  # the start rule now knows how long these episodes are
        turns = turns_of(sides, theta, arguments)
        yield length, ours[0].length(), {name: summary(values) for name, values in turns.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS), choices=list(WORLDS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--turn", type=int, default=5, help="epochs of a turn of ours that count")
    parser.add_argument("--peer-turn", type=int, default=1, help="epochs of a turn of a peer's that count")
    parser.add_argument("--ports", nargs="+", default=["np", "torch", "tf"])
    parser.add_argument("--cut", nargs="*", default=["np"], help="ports that collect fragments too")
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS, help="numbers of environments of the peers")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    report = {"machine": platform.platform(), "cpu_count": os.cpu_count(), "batch": BATCH, "cases": {}}
    report |= {"turn": arguments.turn, "peer_turn": arguments.peer_turn}
    logging.getLogger("garage").addHandler(Ours.watch)
    printed = sys.stdout
    for name in MISSING:
        print(f"{name} is not installed and left out")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch, quiet():
        set_seed(1)
        for name in arguments.worlds:
            for length, found, case in measured(WORLDS[name], Path(scratch, name), arguments):
                report["cases"][f"{name}, {length}"] = case
                print(f"\n{name}, mean length near {length} (measured {found:.0f}); milliseconds", file=printed)
                print(table(case), file=printed, flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
