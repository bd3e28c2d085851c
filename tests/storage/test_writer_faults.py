"""Whatever operation of a commit or an opening fails, nothing that was committed is lost."""

import contextlib
import errno
import json

import pytest

from garage.errors import StorageError, WriteError
from garage.storage import files
from garage.storage.packs import pack_names
from garage.storage.run_directory import RunDirectory
from garage.storage.store import SnapshotStore
from garage.storage.writer import rewind
from storage.faulty_disk import FaultyDisk, QuickDisk, refusal
from storage.sample_runs import (
    assert_holds,
    capture_of,
    newest,
    opened,
    row_epochs,
    state_of,
    unfinished,
    written,
)

FAULTS = {
    "ENOSPC": {"error": refusal(errno.ENOSPC)},
    "EIO": {"error": refusal(errno.EIO)},
    "ENOSPC, torn": {"error": refusal(errno.ENOSPC), "torn": True},
    "EIO, torn": {"error": refusal(errno.EIO), "torn": True},
    "interrupted": {"error": KeyboardInterrupt, "torn": True},
}


@pytest.fixture(params=FAULTS.values(), ids=FAULTS.keys())
def fault(request):
    return request.param


def n_operations(path, mode):
    """How many operations a commit has that also removes, and which."""
    disk = FaultyDisk()
    with contextlib.closing(opened(path, mode, disk=disk)) as writer:
        for epoch in range(4):
            disk.done = []
            writer.commit(capture_of(epoch))
        return list(disk.done)


def reference(path):
    written(path, range(6), "last")
    return (path / "metrics.jsonl").read_bytes()


def test_a_commit_has_few_operations_and_removes_last(tmp_path):
    done = n_operations(tmp_path / "counted", "last")
    assert [name for name in done if name != "write"] == [
        *["sync_folder", "sync", "rename", "sync_folder"],  # the pack, in a new folder
        "sync",  # the row
        *["sync", "rename", "sync_folder"],  # the manifest
        *["unlink", "sync_folder", "unlink"],  # the manifest and the pack that are superseded
    ]


class SteppingDisk(QuickDisk):
    """Notes the steps of a commit, and when the writer looks whether it still has the lock."""

    def __init__(self):
        self.steps = []

    def touch(self, descriptor):
        self.steps.append("lock")
        super().touch(descriptor)

    def write_whole(self, path, parts):
        self.steps.append(path.relative_to(self.run).parts[0])
        super().write_whole(path, parts)

    def append(self, path, data, *, sync):
        self.steps.append(path.name)
        super().append(path, data, sync=sync)

    def remove(self, path):
        self.steps.append(f"{path.relative_to(self.run).parts[0]} removed")
        super().remove(path)


def test_a_commit_looks_at_the_lock_once_before_each_step_and_reads_one_manifest(tmp_path, monkeypatch):
    disk, read, open_file = SteppingDisk(), [], files.open_file
    disk.run = tmp_path
    with contextlib.closing(opened(tmp_path, disk=disk)) as writer:
        for epoch in range(3):
            writer.commit(capture_of(epoch))
        disk.steps = []
        monkeypatch.setattr(files, "open_file", lambda path: read.append(path.name) or open_file(path))
        writer.commit(capture_of(3))
        steps = ["metrics.jsonl", "packs", "snapshots", "events.jsonl", "snapshots removed", "packs removed"]
        assert disk.steps == [each for step in steps for each in ("lock", step)]
        assert read == ["000002.json", "pins.json"]


@pytest.mark.parametrize("mode", ["last", "all"])
def test_the_nth_operation_of_a_commit_fails(tmp_path, fault, mode):
    expected = reference(tmp_path / "reference")
    done = n_operations(tmp_path / "counted", mode)
    for n in range(1, len(done) + 1):
        path = tmp_path / str(n)
        disk = FaultyDisk(**fault)
        writer = opened(path, mode, disk=disk)
        for epoch in range(3):
            writer.commit(capture_of(epoch))
        disk.arm(n)
        with pytest.raises((WriteError, KeyboardInterrupt)):
            writer.commit(capture_of(3))
        disk.arm(None)
        check_and_go_on(path, writer, mode, expected, f"operation {n}: {done[n - 1]}")


def check_and_go_on(path, writer, mode, expected, where):
    store = SnapshotStore(path)
    assert store.verify() == [], where
    epochs = store.epochs()
    assert 2 in epochs, where
    assert mode == "last" or {0, 1} < set(epochs), where
    for epoch in epochs:
        assert_holds(path, epoch)
    assert row_epochs(path) in ([0, 1, 2], [0, 1, 2, 3]), where
    writer.close()
    last = newest(path)
    with contextlib.closing(opened(path, mode, last_epoch=last)) as again:
        assert unfinished(path) == [], where
        manifests = SnapshotStore(path).manifests()[0]
        assert set(pack_names(RunDirectory(path))) == {pack for manifest in manifests for pack in manifest.packs()}
        assert row_epochs(path) == list(range(last + 1)), where
        for epoch in range(last + 1, 6):
            again.commit(capture_of(epoch))
    assert SnapshotStore(path).verify() == [], where
    assert newest(path) == 5
    assert_holds(path, 5)
    assert (path / "metrics.jsonl").read_bytes() == expected, where


