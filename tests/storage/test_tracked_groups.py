"""Tracked groups on the disk: each snapshot is whole, and holds only what is new, whatever was dropped or failed."""

import contextlib
import errno
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from garage.core import state as state_trees
from garage.core.tracked import TrackedGroup, keeps_hashed
from garage.errors import ArgumentError, DamagedError, WriteError
from garage.storage import manifest as manifests
from garage.storage.background import BackgroundWriter
from garage.storage.chunk_reader import ChunkReader
from garage.storage.disk import Disk
from garage.storage.fork import fork
from garage.storage.linking import Beginning
from garage.storage.packs import pack_names
from garage.storage.prune import Keep, prune
from garage.storage.run_directory import RunDirectory
from garage.storage.store import SnapshotStore
from garage.storage.writer import Capture
from storage.faulty_disk import FaultyDisk, refusal
from storage.sample_runs import INFO, events_named, flip, opened, rewritten

PATH = "algo/replay"
COLUMNS = {"x": ((20,), np.float64), "y": ((), np.float32)}
ROW_BYTES = 164
BLOCK = 1024 * ROW_BYTES


def rows(n, seed):
    generator = np.random.default_rng([n, seed])
    return {"x": generator.standard_normal((n, 20)), "y": generator.standard_normal(n).astype(np.float32)}


def group_of(n, capacity=8000, seed=0):
    group = TrackedGroup(capacity, COLUMNS)
    group.write(0, rows(n, seed))
    return group


def captured(epoch, group, writer):
    state = state_trees.copied({"algo": {"replay": group, "theta": np.full(3, float(epoch))}}, writer.keeps)
    return Capture(epoch, state, {}, {"x": 1.0}, {}, {}, {})


def content_of(group):
    return {name: column.tobytes() for name, column in group.views().items()}


def stored(path, epoch="last"):
    snapshot = SnapshotStore(path).read(epoch)
    assert snapshot.problems == ()
    return snapshot.state["algo"]["replay"]


def assert_whole(path, epoch, content):
    assert SnapshotStore(path).verify() == []
    assert content_of(stored(path, epoch)) == content


def bytes_written(path):
    return [event["bytes"] for event in events_named(path, "snapshot")]


def commit(writer, epoch, group, **options):
    return writer.commit(captured(epoch, group, writer), **options)


@pytest.fixture
def run(tmp_path):
    """A run of one epoch, whose group has four blocks, and that group."""
    group = group_of(3500)
    with contextlib.closing(opened(tmp_path / "run", "all")) as writer:
        commit(writer, 0, group)
    return tmp_path / "run", group


