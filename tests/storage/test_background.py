"""Writing in the background: what arrives, in which order, what is replaced, and what happens when the disk refuses."""

import contextlib
import errno
import threading

import pytest

from garage.errors import ArgumentError, WriteError
from garage.storage.background import BackgroundWriter
from garage.storage.disk import Disk
from garage.storage.retention import Retention
from garage.storage.store import SnapshotStore
from storage.sample_runs import assert_holds, capture_of, events_named, opened, row_epochs, written


class GatedDisk(Disk):
    """Waits before it makes a manifest's or pack's name known, until it is let go."""

    def __init__(self):
        self.gate, self.arrived, self.rows = threading.Event(), threading.Event(), threading.Semaphore(0)

    def rename(self, path, target):
        if "snapshots" in target.parts or "packs" in target.parts:
            self.arrived.set()
            assert self.gate.wait(60)
        super().rename(path, target)

    def append(self, path, data, *, sync):
        super().append(path, data, sync=sync)
        if path.name == "metrics.jsonl":
            self.rows.release()


class RefusingDisk(Disk):
    """Refuses to make names known while it is full."""

    full = True

    def rename(self, path, target):
        if self.full and "packs" in target.parts:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().rename(path, target)

    def append(self, path, data, *, sync):
        if self.full and path.name == "metrics.jsonl":
            msg = f"Cannot write {path}: No space left on device"
            raise WriteError(msg)
        super().append(path, data, sync=sync)


def snapshots(path):
    return [event["epoch"] for event in events_named(path, "snapshot")]


@pytest.mark.parametrize("mode", ["last", "all", "gap_and_last"])
def test_it_writes_what_would_have_been_written_at_once(tmp_path, mode):
    gap = 3 if mode.startswith("gap") else 1
    at_once = written(tmp_path / "reference", range(8), mode, gap)
    with opened_and_closed(tmp_path / "run", mode, gap) as (path, saver):
        for epoch in range(8):
            saver.submit(capture_of(epoch))
            saver.drain()
    assert (path / "metrics.jsonl").read_bytes() == (at_once / "metrics.jsonl").read_bytes()
    assert SnapshotStore(path).epochs() == SnapshotStore(at_once).epochs()
    assert SnapshotStore(path).verify() == []
    assert_holds(path, 7)


class opened_and_closed:  # noqa: N801 - read as a function
    """A background writer on a run of its own; afterwards the run is closed."""

    def __init__(self, path, mode="last", gap=1, disk=None, **options):
        self.path, self.writer = path, opened(path, mode, gap, disk=disk)
        self.saver = BackgroundWriter(self.writer, **options)

    def __enter__(self):
        return self.path, self.saver.__enter__()

    def __exit__(self, *error):
        try:
            self.saver.__exit__(*error)
        finally:
            self.writer.close()


@pytest.mark.parametrize(("mode", "expected"), [("last", [0, 9]), ("gap_overwrite", [0, 9]), ("all", list(range(10)))])
def test_training_does_not_wait_for_a_slow_disk_where_a_newer_snapshot_takes_its_place(tmp_path, mode, expected):
    disk = GatedDisk()
    with opened_and_closed(tmp_path / "run", mode, disk=disk) as (path, saver):
        saver.submit(capture_of(0))
        assert disk.arrived.wait(60)
        if mode == "all":  # there, every snapshot is kept, so training waits
            disk.gate.set()
        for epoch in range(1, 10):
            saver.submit(capture_of(epoch))
        if mode != "all":
            for _ in range(10):  # rows do not wait for snapshots
                assert disk.rows.acquire(timeout=60)
            assert snapshots(path) == []
        disk.gate.set()
    assert snapshots(path) == expected
    assert row_epochs(path) == list(range(10))
    assert SnapshotStore(path).verify() == []
    assert_holds(path, 9)


def test_a_requested_snapshot_is_never_replaced(tmp_path):
    disk = GatedDisk()
    with opened_and_closed(tmp_path / "run", disk=disk) as (path, saver):
        saver.submit(capture_of(0))
        assert disk.arrived.wait(60)
        saver.submit(capture_of(1), requested=True)
        saver.submit(capture_of(2))
        disk.gate.set()
        saver.submit(capture_of(3))
    assert 1 in snapshots(path)
    assert snapshots(path)[-1] == 3


def test_drain_waits_until_everything_is_on_the_disk(tmp_path):
    with opened_and_closed(tmp_path / "run") as (path, saver):
        for epoch in range(5):
            saver.submit(capture_of(epoch), stall_seconds=0.25)
        saver.drain()
        assert snapshots(path)[-1] == 4
        assert events_named(path, "snapshot")[-1]["stall_seconds"] == 0.25
        assert_holds(path, 4)


