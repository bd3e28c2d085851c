"""The contract of the SnapshotStore port: write, read, epochs, verify; every store runs it."""

import contextlib

import numpy as np
import pytest

from garage.core import state as state_trees
from garage.errors import DamagedError, NoSnapshotError
from garage.storage.retention import Retention
from garage.storage.run_directory import RunInfo
from garage.storage.store import SnapshotStore
from garage.storage.writer import Capture, RunWriter


class OnDisk:
    """A run's directory."""

    def __init__(self, folder):
        self._path = folder / "run"

    def write(self, epochs):
        """Write these epochs, going on from what there is; return their digests."""
        reader = self.reader()
        last = max(reader.epochs(), default=None)
        info = RunInfo(id="0" * 16, name="run", created_at="", target=None, arguments={}, seed=1)
        with contextlib.closing(
            RunWriter(info, self._path, retention=Retention("all"), recipe=b"r", recipe_problem=None, last_epoch=last)
        ) as writer:
            return [writer.commit(capture_of(epoch)) for epoch in epochs]

    def reader(self):
        return SnapshotStore(self._path)

    def damage(self, epoch):
        """Change one byte of what this epoch alone has."""
        manifest = self.reader().read(epoch).manifest
        others = {pack for other in self.reader().manifests()[0] if other.epoch != epoch for pack in other.packs()}
        (pack,) = manifest.packs() - others
        path = self.reader().directory.pack_path(pack)
        data = bytearray(path.read_bytes())
        data[64] ^= 1
        path.write_bytes(data)


STORES = {"on disk": OnDisk}


def state_of(epoch):
    return {
        "algo": {
            "theta": np.random.default_rng(epoch).standard_normal((3, 50)),
            "large": np.random.default_rng(0).standard_normal(200_000).astype(np.float32),
            "words": np.array(["a", "größe"]),
            "empty": np.zeros((0, 2), np.int8),
            "none": {},
        },
        "counters": {"epoch": epoch, "rate": float("inf"), "name": "ß", "flag": True, "nothing": None},
    }


def capture_of(epoch):
    returns = {"Evaluation/AverageReturn": [0.0, 3.0, 9.0, 4.0][epoch % 4]}
    return Capture(epoch, state_of(epoch), {"part": b"opaque"}, returns, {"n_epochs": 9}, {"last_itr": epoch}, {})


@pytest.fixture(params=STORES.values(), ids=STORES.keys())
def store(request, tmp_path):
    return request.param(tmp_path)


def test_what_is_written_is_read(store):
    digests = store.write(range(4))
    assert len(set(digests)) == 4
    for epoch in range(4):
        snapshot = store.reader().read(epoch)
        assert state_trees.differences(state_of(epoch), snapshot.state) == []
        assert snapshot.opaque == {"part": b"opaque"}
        assert snapshot.recipe == b"r"
        assert snapshot.problems == ()
        assert (snapshot.manifest.epoch, snapshot.manifest.digest) == (epoch, digests[epoch])
        assert snapshot.manifest.stats == {"last_itr": epoch}


def test_epochs_are_those_written_in_order(store):
    assert store.reader().epochs() == []
    store.write([0, 1])
    store.write([2, 10, 100])
    assert store.reader().epochs() == [0, 1, 2, 10, 100]


def test_what_can_be_asked_for(store):
    store.write(range(4))
    chosen = {which: store.reader().read(which).manifest.epoch for which in ("first", "last", "best", 2)}
    assert chosen == {"first": 0, "last": 3, "best": 1, 2: 2}
    assert store.reader().read().manifest.epoch == 3


@pytest.mark.parametrize("which", ["last", "first", "best", 0])
def test_an_empty_store_has_none(store, which):
    with pytest.raises(NoSnapshotError):
        store.reader().read(which)


def test_an_epoch_that_is_not_there(store):
    store.write(range(2))
    for which in (7, -1, "newest"):
        with pytest.raises(NoSnapshotError):
            store.reader().read(which)


def test_a_whole_store_verifies(store):
    store.write(range(3))
    assert store.reader().verify() == []


def test_damage_is_never_read_but_named(store):
    store.write(range(3))
    store.damage(2)
    lines = store.reader().verify()
    assert lines
    assert all(line.startswith("epoch 2: Cannot read `") for line in lines)
    with pytest.raises(DamagedError, match="Cannot read `"):
        store.reader().read(2)
    snapshot = store.reader().read("last")
    assert snapshot.manifest.epoch == 1
    assert snapshot.problems
    assert state_trees.differences(state_of(1), snapshot.state) == []


def test_what_is_read_is_the_readers_own(store):
    store.write([0])
    reader = store.reader()
    reader.read().state["algo"]["theta"][:] = 0
    assert state_trees.differences(state_of(0), reader.read().state) == []


def test_equal_states_have_equal_digests_wherever_they_are_written(store, tmp_path):
    again = type(store)(tmp_path / "again")
    assert store.write([0, 1, 2]) == [*again.write([0]), *again.write([1, 2])]
