"""How an epoch's time grows: with the batch, the lanes, the network, the snapshots of the run, and after 2,000 epochs.

CartPole-v1 and TRPO in NumPy, put back to its first weights before every epoch, so that all epochs of a case do the
same. Each case is one training in a process of its own, whose epochs wait for their turn; those that are compared take
turns. An epoch is timed from its turn to the next epoch's beginning, by the clock and by processor time, which other
users of the machine disturb less and which counts what is written in the background.

For the 2,000 epochs, in modes ``last`` and ``all``, the last hundred take turns, ten by ten, with the first hundred of
a training that has just begun, because a machine is not the same two minutes later; memory is compared with the first
hundred of the same process. Snapshot times are what training waits for, and processor time of the thread that writes.

Prints medians with the range (of hundreds: with the quartiles), and ratios of the medians; writes JSON to ``--out``.
"""

import argparse
import contextlib
import json
import logging
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TextIO

os.environ.setdefault("OMP_NUM_THREADS", "1")

BAR = 1.05
HUNDRED, TURN = 100, 10
DEFAULTS = {"batch": 4_000, "lanes": None, "width": 32, "mode": "last", "epochs_before": 0}
CASES: Mapping[str, tuple[str, Sequence[Any], Mapping[str, Any]]] = {
    "batch": ("batch size, steps", (500, 2_000, 10_000, 40_000), {}),
    "lanes": ("lanes", (1, 4, 16, 64), {}),
    "width": ("network, units in each of two layers", (16, 32, 64, 128, 256), {}),
    "epochs_before": ("snapshots in the run", (0, 100, 300, 1_000), {"mode": "all", "batch": 200}),
}
KINDS = {
    "epoch_ms": "epoch, clock, ms",
    "processor_ms": "epoch, processor, ms",
    "memory_mb": "memory, MB",
    "waited_ms": "snapshot, waited for, ms",
    "writing_ms": "snapshot, writing, processor, ms",
}