def test_what_the_disk_refused_is_raised_at_the_next_call_and_nothing_committed_is_lost(tmp_path):
    disk = RefusingDisk()
    disk.full = False
    path = tmp_path / "run"

    def write():
        with opened_and_closed(path, disk=disk) as (_, saver):
            saver.submit(capture_of(0))
            saver.drain()
            disk.full = True
            saver.submit(capture_of(1))
            saver.drain()

    with pytest.raises(WriteError, match="No space left"):
        write()
    assert SnapshotStore(path).epochs() == [0]
    assert SnapshotStore(path).verify() == []
    assert_holds(path, 0)


def test_with_warnings_training_goes_on_and_no_row_is_lost(tmp_path, caplog):
    disk = RefusingDisk()
    with opened_and_closed(tmp_path / "run", disk=disk, on_error="warn") as (path, saver):
        for epoch in range(6):
            disk.full = epoch in {2, 3}
            saver.submit(capture_of(epoch))
            saver.drain()
    assert caplog.text.count("Training goes on all the same") == 2
    assert row_epochs(path) == list(range(6))
    assert SnapshotStore(path).epochs() == [4, 5]
    assert SnapshotStore(path).verify() == []


class OnceRefusingDisk(GatedDisk):
    """Refuses the first snapshot's pack, once it is let go."""

    refused = False

    def rename(self, path, target):
        super().rename(path, target)
        if "packs" in target.parts and not self.refused:
            self.refused = True
            raise OSError(errno.ENOSPC, "No space left on device")


def test_with_warnings_one_refusal_leaves_out_one_snapshot_however_many_epochs_wait(tmp_path, caplog):
    disk = OnceRefusingDisk()
    with opened_and_closed(tmp_path / "run", "all", disk=disk, on_error="warn") as (path, saver):
        for epoch in range(4):  # one in writing, one waiting for it, one whose row is there, and one to be entered
            saver.submit(capture_of(epoch))
            if epoch < 3:
                assert disk.rows.acquire(timeout=60)
        disk.gate.set()
        assert disk.rows.acquire(timeout=20)
        saver.submit(capture_of(4))
    assert row_epochs(path) == list(range(5))
    assert SnapshotStore(path).epochs() == [1, 2, 3, 4]
    assert SnapshotStore(path).verify() == []
    (warning,) = caplog.messages
    assert warning.startswith("Epoch 0 may be without its snapshot: Cannot write")


def test_with_warnings_a_refused_row_judges_all_the_same(tmp_path):
    disk, path = RefusingDisk(), tmp_path / "run"
    retention = Retention("last", keep_best="Evaluation/AverageReturn")
    writer = opened(path, disk=disk, retention=retention)
    with contextlib.closing(writer), BackgroundWriter(writer, on_error="warn") as saver:
        for epoch, average_return in enumerate([0.0, 1.0, 9.0, 2.0, 3.0, 4.0]):  # row 2 judges snapshot 1
            disk.full = epoch == 2
            saver.submit(capture_of(epoch, average_return=average_return))
            saver.drain()
    assert row_epochs(path) == list(range(6))
    assert SnapshotStore(path).epochs() == [1, 4, 5]


def test_a_failure_is_noted_on_the_error_that_ended_training(tmp_path):
    def fail():
        with opened_and_closed(tmp_path / "run", disk=RefusingDisk()) as (_, saver):
            saver.submit(capture_of(0))
            return 1 / 0

    with pytest.raises(ZeroDivisionError) as caught:
        fail()
    assert "had failed too: Cannot write" in caught.value.__notes__[0]


def test_errors_that_are_no_refusals_are_raised_even_with_warnings(tmp_path):
    def write():
        with opened_and_closed(tmp_path / "run", on_error="warn") as (_, saver):
            saver.submit(capture_of(0, state={"bad": {1: 2}}))

    with pytest.raises(ArgumentError, match="Cannot use 1 as a key"):
        write()


def test_the_threads_end_with_the_block(tmp_path):
    before = threading.active_count()
    with opened_and_closed(tmp_path / "run") as (_, saver):
        saver.submit(capture_of(0))
        assert threading.active_count() >= before + 2
    assert threading.active_count() == before


def test_the_last_one_takes_nobodys_place(tmp_path):
    disk = GatedDisk()
    with opened_and_closed(tmp_path / "run", disk=disk) as (path, saver):
        saver.submit(capture_of(0))
        assert disk.arrived.wait(60)
        for epoch in range(1, 5):
            saver.submit(capture_of(epoch))
        saver.submit(capture_of(5), is_last=True)
        for _ in range(6):  # once row 5 is there, epoch 4 has taken the place
            assert disk.rows.acquire(timeout=60)
        disk.gate.set()
    assert snapshots(path) == [0, 4, 5]
    assert SnapshotStore(path).epochs() == [4, 5]