@pytest.mark.parametrize("n", [0, 1, 1024, 1025, 8000])
def test_what_is_written_is_read(tmp_path, n):
    group = group_of(n)
    with contextlib.closing(opened(tmp_path)) as writer:
        digest = commit(writer, 0, group)
    assert_whole(tmp_path, 0, content_of(group))
    assert stored(tmp_path).capacity == 8000
    (entry,) = SnapshotStore(tmp_path).read().manifest.groups
    assert (entry.path, entry.rows, entry.block_rows, len(entry.blocks)) == (PATH, n, 1024, -(-n // 1024))
    codes = [
        (path, state_trees.encode(path, leaf)) for path, leaf in state_trees.flatten(captured_state(group)).items()
    ]
    assert digest == state_trees.digest((path, code.dtype, code.shape, code.hash) for path, code in codes)


def captured_state(group):
    return {"algo": {"replay": group, "theta": np.zeros(3)}}


def test_a_snapshot_holds_what_is_new(tmp_path):
    group = group_of(7000)
    with contextlib.closing(opened(tmp_path)) as writer:
        commit(writer, 0, group)
        commit(writer, 1, group)
        group.write(7000, rows(500, 1))
        commit(writer, 2, group)
        group.write(np.array([5, 2048]), {"y": [1, 2]})
        commit(writer, 3, group)
        group.write(7500, rows(600, 2))  # goes round
        commit(writer, 4, group)
        content = content_of(group)
    sizes = bytes_written(tmp_path)
    assert sizes[0] > 7000 * ROW_BYTES
    assert sizes[1] < 1000
    assert 1356 * ROW_BYTES < sizes[2] < 1356 * ROW_BYTES + 1000  # the rest of block 6, and 332 rows of block 7
    assert 2 * BLOCK < sizes[3] < 2 * BLOCK + 1000
    assert (832 + 1024) * ROW_BYTES < sizes[4] < (832 + 1024) * ROW_BYTES + 1000
    assert_whole(tmp_path, 4, content)


def test_equal_blocks_are_stored_once(tmp_path):
    group = TrackedGroup(4096, COLUMNS)
    for start in range(0, 4096, 1024):
        group.write(start, rows(1024, 1))
    with contextlib.closing(opened(tmp_path)) as writer:
        commit(writer, 0, group)
    assert BLOCK < bytes_written(tmp_path)[0] < 1.1 * BLOCK
    assert_whole(tmp_path, 0, content_of(group))


def test_content_that_comes_back_is_not_written_again(run):
    path, group = run
    first, new = rows(3500, 0), rows(1024, 5)
    with contextlib.closing(opened(path, "all", last_epoch=0)) as writer:
        group.write(0, new)
        commit(writer, 1, group)
        group.write(0, {name: column[:1024] for name, column in first.items()})
        commit(writer, 2, group)
    assert bytes_written(path)[-1] < 1000
    assert content_of(stored(path, 2)) == content_of(stored(path, 0))


class GatedDisk(Disk):
    """Waits before it makes a manifest's name known, until it is let go."""

    def __init__(self):
        self.gate, self.arrived = threading.Event(), threading.Event()

    def rename(self, path, target):
        if "snapshots" in target.parts:
            self.arrived.set()
            assert self.gate.wait(60)
        super().rename(path, target)


def test_a_dropped_snapshot_s_blocks_are_in_the_next_one(tmp_path):
    disk = GatedDisk()
    group = group_of(4096)
    contents = []
    with contextlib.closing(opened(tmp_path, "last", disk=disk)) as writer, BackgroundWriter(writer) as saver:
        saver.submit(captured(0, group, writer))
        assert disk.arrived.wait(60)
        for epoch in range(1, 6):  # each changes a block of its own; one of them stays to be written
            group.write(np.array([(epoch % 4) * 1024]), {"y": [epoch]})
            saver.submit(captured(epoch, group, writer))
            contents.append(content_of(group))
        with saver._has_snapshot:  # until the last one waits; before, the one before it does
            assert saver._has_snapshot.wait_for(lambda: saver._to_write and saver._to_write[0].capture.epoch == 5, 60)
        disk.gate.set()
    assert [event["epoch"] for event in events_named(tmp_path, "snapshot")] == [0, 5]
    assert_whole(tmp_path, 5, contents[-1])


def test_training_changes_the_group_while_its_capture_waits(tmp_path):
    disk = GatedDisk()
    group = group_of(4096)
    before = content_of(group)
    with contextlib.closing(opened(tmp_path, "all", disk=disk)) as writer, BackgroundWriter(writer) as saver:
        saver.submit(captured(0, group, writer))
        group.write(0, rows(4096, 9))
        assert disk.arrived.wait(60)
        saver.submit(captured(1, group, writer))
        after = content_of(group)
        group.write(0, rows(4096, 10))
        disk.gate.set()
    assert_whole(tmp_path, 0, before)
    assert_whole(tmp_path, 1, after)


def test_epochs_without_a_snapshot_copy_only_for_their_digests(tmp_path):
    group = group_of(4096)
    with contextlib.closing(opened(tmp_path, "gap", 3)) as writer:
        commit(writer, 0, group)
        copied = []
        for epoch in (1, 2):
            group.write(epoch * 1024, rows(10, epoch))
            state = state_trees.copied(captured_state(group), keeps_hashed)
            copied.append(state["algo"]["replay"].bytes_copied)
            writer.enter(Capture(epoch, state, {}, {"x": 1.0}, {}, {}, {}))
        del state
        commit(writer, 3, group)
    assert copied == [BLOCK, BLOCK]
    assert 2 * BLOCK < bytes_written(tmp_path)[-1] < 2 * BLOCK + 1000
    assert_whole(tmp_path, 3, content_of(group))


def test_a_restored_group_s_next_snapshot_holds_what_changed(run):
    path, _ = run
    group = TrackedGroup(8000, COLUMNS)
    group.load(stored(path))
    with contextlib.closing(opened(path, "all", last_epoch=0)) as writer:
        commit(writer, 1, group)
        group.write(3500, rows(5, 3))
        commit(writer, 2, group)
    assert bytes_written(path)[1] < 1000
    assert bytes_written(path)[2] < BLOCK
    assert_whole(path, 2, content_of(group))


def test_a_restored_group_goes_into_another_run_whole(run, tmp_path):
    path, _ = run
    group = TrackedGroup(8000, COLUMNS)
    group.load(stored(path))
    other = tmp_path / "other"
    with contextlib.closing(opened(other)) as writer:
        commit(writer, 0, group)
        commit(writer, 1, group)
    assert bytes_written(other)[0] > 3500 * ROW_BYTES
    assert bytes_written(other)[1] < 1000
    assert_whole(other, 1, content_of(group))


@pytest.mark.parametrize("kind", ["fork", "begins_with"])
def test_forks_share_blocks_and_write_what_changes(run, tmp_path, kind):
    path, _ = run
    other = tmp_path / "other"
    options = {"last_epoch": 0}
    if kind == "fork":
        fork(path, "last", other)
    else:
        options = {"begins_with": Beginning(path, SnapshotStore(path).read().manifest, {"algo/theta": np.ones(2)})}
    group = TrackedGroup(8000, COLUMNS)
    group.load(stored(path))
    info = msgspec.structs.replace(INFO, id="f" * 16)
    with contextlib.closing(opened(other, "all", info=info, **options)) as writer:
        assert_whole(other, 0, content_of(group))
        group.write(0, rows(3, 4))
        commit(writer, 1, group)
    assert BLOCK < bytes_written(other)[0] < BLOCK + 1000
    assert_whole(other, 1, content_of(group))
    assert_whole(path, 0, content_of(stored(path)))


def test_a_changed_group_takes_its_place_in_a_fork(run, tmp_path):
    path, _ = run
    group = group_of(2000, seed=8)
    beginning = Beginning(path, SnapshotStore(path).read().manifest, {"algo": {"replay": group}})
    with contextlib.closing(opened(tmp_path / "other", begins_with=beginning)):
        assert_whole(tmp_path / "other", 0, content_of(group))
    manifest = SnapshotStore(tmp_path / "other").read().manifest
    codes = [(leaf.path, leaf.dtype, leaf.shape, leaf.hash) for leaf in manifest.leaves]
    codes += [(entry.path, "group", (entry.rows,), entry.hash) for entry in manifest.groups]
    assert manifest.digest == state_trees.digest(codes)


def test_the_same_epoch_twice(tmp_path):
    group = group_of(3000)
    with contextlib.closing(opened(tmp_path)) as writer:
        for epoch in (0, 1, 1, 1):
            group.write(0, rows(10, epoch))
            commit(writer, epoch, group, requested=True)
        group.write(2000, rows(10, 9))
        commit(writer, 2, group)
    assert_whole(tmp_path, 2, content_of(group))
    assert SnapshotStore(tmp_path).epochs() == [1, 2]


def test_two_runs_save_one_group_in_turns(tmp_path):
    group = group_of(4096)
    paths = [tmp_path / "a", tmp_path / "b"]
    with contextlib.closing(opened(paths[0])) as a, contextlib.closing(opened(paths[1])) as b:
        for epoch in range(4):
            waiting = [captured(epoch, group, writer) for writer in (a, b)]
            content = content_of(group)
            group.write(epoch * 1024, rows(1024, epoch + 1))
            for writer, path, capture in zip((a, b), paths, waiting, strict=True):
                writer.commit(capture)
                assert_whole(path, epoch, content)


def test_a_writer_says_so_if_bytes_are_gone(tmp_path):
    group = group_of(2048)
    with contextlib.closing(opened(tmp_path)) as writer:
        state = state_trees.copied(captured_state(group), keeps_hashed)
        state["algo"]["replay"].hashes()
        del state
        missing = state_trees.copied(captured_state(group), keeps_hashed)
        with pytest.raises(WriteError, match="a block of a tracked group that was there"):
            writer.commit(Capture(0, missing, {}, {"x": 1.0}, {}, {}, {}))
        commit(writer, 0, group)
    assert_whole(tmp_path, 0, content_of(group))


@pytest.mark.parametrize("fault", [{}, {"torn": True}, {"error": refusal(errno.EIO), "torn": True}])
def test_whichever_operation_of_a_commit_fails_the_next_one_holds_everything(tmp_path, fault):
    def at(path, disk):
        group = group_of(3000)
        writer = opened(path, "last", disk=disk)
        for epoch in range(3):
            group.write(epoch * 1000, rows(50, epoch))
            commit(writer, epoch, group)
        group.write(100, rows(1500, 7))
        return group, writer

    counting = FaultyDisk()
    group, writer = at(tmp_path / "counted", counting)
    counting.done = []
    commit(writer, 3, group)
    n_operations = len(counting.done)
    writer.close()
    assert n_operations > 8
    for n in range(1, n_operations + 1):
        path, disk = tmp_path / str(n), FaultyDisk(**fault)
        group, writer = at(path, disk)
        before = content_of(stored(path, 2))
        disk.arm(n)
        with pytest.raises(WriteError):
            commit(writer, 3, group)
        disk.arm(None)
        whole = {epoch: content_of(stored(path, epoch)) for epoch in SnapshotStore(path).epochs()}
        assert before in whole.values()
        group.write(2500, rows(30, 11))
        commit(writer, 4, group)
        writer.close()
        assert_whole(path, 4, content_of(group))


def test_after_a_kill_the_next_process_goes_on(run):
    path, group = run
    content = content_of(group)
    for n in range(1, 9):
        disk = FaultyDisk()
        with contextlib.suppress(KeyboardInterrupt):
            writer = opened(path, "all", last_epoch=0, disk=disk)
            disk._error = KeyboardInterrupt
            group.write(0, rows(2000, n))
            disk.arm(n)
            commit(writer, 1, group)
        disk.arm(None)
        writer.close()
        snapshot = SnapshotStore(path).read(0)
        assert content_of(snapshot.state["algo"]["replay"]) == content
        group = TrackedGroup(8000, COLUMNS)
        group.load(snapshot.state["algo"]["replay"])
    assert SnapshotStore(path).verify() == []


def test_some_columns_and_blocks_are_read_alone(run):
    path, group = run
    snapshot = SnapshotStore(path).read()
    (entry,) = snapshot.manifest.groups
    reader = ChunkReader(RunDirectory(path), snapshot.manifest.chunks)
    np.testing.assert_array_equal(reader.columns(entry, ["y"])["y"], group["y"])
    some = reader.columns(entry, blocks=[3, 1])
    np.testing.assert_array_equal(some["x"], np.concatenate([group["x"][3072:3500], group["x"][1024:2048]]))
    assert reader.columns(entry, ["y"], [])["y"].shape == (0,)
    for names, blocks in ((["z"], None), (None, [4]), (None, [-1])):
        with pytest.raises(ArgumentError, match="it has the columns"):
            reader.columns(entry, names, blocks)


def test_damaged_blocks_are_named_by_their_rows(run):
    path, group = run
    group.write(2500, rows(5, 6))
    with contextlib.closing(opened(path, "all", last_epoch=0)) as writer:
        commit(writer, 1, group)
    manifest = SnapshotStore(path).read(1).manifest
    chunk = manifest.chunks[manifest.groups[0].blocks[2]]
    flip(RunDirectory(path).pack_path(chunk.pack), chunk.offset + 100)
    assert [line.split(": the chunk")[0] for line in SnapshotStore(path).verify()] == [
        f"epoch 1: Cannot read `{PATH}`: rows 2048 to 3071"
    ]
    fallen_back = SnapshotStore(path).read()
    assert fallen_back.manifest.epoch == 0
    assert "rows 2048 to 3071" in fallen_back.problems[0]
    reader = ChunkReader(RunDirectory(path), manifest.chunks)
    np.testing.assert_array_equal(reader.columns(manifest.groups[0], blocks=[3])["y"], group["y"][3072:])
    chunk = manifest.chunks[manifest.groups[0].blocks[0]]
    RunDirectory(path).pack_path(chunk.pack).unlink()
    lines = [line for line in SnapshotStore(path).verify() if "cannot read the pack" in line and PATH in line]
    assert [line.split(": cannot")[0] for line in lines] == [
        f"epoch 0: Cannot read `{PATH}`: rows 0 to 3499",
        f"epoch 1: Cannot read `{PATH}`: rows 0 to 2047",
        f"epoch 1: Cannot read `{PATH}`: rows 3072 to 3499",
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"rows": 3499},
        {"rows": 5000},
        {"rows": -1},
        {"capacity": 3000},
        {"capacity": 2**70},
        {"block_rows": 0},
        {"block_rows": 1023},
        {"blocks": []},
        {"blocks": [0, 1, 2, 99]},
        {"blocks": [0, 1, 2, -1]},
        {"blocks": [3, 2, 1, 0]},
        {"columns": []},
        {"columns": [{"name": "x", "dtype": "<f8", "shape": [20]}]},
        {"columns": [{"name": "x", "dtype": "|O", "shape": [20]}, {"name": "y", "dtype": "<f4", "shape": []}]},
        {"columns": [{"name": "x", "dtype": "((((", "shape": [20]}, {"name": "y", "dtype": "<f4", "shape": []}]},
        {"columns": [{"name": "x", "dtype": "<f8", "shape": [-20]}, {"name": "y", "dtype": "<f4", "shape": []}]},
        {"columns": [{"name": "y", "dtype": "<f4", "shape": []}, {"name": "x", "dtype": "<f8", "shape": [20]}]},
        {"hash": "0" * 64},
    ],
)
def test_a_manifest_that_says_what_cannot_be_is_damaged(run, change):
    path, _ = run
    rewritten(RunDirectory(path).manifest_path(0), lambda document: document["groups"][0].update(change))
    with pytest.raises(DamagedError, match=r"algo/replay|is damaged"):
        SnapshotStore(path).read()
    assert SnapshotStore(path).verify()


