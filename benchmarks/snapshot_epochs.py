"""What an epoch costs with a snapshot, over an epoch without: CartPole-v1, TRPO, mode ``last`` over mode ``none``.

Short processes in turns, each on one and the same core: a seed makes the epochs of both the same. A process is timed
from the beginning of its third epoch to that of its last one, so what is written in the background counts. Prints the
median and the range of the ratios of neighbours, by the clock and by processor time (which other users of the machine
disturb less, but which does not see waiting), on this disk and on one that takes 50 ms longer for each sync.
"""

import argparse
import contextlib
import io
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

BAR = 1.03
MODES = ("none", "last")


class Turns(logging.Handler):
    """When each epoch began, by the clock and by processor time."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[tuple[float, float]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Note the line that begins an epoch."""
        if record.getMessage().startswith("Obtaining samples for iteration"):
            self.times.append((time.perf_counter(), time.process_time()))


def train(mode: str, sync_seconds: float, n_epochs: int, batch_size: int, folder: str) -> None:
    """Train in this process, and print the mean seconds of an epoch."""
    from garage.algos import TRPO  # noqa: PLC0415 - only the children need them
    from garage.baselines import LinearFeatureBaseline  # noqa: PLC0415
    from garage.envs import GymEnv  # noqa: PLC0415
    from garage.experiment import ExperimentContext, Trainer  # noqa: PLC0415
    from garage.experiment.deterministic import set_seed  # noqa: PLC0415
    from garage.np.policies import CategoricalMLPPolicy  # noqa: PLC0415
    from garage.storage.disk import Disk  # noqa: PLC0415

    def slowed(method):  # noqa: ANN001, ANN202
        def slow(disk: Disk, what: object) -> None:
            time.sleep(sync_seconds)
            method(disk, what)

        return slow

    if sync_seconds:
        Disk.sync, Disk.sync_folder = slowed(Disk.sync), slowed(Disk.sync_folder)
    turns = Turns()
    logging.getLogger("garage").addHandler(turns)
    with contextlib.redirect_stdout(io.StringIO()):
        set_seed(1)
        trainer = Trainer(ExperimentContext(folder, snapshot_mode=mode))
        env = GymEnv("CartPole-v1")
        policy = CategoricalMLPPolicy(env.spec)
        trainer.setup(TRPO(env=env, policy=policy, baseline=LinearFeatureBaseline(env.spec)), env)
        trainer.train(n_epochs=n_epochs, batch_size=batch_size)
    (clock, processor), (clock_end, processor_end) = turns.times[2], turns.times[-1]
    n = len(turns.times) - 3
    print(json.dumps([(clock_end - clock) / n, (processor_end - processor) / n]))


def main() -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--epochs", type=int, default=33)
    parser.add_argument("--batch", type=int, default=10_000)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--folder", type=Path, default=Path())
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", nargs=2, metavar=("MODE", "SYNC"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child is not None:
        train(given.child[0], float(given.child[1]), given.epochs, given.batch, str(given.folder / "run"))
        return
    os.sched_setaffinity(0, {given.core})
    report: dict[str, object] = {"machine": platform.platform(), "batch": given.batch, "epochs": given.epochs}
    for sync_seconds in (0.0, 0.05):
        found: dict[str, list[list[float]]] = {mode: [] for mode in MODES}
        for index in range(given.rounds):
            for mode in MODES if index % 2 else MODES[::-1]:
                with tempfile.TemporaryDirectory(dir=given.folder.absolute()) as folder:
                    options = ["--epochs", str(given.epochs), "--batch", str(given.batch), "--folder", folder]
                    command = [sys.executable, __file__, *options, "--child", mode, str(sync_seconds)]
                    done = subprocess.run(command, check=True, capture_output=True)
                found[mode].append(json.loads(done.stdout))
        report[f"sync + {sync_seconds * 1e3:.0f} ms"] = found
        for index, kind in enumerate(("clock", "processor")):
            none, last = ([times[index] for times in found[mode]] for mode in MODES)
            ratios = [b / a for a, b in zip(none, last, strict=True)]
            print(
                f"sync + {sync_seconds * 1e3:2.0f} ms, {kind:9}: epoch {statistics.median(none) * 1e3:6.1f} ms; "
                f"ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}), bar {BAR}",
                flush=True,
            )
    if given.json is not None:
        given.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
