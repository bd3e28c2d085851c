"""Abandoning epochs: the event is the commit."""

import shutil

import pytest

from garage.errors import InUseError, NoSnapshotError, WriteError
from garage.storage.run_directory import RunDirectory
from garage.storage.store import SnapshotStore
from garage.storage.writer import rewind
from storage.faulty_disk import FaultyDisk
from storage.sample_runs import (
    assert_holds,
    capture_of,
    events_named,
    newest,
    opened,
    row_epochs,
    unfinished,
    written,
)


@pytest.fixture
def run(tmp_path):
    return written(tmp_path / "run", range(5))


def test_readers_ignore_what_was_abandoned(run):
    checksums = {str(manifest.epoch): manifest.checksum for manifest in SnapshotStore(run).manifests()[0]}
    assert rewind(RunDirectory(run), 2) == [3, 4]
    store = SnapshotStore(run)
    assert store.epochs() == [0, 1, 2]
    assert newest(run) == 2
    with pytest.raises(NoSnapshotError, match=r"There is no snapshot of epoch 4 in .*; it has: 0, 1, 2"):
        store.read(4)
    (event,) = events_named(run, "rewind")
    assert (event["to"], event["abandoned"]) == (2, {epoch: checksums[epoch] for epoch in "34"})
    assert RunDirectory(run).manifest_epochs() == [0, 1, 2, 3, 4]  # nothing has been moved yet
    assert store.verify() == []
    assert not (run / "lock").exists()


def test_rows_are_kept_aside_and_cut_by_the_next_writer(run):
    rows = (run / "metrics.jsonl").read_bytes()
    rewind(RunDirectory(run), 2)
    assert [file.read_bytes() for file in run.glob("metrics-abandoned-*.jsonl")] == [rows]
    assert (run / "metrics.jsonl").read_bytes() == rows
    opened(run, "all", last_epoch=2).close()
    assert row_epochs(run) == [0, 1, 2]
    assert [file.name[:6] for file in sorted((run / "snapshots" / "abandoned").iterdir())] == ["000003", "000004"]
    assert RunDirectory(run).manifest_epochs() == [0, 1, 2]


def test_epochs_trained_again_are_seen_again(run):
    rewind(RunDirectory(run), 2)
    writer = opened(run, "all", last_epoch=2)
    for epoch in (3, 4):
        writer.commit(capture_of(epoch, variant=1))
    writer.close()
    assert SnapshotStore(run).epochs() == [0, 1, 2, 3, 4]
    assert_holds(run, 2)
    for epoch in (3, 4):
        assert_holds(run, epoch, variant=1)
    assert SnapshotStore(run).verify() == []
    assert rewind(RunDirectory(run), 3) == [4]
    assert SnapshotStore(run).epochs() == [0, 1, 2, 3]


def test_an_abandoned_snapshot_that_was_put_back_stays_abandoned(run):
    rewind(RunDirectory(run), 2)
    directory = RunDirectory(run)
    old = directory.manifest_path(4).read_bytes()
    opened(run, "all", last_epoch=2).close()
    directory.manifest_path(4).write_bytes(old)
    assert SnapshotStore(run).epochs() == [0, 1, 2]


def test_a_crash_between_event_and_moving_is_of_no_matter(run):
    rewind(RunDirectory(run), 2)
    counted = FaultyDisk(only=("rename",))
    opened(shutil.copytree(run, run.parent / "counted"), "all", last_epoch=2, disk=counted).close()
    for n in range(1, len(counted.done) + 1):
        path = shutil.copytree(run, run.parent / str(n))
        with pytest.raises(WriteError):
            opened(path, "all", last_epoch=2, disk=FaultyDisk(n, only=("rename",)))
        assert SnapshotStore(path).epochs() == [0, 1, 2]
        assert SnapshotStore(path).verify() == []
        opened(path, "all", last_epoch=2).close()
        assert RunDirectory(path).manifest_epochs() == [0, 1, 2]
        assert unfinished(path) == []


def test_a_crash_before_the_event_changes_nothing(run):
    disk = FaultyDisk()
    rewind(RunDirectory(written(run.parent / "other", range(5))), 2, disk)
    last_write = max(n for n, name in enumerate(disk.done, start=1) if name == "write")
    with pytest.raises(WriteError, match="events"):
        rewind(RunDirectory(run), 2, FaultyDisk(last_write, torn=True))
    assert SnapshotStore(run).epochs() == [0, 1, 2, 3, 4]
    assert SnapshotStore(run).verify() == []


def test_nothing_to_abandon(run):
    before = (run / "events.jsonl").read_bytes()
    assert rewind(RunDirectory(run), 4) == []
    assert (run / "events.jsonl").read_bytes() == before
    assert not list(run.glob("metrics-abandoned-*"))


def test_a_run_in_use_is_not_rewound(run):
    writer = opened(run, "all", last_epoch=4)
    with pytest.raises(InUseError, match="is in use"):
        rewind(RunDirectory(run), 2)
    writer.close()
    assert SnapshotStore(run).epochs() == [0, 1, 2, 3, 4]


def test_the_event_does_not_continue_a_torn_line(run):
    with (run / "events.jsonl").open("ab") as file:
        file.write(b'{"event": "to')
    rewind(RunDirectory(run), 2)
    assert SnapshotStore(run).epochs() == [0, 1, 2]
    assert SnapshotStore(run).verify() == []


def test_without_metrics(run):
    (run / "metrics.jsonl").unlink()
    assert rewind(RunDirectory(run), 2) == [3, 4]
    assert not list(run.glob("metrics-abandoned-*"))