def test_a_block_of_another_length_is_damaged_even_if_its_hash_is_right(run):
    path, _ = run

    def change(document):
        document["chunks"][document["groups"][0]["blocks"][1]]["raw"] -= 1

    rewritten(RunDirectory(path).manifest_path(0), change)
    with pytest.raises(DamagedError, match="rows 1024 to 2047: their chunk has another length"):
        SnapshotStore(path).read()


def test_manifests_from_before_there_were_groups_are_read(tmp_path):
    with contextlib.closing(opened(tmp_path)) as writer:
        writer.commit(Capture(0, {"algo": {"theta": np.ones(3)}}, {}, {"x": 1.0}, {}, {}, {}))
    rewritten(RunDirectory(tmp_path).manifest_path(0), lambda document: document.pop("groups"))
    assert SnapshotStore(tmp_path).verify() == []
    assert manifests.read(RunDirectory(tmp_path).manifest_path(0)).groups == ()
    np.testing.assert_array_equal(SnapshotStore(tmp_path).read().state["algo"]["theta"], np.ones(3))


def test_pruning_keeps_packs_that_are_partly_alive_and_moves_blocks(run):
    path, group = run
    with contextlib.closing(opened(path, "all", last_epoch=0)) as writer:
        for epoch in range(1, 6):
            group.write(0, rows(3000, epoch))
            commit(writer, epoch, group)
    n_packs = len(pack_names(RunDirectory(path)))
    done = prune(RunDirectory(path), Keep.of(["last"]))
    assert done.forgotten == [0, 1, 2, 3, 4]
    assert done.packs_rewritten >= 1  # of the first, only the last block is alive
    assert len(pack_names(RunDirectory(path))) < n_packs
    assert_whole(path, 5, content_of(group))
    with contextlib.closing(opened(path, "all", last_epoch=5)) as writer:
        restored = TrackedGroup(8000, COLUMNS)
        restored.load(stored(path))
        commit(writer, 6, restored)
    assert bytes_written(path)[-1] < 1000
    assert_whole(path, 6, content_of(group))


