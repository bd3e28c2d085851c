"""The disk refuses the n-th operation of the background writer, or is slow: training learns of the one only."""

import contextlib
import errno
import random
import threading

import pytest

from garage.errors import WriteError
from garage.storage.background import BackgroundWriter
from garage.storage.packs import pack_names
from garage.storage.run_directory import RunDirectory
from garage.storage.store import SnapshotStore
from storage.faulty_disk import FaultyDisk, QuickDisk, refusal
from storage.sample_runs import assert_holds, capture_of, events_named, opened, row_epochs, unfinished, written

BEFORE, LAST = 3, 6
FAULTS = {
    f"{errno.errorcode[code]}{', torn' if torn else ''}": {"error": refusal(code), "torn": torn}
    for code in (errno.ENOSPC, errno.EIO)
    for torn in (False, True)
}
MODES = ["last", "all", "gap_overwrite"]


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    path = written(tmp_path_factory.mktemp("reference") / "run", range(LAST + 1), "last")
    return (path / "metrics.jsonl").read_bytes()


def begun(path, mode, disk):
    """A run of three epochs, so that the next one removes what is superseded."""
    writer = opened(path, mode, disk=disk)
    for epoch in range(BEFORE):
        writer.commit(capture_of(epoch))
    return writer


def n_operations(path, mode):
    disk = FaultyDisk()
    with contextlib.closing(begun(path, mode, disk)) as writer, BackgroundWriter(writer) as saver:
        disk.done = []
        for epoch in (3, 4):
            saver.submit(capture_of(epoch))
            saver.drain()
        return len(disk.done)


def save_in_the_background(saver):
    """Two epochs; whatever the disk refuses comes back here."""
    with saver:
        for epoch in (3, 4):
            saver.submit(capture_of(epoch))
            saver.drain()


def check(path, mode, reference, where):
    """What was committed is whole, and a next writer goes on from it to the same rows, leaving nothing behind."""
    store = SnapshotStore(path)
    assert store.verify() == [], where
    epochs = store.epochs()
    assert BEFORE - 1 in epochs or BEFORE in epochs, where
    assert mode != "all" or set(range(BEFORE)) <= set(epochs), where
    for epoch in epochs:
        assert_holds(path, epoch)
    (path / "lock").unlink(missing_ok=True)  # if its removal is what was refused
    with contextlib.closing(opened(path, mode, last_epoch=epochs[-1])) as again:
        assert unfinished(path) == [], where
        needed = {pack for manifest in store.manifests()[0] for pack in manifest.packs()}
        assert set(pack_names(RunDirectory(path))) == needed, where
        for epoch in range(epochs[-1] + 1, LAST + 1):
            again.commit(capture_of(epoch))
    assert store.verify() == [], where
    assert_holds(path, LAST)
    assert (path / "metrics.jsonl").read_bytes() == reference, where


def check_refusals(tmp_path, mode, fault, reference, sample=None):
    n = n_operations(tmp_path / "counted", mode)
    assert n > 15
    which = range(1, n + 1) if sample is None else sorted(random.Random(1).sample(range(1, n + 1), sample))
    for index in which:
        path, disk = tmp_path / str(index), FaultyDisk(**FAULTS[fault])
        writer = begun(path, mode, disk)
        disk.arm(index)
        with contextlib.closing(writer), pytest.raises(WriteError):
            save_in_the_background(BackgroundWriter(writer))
        disk.arm(None)
        check(path, mode, reference, f"operation {index}: {disk.done}")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("mode", MODES)
def test_some_refusals(tmp_path, mode, fault, reference):
    check_refusals(tmp_path, mode, fault, reference, sample=3)


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("mode", MODES)
def test_every_refusal(tmp_path, mode, fault, reference):
    check_refusals(tmp_path, mode, fault, reference)


def check_going_on(tmp_path, mode, fault, sample=None):
    """With ``on_error="warn"`` training goes on, and so does the same writer: no row is missing in the end."""
    n = n_operations(tmp_path / "counted", mode)
    which = range(1, n + 1) if sample is None else sorted(random.Random(2).sample(range(1, n + 1), sample))
    for index in which:
        path, disk = tmp_path / str(index), FaultyDisk(**FAULTS[fault])
        with contextlib.closing(begun(path, mode, disk)) as writer:
            disk.arm(index)
            with BackgroundWriter(writer, on_error="warn") as saver:
                for epoch in range(BEFORE, LAST + 1):
                    saver.submit(capture_of(epoch))
                    saver.drain()
                disk.arm(None)
        assert SnapshotStore(path).verify() == [], index
        assert row_epochs(path) == list(range(LAST + 1)), index
        assert_holds(path, LAST)


@pytest.mark.parametrize("fault", ["ENOSPC", "EIO, torn"])
@pytest.mark.parametrize("mode", MODES)
def test_going_on_after_some_refusals(tmp_path, mode, fault, caplog):
    check_going_on(tmp_path, mode, fault, sample=3)
    assert caplog.text.count("Training goes on all the same") >= 3


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("mode", MODES)
def test_going_on_after_every_refusal(tmp_path, mode, fault):
    check_going_on(tmp_path, mode, fault)


class SlowDisk(QuickDisk):
    """Waits at every sync until it is let through."""

    def __init__(self):
        self.through, self.waiting = threading.Semaphore(0), threading.Event()
        self.n_synced = 0

    def sync(self, file):
        self.waiting.set()
        assert self.through.acquire(timeout=60)
        self.n_synced += 1
        super().sync(file)

    def let_everything_through(self):
        self.through.release(1_000_000)


@pytest.mark.parametrize("mode", ["last", "gap_overwrite"])
def test_a_disk_that_is_slow_to_sync_does_not_hold_training_up(tmp_path, mode):
    """All epochs are submitted while the device has not finished a single sync of theirs."""
    disk = SlowDisk()
    disk.through.release(1000)
    writer = opened(tmp_path / "run", mode, disk=disk)
    while disk.through.acquire(blocking=False):
        pass
    n_before = disk.n_synced
    disk.waiting.clear()
    with contextlib.closing(writer), BackgroundWriter(writer) as saver:
        saver.submit(capture_of(0))
        assert disk.waiting.wait(60)
        for epoch in range(1, 50):
            saver.submit(capture_of(epoch))
        assert disk.n_synced == n_before
        disk.let_everything_through()
    path = tmp_path / "run"
    assert row_epochs(path) == list(range(50))
    assert [event["epoch"] for event in events_named(path, "snapshot")] == [0, 49]
    assert_holds(path, 49)