@pytest.mark.parametrize("kind", ["ENOSPC", "EIO, torn"])
@pytest.mark.parametrize("mode", ["last", "all", "gap_overwrite"])
def test_the_same_writer_goes_on_after_a_failed_commit(tmp_path, kind, mode):
    """As when the user frees the disk and trains on: the epoch is committed again, or the next one."""
    done = n_operations(tmp_path / "counted", mode)
    for n in range(1, len(done) + 1):
        path = tmp_path / str(n)
        disk = FaultyDisk(**FAULTS[kind])
        writer = opened(path, mode, disk=disk)
        for epoch in range(3):
            writer.commit(capture_of(epoch))
        disk.arm(n)
        with pytest.raises(WriteError):
            writer.commit(capture_of(3))
        disk.arm(None)
        writer.close()
        writer.reopen()
        for epoch in (3, 4, 5):
            writer.commit(capture_of(epoch))
            assert SnapshotStore(path).verify() == [], (n, done[n - 1], epoch)
        writer.close()
        assert row_epochs(path) == list(range(6))
        assert_holds(path, 5)


@pytest.mark.parametrize("kind", ["ENOSPC", "EIO, torn", "interrupted"])
def test_the_nth_operation_of_an_opening_fails(tmp_path, kind):
    """An opening that has everything to do: a torn event, rows to cut, manifests to move, packs and files to remove."""

    def prepared(path):
        written(path, range(5))
        directory = RunDirectory(path)
        with directory.events_path.open("ab") as file:
            file.write(b'{"event": "to')
        (directory.snapshots_path / ".unfinished-1-ab").touch()
        (directory.packs_path / "ab").mkdir(exist_ok=True)
        (directory.packs_path / "ab" / ("cd" * 31)).touch()
        (directory.path / "recipe").unlink()

    prepared(tmp_path / "counted")
    disk = FaultyDisk()
    opened(tmp_path / "counted", "all", last_epoch=2, disk=disk).close()
    assert set(disk.done) == {"write", "sync", "sync_folder", "rename", "cut", "unlink"}
    for n in range(1, len(disk.done) + 1):
        path = tmp_path / str(n)
        prepared(path)
        failing = FaultyDisk(n, **FAULTS[kind])
        with contextlib.suppress(WriteError, KeyboardInterrupt):
            opened(path, "all", last_epoch=2, disk=failing).close()
        (path / "lock").unlink(missing_ok=True)  # if its removal is what failed
        with contextlib.closing(opened(path, "all", last_epoch=2)) as writer:
            writer.commit(capture_of(3))
        assert SnapshotStore(path).verify() == [], n
        assert SnapshotStore(path).epochs() == row_epochs(path) == [0, 1, 2, 3]
        assert unfinished(path) == []
        for epoch in range(4):
            assert_holds(path, epoch)


def test_a_full_disk_refuses_a_new_run_with_our_error(tmp_path, fault):
    disk = FaultyDisk()
    opened(tmp_path / "counted", disk=disk).close()
    for n in range(1, len(disk.done) + 1):
        with pytest.raises((WriteError, KeyboardInterrupt)):
            opened(tmp_path / str(n), disk=FaultyDisk(n, **fault)).close()


def test_the_nth_operation_of_a_rewind_fails(tmp_path, fault):
    counted = FaultyDisk()
    rewind(RunDirectory(written(tmp_path / "counted", range(4))), 1, counted)
    for n in range(1, len(counted.done) + 1):
        path = written(tmp_path / str(n), range(4))
        before = (path / "metrics.jsonl").read_bytes()
        disk = FaultyDisk(n, **fault)
        with pytest.raises((StorageError, KeyboardInterrupt)):
            rewind(RunDirectory(path), 1, disk)
        store = SnapshotStore(path)
        assert store.verify() == []
        committed = any(event["event"] == "rewind" for event in store.directory.events())
        assert store.epochs() == ([0, 1] if committed else [0, 1, 2, 3])
        assert (path / "metrics.jsonl").read_bytes() == before
        (path / "lock").unlink(missing_ok=True)
        rewind(RunDirectory(path), 1)
        assert SnapshotStore(path).epochs() == [0, 1]


def test_a_manifest_whose_last_sync_was_refused_keeps_its_packs(tmp_path):
    """Its name is there, so what it names must stay when older snapshots go."""
    disk = FaultyDisk()
    with contextlib.closing(opened(tmp_path, disk=disk)) as writer:
        writer.commit(capture_of(0))
        done = n_operations(tmp_path / "counted", "last")
        before_removal = done[: done.index("unlink")]
        disk.arm(max(n for n, name in enumerate(before_removal, start=1) if name == "sync_folder"))
        with pytest.raises(WriteError, match=r"000001\.json"):
            writer.commit(capture_of(1))
        disk.arm(None)
        assert SnapshotStore(tmp_path).epochs() == [0, 1]
        for epoch in (2, 3):
            writer.commit(capture_of(epoch))
            assert SnapshotStore(tmp_path).verify() == []
        assert SnapshotStore(tmp_path).epochs() == [2, 3]


def test_rows_agree_with_manifests_to_the_last_digest(tmp_path):
    written(tmp_path, range(3))
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    manifests = SnapshotStore(tmp_path).manifests()[0]
    assert [row["digest"] for row in rows] == [manifest.digest for manifest in manifests]
    assert [manifest.log.rows for manifest in manifests] == [1, 2, 3]
    assert state_of(0)["counters"]["epoch"] == 0
