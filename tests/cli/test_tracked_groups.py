"""What the commands say of a run with a tracked group."""

import contextlib
import json

import numpy as np
import pytest

from garage.core import state as state_trees
from garage.core.tracked import TrackedGroup
from garage.storage.run_directory import RunDirectory
from garage.storage.store import SnapshotStore
from garage.storage.writer import Capture
from storage.sample_runs import flip, opened


@pytest.fixture
def run(tmp_path):
    """A run's directory and its group."""
    group = TrackedGroup(4000, {"x": ((3,), np.float32), "done": ((), np.bool_)})
    values = np.random.default_rng(1).standard_normal((2500, 3)).astype(np.float32)
    group.write(0, {"x": values, "done": values[:, 0] > 0})
    state = state_trees.copied({"algo": {"replay": group, "theta": np.ones(3)}})
    args = {"n_epochs": 3, "batch_size": 10}
    with contextlib.closing(opened(tmp_path / "run")) as writer:
        writer.commit(Capture(0, state, {}, {"x": 1.0}, args, {}, {}))
    return tmp_path / "run", group


def test_show_lists_groups_and_their_columns(garage, run):
    path, _ = run
    printed = garage("show", path, "--leaves").stdout
    assert "Tracked groups: 1\n  algo/replay  2,500 rows of 4,000 in 3 blocks, 32,500 bytes\n" in printed
    assert "    done  |b1  [2500]\n    x     <f4  [2500, 3]\n" in printed
    (shown,) = json.loads(garage("show", path, "--json").stdout)["snapshot"]["groups"]
    assert (shown["path"], shown["rows"], shown["blocks"], shown["bytes"]) == ("algo/replay", 2500, 3, 32_500)
    assert shown["columns"][1] == {"name": "x", "dtype": "<f4", "shape": [3]}


def test_export_writes_columns(garage, run):
    path, group = run
    garage("export", path, "--to", "npz", "-o", "values.npz")
    with np.load(garage.folder / "values.npz") as file:
        assert set(file.files) == {"algo/theta", "algo/replay/x", "algo/replay/done", "__metadata__"}
        np.testing.assert_array_equal(file["algo/replay/x"], group["x"])


def test_verify_names_damaged_rows(garage, run):
    path, _ = run
    assert "is whole" in garage("verify", path).stdout
    manifest = SnapshotStore(path).read().manifest
    chunk = manifest.chunks[manifest.groups[0].blocks[1]]
    flip(RunDirectory(path).pack_path(chunk.pack), chunk.offset + 5)
    printed = garage("verify", path, code=3).stdout
    assert "epoch 0: Cannot read `algo/replay`: rows 1024 to 2047: the chunk" in printed