def test_a_manifest_stays_small(tmp_path):
    group = TrackedGroup(200 * 1024, {"x": ((), np.int64)})
    group.write(0, {"x": np.arange(200 * 1024)})
    with contextlib.closing(opened(tmp_path)) as writer:
        commit(writer, 0, group)
    assert RunDirectory(tmp_path).manifest_path(0).stat().st_size < 200 * 260 + 4000


STEPS = st.one_of(
    st.tuples(st.just("ring"), st.integers(0, 2999), st.integers(1, 1500)),
    st.tuples(st.just("edit"), st.integers(0, 2999), st.integers(0, 2999)),
    st.tuples(st.sampled_from(["capture", "capture", "write", "write", "drop", "fail", "restore"]), st.integers(1, 9)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=25), st.sampled_from(["last", "all"]))
def test_whatever_is_written_dropped_or_fails_each_snapshot_is_the_group_at_its_capture(steps, mode):
    columns = {"x": ((200,), np.float64), "y": ((), np.int64)}  # 652 rows a block
    group = TrackedGroup(3000, columns)
    disk = FaultyDisk()
    waiting, newest, number = [], None, 0
    with TemporaryDirectory() as folder:
        path = Path(folder)
        writer = opened(path, mode, disk=disk)
        for kind, *given_numbers in steps:
            number += 1
            if kind == "ring":
                start, n = given_numbers
                values = np.arange(n) % 3 + number
                group.write(start, {"x": np.repeat(values[:, None], 200, 1), "y": values})
            elif kind == "edit":
                group.write(np.array(given_numbers), {"y": [number, -number]})
            elif kind == "capture":
                waiting.append((captured(number, group, writer), content_of(group)))
            elif kind == "drop" and waiting:
                writer.enter(waiting.pop(0)[0])
            elif kind in {"write", "fail"} and waiting:
                capture, content = waiting.pop(0)
                disk.arm(given_numbers[0] if kind == "fail" else None)
                with contextlib.suppress(WriteError):
                    writer.commit(capture)
                disk.arm(None)
                store = SnapshotStore(path)
                if capture.epoch in store.epochs():
                    newest = capture.epoch
                    assert content_of(stored(path, newest)) == content
                else:
                    assert kind == "fail"
                    waiting.clear()  # nothing is written after what failed
                assert store.verify() == []
            elif kind == "restore" and newest is not None:
                writer.close()
                waiting.clear()
                group = TrackedGroup(3000, columns)
                group.load(stored(path, newest))
                writer = opened(path, mode, last_epoch=newest, disk=disk)
        commit(writer, number + 1, group)
        writer.close()
        assert_whole(path, number + 1, content_of(group))
