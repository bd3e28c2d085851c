"""TRPO learns CartPole-v1 twice: once undisturbed, once killed by SIGKILL and resumed. Both end at the same numbers."""

import csv
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXPERIMENT = Path(__file__).resolve().parent / "np" / "trpo_cartpole.py"
TRAIN = [sys.executable, "-m", "garage.cli.main", "run", str(EXPERIMENT), "--resume", "auto", "--n-epochs", "40"]
RUN = Path("data/local/experiment/trpo_cartpole")


def rows(folder):
    """The epochs of a run, without what a clock measured."""
    run = folder / RUN
    digests = [json.loads(line)["digest"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    with (run / "progress.csv").open() as file:
        table = [{k: v for k, v in row.items() if not k.endswith(("Time", "Seconds"))} for row in csv.DictReader(file)]
    return digests, table


def train(folder):
    """A process that trains in ``folder``."""
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(TRAIN, cwd=folder, stdout=subprocess.DEVNULL)


with tempfile.TemporaryDirectory() as scratch:
    whole, killed = Path(scratch) / "whole", Path(scratch) / "killed"
    print("1. Training undisturbed: 40 epochs of about 4000 steps ...")
    assert train(whole).wait() == 0
    began, ended = ((whole / RUN / name).stat().st_mtime for name in ("provenance.json", "metrics.jsonl"))
    digests, table = rows(whole)
    curve = [float(row["Evaluation/AverageReturn"]) for row in table]
    print("   mean return by epoch:", " ".join(f"{value:.0f}" for value in curve))

    print("2. Training again, to be killed by SIGKILL ...")
    process = train(killed)
    while not list(killed.glob("data/local/experiment/*/snapshots/*.json")) and process.poll() is None:
        time.sleep(0.001)
    moment = random.uniform(0.0, 0.6 * (ended - began))
    time.sleep(moment)
    process.kill()
    assert process.wait() == -9
    print(f"   killed {moment:.3f} s after its first commit, with {len(rows(killed)[0])} of 40 epochs finished")

    print("3. Resuming in a new process ...")
    assert train(killed).wait() == 0
    resumed_digests, resumed_table = rows(killed)
    equal = sum(a == b for a, b in zip(digests, resumed_digests, strict=True))
    print(f"   equal digests: {equal} of {len(digests)} epochs; last {digests[-1][:16]} and {resumed_digests[-1][:16]}")
    print(f"   equal progress.csv, apart from wall-clock columns: {'yes' if table == resumed_table else 'NO'}")
    print(f"   best mean return: {max(curve):.1f} of 500")
    assert (digests, table) == (resumed_digests, resumed_table)
    assert max(curve) > 475