class Training:
    """A training in another process, which takes so many epochs as it is told to, and then waits."""

    def __init__(self, folder: Path, **options: Any) -> None:
        given = json.dumps({**DEFAULTS, **options, "folder": str(folder)})
        command = [sys.executable, __file__, "--child", given]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        """Nothing more; the first `epochs` waits until the training is ready."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process, wherever it is."""
        self._process.kill()
        self._process.communicate()

    def epochs(self, n: int) -> list[dict[str, float]]:
        """Take n epochs; what was measured of each.

        Raises:
            RuntimeError: the process has ended; its standard error says why.
        """
        self._process.stdin.write(f"{n}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            msg = f"The training ended by itself, with exit code {self._process.wait()}."
            raise RuntimeError(msg)
        measured: list[dict[str, float]] = json.loads(line)
        return measured


class Watch(logging.Handler):
    """What each epoch took, between the moments at which it is told that one begins."""

    def __init__(self, told: TextIO, answers: TextIO) -> None:
        super().__init__()
        self._told, self._answers = told, answers
        self._n_left, self._measured = 0, []
        self._begun, self._saving = (0.0, 0.0), 0.0
        self._of_snapshot: dict[str, float] = {}
        self._page = resource.getpagesize()

    def emit(self, record: logging.LogRecord) -> None:
        """Note how long training waits for a snapshot."""
        line = record.getMessage()
        if line == "Saving snapshot...":
            self._saving = time.perf_counter()
        elif line == "Saved":
            self._of_snapshot["waited_ms"] = 1e3 * (time.perf_counter() - self._saving)

    def written(self, seconds: float) -> None:
        """Note what the thread that writes snapshots has taken for one; it is counted for the epoch that goes on."""
        self._of_snapshot["writing_ms"] = 1e3 * seconds

    def epoch_begins(self) -> None:
        """Count the last one, and wait for the next turn if it was the turn's last."""
        clock, processor = (1e3 * (now - then) for now, then in zip(_now(), self._begun, strict=True))
        if self._n_left:
            memory = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * self._page / 1e6
            taken = {"epoch_ms": clock, "processor_ms": processor, "memory_mb": memory, **self._of_snapshot}
            self._measured.append(taken)
            self._of_snapshot.clear()
            self._n_left -= 1
            if not self._n_left:
                print(json.dumps(self._measured), file=self._answers, flush=True)
                self._measured.clear()
        if not self._n_left:
            self._n_left = int(self._told.readline())
        self._begun = _now()


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def train(given: dict[str, Any]) -> None:
    """Train in this process, as its standard input says; what was measured goes to its standard output."""
    from garage.algos import TRPO  # noqa: PLC0415 - only the children need them
    from garage.baselines import LinearFeatureBaseline  # noqa: PLC0415
    from garage.core.ports import Collect  # noqa: PLC0415
    from garage.core.streams import Streams  # noqa: PLC0415
    from garage.core.types import Array, Metrics  # noqa: PLC0415
    from garage.envs import GymEnv  # noqa: PLC0415
    from garage.experiment import ExperimentContext, Trainer  # noqa: PLC0415
    from garage.experiment.deterministic import set_seed  # noqa: PLC0415
    from garage.np.policies import CategoricalMLPPolicy  # noqa: PLC0415
    from garage.storage.writer import RunWriter  # noqa: PLC0415

    watch = Watch(sys.stdin, sys.stdout)
    logging.getLogger("garage").addHandler(watch)
    write = RunWriter.snapshot

    def timed(*arguments: Any, **options: Any) -> None:
        begun = time.thread_time()
        write(*arguments, **options)
        watch.written(time.thread_time() - begun)

    RunWriter.snapshot = timed

    class Paced(TRPO):
        """TRPO whose epochs wait for their turn, and begin with the first weights."""

        first: Array | None = None

        def epoch(self, collect: Collect, streams: Streams) -> Metrics:
            if self.first is None:
                self.first = self.policy.theta.copy()
            watch.epoch_begins()
            self.policy.theta = self.first
            return super().epoch(collect, streams)

    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        sys.stdout = nowhere  # tables and lines; to keep them would look like a leak
        set_seed(1)
        env = GymEnv("CartPole-v1")
        policy = CategoricalMLPPolicy(env.spec, hidden_sizes=(given["width"], given["width"]))
        trainer = Trainer(ExperimentContext(given["folder"], snapshot_mode=given["mode"]))
        algo = Paced(env=env, policy=policy, baseline=LinearFeatureBaseline(env.spec))
        trainer.setup(algo, env, n_lanes=given["lanes"])
        trainer.train(n_epochs=1_000_000, batch_size=given["batch"])


def values_of(samples: Iterable[Mapping[str, float]], kind: str) -> list[float]:
    """What was measured of one kind; not every epoch has a snapshot."""
    return [sample[kind] for sample in samples if kind in sample]


def cell(values: list[float], *, quartiles: bool = False) -> str:
    """Median and spread."""
    low, high = (statistics.quantiles(values, n=4)[::2]) if quartiles else (min(values), max(values))
    return f"{statistics.median(values):8.2f} ({low:.2f} to {high:.2f})"


def grown(folder: Path, option: str, n_rounds: int) -> dict[str, list[dict[str, float]]]:
    """One case of `CASES`, all of its values in turns."""
    name, settings, others = CASES[option]
    samples: dict[str, list[dict[str, float]]] = {str(value): [] for value in settings}
    with contextlib.ExitStack() as on_end:
        trainings = {
            value: on_end.enter_context(Training(folder / f"{option}-{value}", **others, **{option: value}))
            for value in settings
        }
        for value, training in trainings.items():
            training.epochs(3 + (value if option == "epochs_before" else 0))
        for _ in range(n_rounds):
            for value, training in trainings.items():
                # What is written in the background after a turn's last epoch is counted for none.
                samples[str(value)] += training.epochs(TURN if option == "epochs_before" else 1)
    print(f"\n{name}" + "".join(f"; {key} {value}" for key, value in others.items()))
    for value, measured in samples.items():
        clock, processor = (cell(values_of(measured, kind)) for kind in ("epoch_ms", "processor_ms"))
        print(f"  {value:>7}: {clock} ms, processor {processor} ms", flush=True)
    return samples


def creep(folder: Path, mode: str, n_epochs: int, batch: int) -> dict[str, Any]:
    """So many epochs in one process, and what the last hundred take over the first."""
    with Training(folder / f"old-{mode}", mode=mode, batch=batch) as old:
        begun = old.epochs(HUNDRED)
        for _ in range(n_epochs // HUNDRED - 2):
            old.epochs(HUNDRED)
        first: list[dict[str, float]] = []
        last: list[dict[str, float]] = []
        with Training(folder / f"young-{mode}", mode=mode, batch=batch) as young:
            for _ in range(HUNDRED // TURN):
                first += young.epochs(TURN)
                last += old.epochs(TURN)
    print(f"\n{n_epochs} epochs of {batch} steps, mode {mode}: last hundred over first hundred, bar {BAR}")
    ratios = {}
    for kind, words in KINDS.items():
        before, after = (values_of(samples, kind) for samples in (begun if kind == "memory_mb" else first, last))
        ratios[kind] = statistics.median(after) / statistics.median(before)
        verdict = "" if ratios[kind] <= BAR else "  beyond the bar"
        spread = f"{cell(before, quartiles=True)} -> {cell(after, quartiles=True)}"
        print(f"  {words:34} {spread}  {ratios[kind]:.3f}{verdict}", flush=True)
    return {"first, two minutes before": begun, "first, in turns": first, "last": last, "ratios": ratios}


def main() -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--cases", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--epochs", type=int, default=2_000, help="of the long runs, in hundreds; 0 leaves them out")
    parser.add_argument("--batch", type=int, default=500, help="of the long runs, in steps")
    parser.add_argument("--folder", type=Path, default=Path())
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child is not None:
        train(json.loads(given.child))
        return
    report: dict[str, Any] = {"machine": platform.platform(), "cpu_count": os.cpu_count()}
    with tempfile.TemporaryDirectory(dir=given.folder.absolute(), ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if given.rounds:
            report |= {case: grown(folder, case, given.rounds) for case in given.cases}
        for mode in ("last", "all") if given.epochs else ():
            report[f"{given.epochs} epochs, mode {mode}"] = creep(folder, mode, given.epochs, given.batch)
    if given.out is not None:
        given.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
