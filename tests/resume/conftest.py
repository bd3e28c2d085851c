"""A worker process for each test process, and the comparison that every kill test ends with."""

import csv
import functools
import json
from pathlib import Path

import pytest

from garage.storage.packs import pack_names
from garage.storage.run_directory import RunDirectory
from garage.storage.store import SnapshotStore
from storage.children import KILLED, Parent

__all__ = ["KILLED", "Worker", "assert_clean", "outcome"]

Worker = functools.partial(Parent, Path(__file__).with_name("worker.py"))


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
