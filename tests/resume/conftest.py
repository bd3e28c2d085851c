"""A worker process for each test process, and the comparison that every kill test ends with."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from garage.storage.packs import pack_names
from garage.storage.run_directory import RunDirectory
from garage.storage.store import SnapshotStore

KILLED = -9


class Worker:
    def __init__(self, port):
        script = Path(__file__).with_name("worker.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script), port],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(script.parents[1])},
        )

    def run(self, job):
        """The exit status of a child that does the job; -9 if it was killed."""
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()


def worker_of(port):
    started = Worker(port)
    yield started
    started.close()


@pytest.fixture(scope="session")
def worker():
    """One that learns in NumPy."""
    yield from worker_of("np")


@pytest.fixture(scope="session", params=["torch", "tf"])
def framework_worker(request):
    """One for each framework."""
    yield from worker_of(request.param)


@pytest.fixture
def job(tmp_path):
    """A job by its options; its directory and log lie in the test's own folder."""

    def make(name, **options):
        return {
            "directory": str(tmp_path / name),
            "log": str(tmp_path / f"{name}.log"),
            "world": "CartPole",
            "seed": 3,
            "n_lanes": 4,
            "n_epochs": 3,
            "batch_size": 100,
            **options,
        }

    return make


def without_clock(row):
    return {key: value for key, value in row.items() if not key.endswith(("Time", "Seconds"))}


def outcome(path):
    """Digests, rows and table of a run, without what a clock measured."""
    directory = RunDirectory(Path(path))
    rows = [without_clock(json.loads(line)) for line in directory.metrics_path.read_text().splitlines()]
    with directory.table_path.open(newline="") as file:
        table = [without_clock(row) for row in csv.DictReader(file)]
    return rows, table


def assert_clean(path):
    """Everything verifies, and nothing is left over."""
    directory = RunDirectory(Path(path))
    store = SnapshotStore(directory.path)
    assert store.verify() == []
    manifests, _ = store.manifests()
    assert set(pack_names(directory)) == {pack for manifest in manifests for pack in manifest.packs()}
    assert not list(directory.path.rglob(".unfinished-[0-9]*"))
    assert not directory.lock_path.exists()
