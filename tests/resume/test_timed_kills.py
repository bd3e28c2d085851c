"""A training that is killed at a hundred moments of its life, each time on its way on from the kill before."""

import json
import random
import shutil
import time
from pathlib import Path

import pytest

from garage.storage.store import SnapshotStore
from resume.conftest import KILLED, assert_clean, outcome, without_clock

N_KILLS = 100
OPTIONS = {"world": "CartPole", "n_lanes": 2, "batch_size": 20}
N_EPOCHS = 150
EPOCHS_A_LIFE = 12
"""How many epochs the longest of the lives lasts, besides its beginning."""


def timed(worker, made):
    begun = time.perf_counter()
    assert worker.run(made) == 0, Path(made["log"]).read_text()[-3000:]
    return time.perf_counter() - begun


def rows_of(path):
    """Those that are whole."""
    metrics = Path(path) / "metrics.jsonl"
    lines = metrics.read_bytes().split(b"\n")[:-1] if metrics.is_file() else []
    return [without_clock(json.loads(line)) for line in lines]


@pytest.mark.timeout(1500)
def test_killed_at_a_hundred_moments(worker, job):
    beginning = timed(worker, job("one-epoch", **OPTIONS, n_epochs=1))
    whole = job("undisturbed", **OPTIONS, n_epochs=N_EPOCHS)
    longest = beginning + EPOCHS_A_LIFE * timed(worker, whole) / N_EPOCHS
    expected = outcome(whole["directory"])
    rng = random.Random("a hundred moments")
    killed = job("killed", **OPTIONS, n_epochs=N_EPOCHS)
    log, path = Path(killed["log"]), Path(killed["directory"])
    n_killed, reached = 0, set()
    while n_killed < N_KILLS:
        moment = rng.uniform(0.0, longest)
        status = worker.run(killed | {"kill_after": moment, "perturb": n_killed, "bare": rng.random() < 0.5})
        assert status in {0, KILLED}, log.read_text()[-3000:]
        rows = rows_of(path)
        assert rows == expected[0][: len(rows)], n_killed
        if status == KILLED:
            n_killed += 1
            reached.add(len(rows))
            assert not path.exists() or [line for line in SnapshotStore(path).verify() if "run.json" not in line] == []
        elif len(rows) == N_EPOCHS:  # it has come to its end, so the other moments are those of another run
            assert outcome(path) == expected
            assert_clean(path)
            shutil.rmtree(path)
    assert len(reached) > N_KILLS // 10
    timed(worker, killed)
    assert outcome(path) == expected
    assert_clean(path)
