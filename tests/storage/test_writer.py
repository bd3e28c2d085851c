"""A run's one writer: rows, snapshots, what it keeps and what it cleans up."""

import contextlib
import json

import msgspec
import numpy as np
import pytest

from garage.core import state as state_trees
from garage.errors import ArgumentError, FormatVersionError, InUseError, NoSnapshotError
from garage.storage import manifest as manifests
from garage.storage.linking import Beginning
from garage.storage.manifest import Parent
from garage.storage.opening import rows_up_to
from garage.storage.packs import pack_names
from garage.storage.prune import Keep, prune
from garage.storage.run_directory import RunDirectory, pretty
from garage.storage.store import SnapshotStore
from garage.storage.writer import parent_of, rewind
from storage.faulty_disk import QuickDisk
from storage.sample_runs import (
    INFO,
    assert_holds,
    capture_of,
    events_named,
    flip,
    newest,
    opened,
    rewritten,
    row_epochs,
    state_of,
    unfinished,
    written,
)

MODES = [
    ("last", 1, [6, 7]),
    ("all", 1, [0, 1, 2, 3, 4, 5, 6, 7]),
    ("gap", 3, [0, 3, 6]),
    ("gap_and_last", 3, [0, 3, 6, 7]),
    ("gap_overwrite", 3, [3, 6]),
    ("none", 1, []),
]


def aside(path, name):
    return sorted(path.glob(name))


@pytest.mark.parametrize(("mode", "gap", "kept"), MODES)
def test_what_each_mode_keeps_and_that_every_epoch_has_a_row_and_the_same_digest(tmp_path, mode, gap, kept):
    path = written(tmp_path / "run", range(8), mode, gap)
    reference = written(tmp_path / "reference", range(8))
    assert SnapshotStore(path).epochs() == kept
    assert row_epochs(path) == list(range(8))
    assert (path / "metrics.jsonl").read_bytes() == (reference / "metrics.jsonl").read_bytes()
    assert SnapshotStore(path).verify() == []
    for epoch in kept:
        assert_holds(path, epoch)
    manifests = SnapshotStore(path).manifests()[0]
    assert set(pack_names(RunDirectory(path))) == {pack for manifest in manifests for pack in manifest.packs()}
    assert [event["epoch"] for event in events_named(path, "snapshot")] == [
        epoch
        for epoch in range(8)
        if epoch in kept or mode not in {"gap", "gap_overwrite", "none"} or epoch % gap == 0 < gap - 1
    ]


@pytest.mark.parametrize(("mode", "gap", "kept"), MODES)
def test_snapshots_that_the_user_asked_for_are_kept_over_reopenings(tmp_path, mode, gap, kept):
    writer = opened(tmp_path, mode, gap)
    for epoch in range(8):
        writer.commit(capture_of(epoch))
        if epoch == 1:
            writer.commit(capture_of(epoch), requested=True)
        writer.close()
        writer = opened(tmp_path, mode, gap, last_epoch=newest(tmp_path))
        if mode in {"gap", "gap_overwrite", "none"}:  # rows past the newest snapshot were cut
            for again in range(len(row_epochs(tmp_path)), epoch + 1):
                writer.commit(capture_of(again))
    writer.close()
    keeps = mode in {"gap", "gap_and_last", "none", "all"}
    assert SnapshotStore(tmp_path).epochs() == sorted({*kept, *([1] if keeps else [])})
    assert row_epochs(tmp_path) == list(range(8))
    assert SnapshotStore(tmp_path).verify() == []


def test_replacing_a_snapshot_is_said_in_the_events(tmp_path):
    writer = opened(tmp_path)
    first = writer.commit(capture_of(0))
    second = writer.commit(capture_of(0, variant=1), requested=True)
    writer.close()
    assert first != second
    assert [event["epoch"] for event in events_named(tmp_path, "replaced")] == [0]
    assert [event["requested"] for event in events_named(tmp_path, "snapshot")] == [False, True]
    assert row_epochs(tmp_path) == [0]
    assert_holds(tmp_path, 0, variant=1)
    assert SnapshotStore(tmp_path).verify() == []
    assert len(pack_names(RunDirectory(tmp_path))) == 2
    opened(tmp_path, last_epoch=0).close()  # cleans up the packs of the one that was replaced, but for shared chunks
    assert SnapshotStore(tmp_path).verify() == []


def test_the_digest_depends_on_this_epochs_state_alone(tmp_path):
    writer = opened(tmp_path, "none")
    alone = opened(tmp_path / "alone", "all").commit(capture_of(5))
    digests = [writer.commit(capture_of(epoch, average_return=epoch**2, opaque={})) for epoch in range(6)]
    writer.close()
    assert digests[5] == alone
    assert len(set(digests)) == 6
    codes = [(path, state_trees.encode(path, leaf)) for path, leaf in state_trees.flatten(state_of(5)).items()]
    assert alone == state_trees.digest(
        (path, code.dtype, code.shape, code.hash) for path, code in codes if not path.startswith("process/")
    )


def test_what_is_not_of_the_learners_state_is_not_in_the_digest(tmp_path):
    writer = opened(tmp_path, "none")
    plain = writer.commit(capture_of(0))
    others = {"process": {"generator": 1}, "episodes": {"rewards": np.ones(3)}}
    assert writer.commit(capture_of(0, state=others, opaque={"x": b"y"})) == plain
    assert writer.commit(capture_of(0, state={"processes": 1})) != plain
    writer.close()


def test_a_state_without_an_epoch_has_no_row(tmp_path):
    writer = opened(tmp_path)
    writer.commit(capture_of(0, metrics=False), requested=True)
    assert row_epochs(tmp_path) == []
    assert SnapshotStore(tmp_path).read().manifest.metrics == {}
    writer.commit(capture_of(0))
    writer.close()
    assert row_epochs(tmp_path) == [0]
    assert SnapshotStore(tmp_path).verify() == []


def test_a_state_that_cannot_be_stored_leaves_everything_as_it_was(tmp_path):
    writer = opened(tmp_path)
    writer.commit(capture_of(0))
    with pytest.raises(ArgumentError, match="Cannot store `bad`"):
        writer.commit(capture_of(1, state={"bad": object()}))
    writer.commit(capture_of(1))
    writer.close()
    assert row_epochs(tmp_path) == [0, 1]
    assert_holds(tmp_path, 1)


def test_an_opaque_part_under_the_path_of_a_leaf(tmp_path):
    writer = opened(tmp_path)
    writer.commit(capture_of(0, opaque={"algo/steady": b"pickle"}))
    writer.close()
    snapshot = SnapshotStore(tmp_path).read()
    assert snapshot.opaque == {"algo/steady": b"pickle"}
    assert state_trees.differences(state_of(0), snapshot.state) == []


def test_files_and_events(tmp_path):
    writer = opened(tmp_path)
    writer.write_file("provenance.json", b"{}")
    writer.add_event("start", epoch=0)
    writer.commit(capture_of(0))
    assert [row["epoch"] for row in writer.rows()] == [0]
    writer.close()
    assert (tmp_path / "provenance.json").read_bytes() == b"{}"
    assert [event["event"] for event in RunDirectory(tmp_path).events()] == ["start", "snapshot"]
    assert RunDirectory(tmp_path).info() == INFO


def test_without_a_recipe(tmp_path):
    path = written(tmp_path / "run", [0], recipe=None, recipe_problem="a lambda")
    snapshot = SnapshotStore(path).read()
    assert (snapshot.recipe, snapshot.manifest.recipe, snapshot.manifest.recipe_problem) == (None, None, "a lambda")
    assert not aside(path, "recipe*")
    assert SnapshotStore(path).verify() == []


# Opening


def test_rows_past_the_newest_manifest_are_cut(tmp_path):
    path = written(tmp_path / "run", range(6), "gap", 4)
    assert row_epochs(path) == list(range(6))
    opened(path, "gap", 4, last_epoch=4).close()
    assert row_epochs(path) == list(range(5))
    with (path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"epoch": 5, "dig')
    opened(path, "gap", 4, last_epoch=4).close()
    assert row_epochs(path) == list(range(5))
    assert SnapshotStore(path).verify() == []


def test_whole_manifests_past_the_one_gone_on_from_are_set_aside_with_their_packs(tmp_path):
    path = written(tmp_path / "run", range(4))
    names = set(pack_names(RunDirectory(path)))
    opened(path, "all", last_epoch=1).close()
    assert SnapshotStore(path).epochs() == row_epochs(path) == [0, 1]
    assert [file.name[:6] for file in aside(path, "snapshots/abandoned/*.json")] == ["000002", "000003"]
    assert set(pack_names(RunDirectory(path))) == names
    opened(path, "all", last_epoch=1).close()
    assert set(pack_names(RunDirectory(path))) == names


def test_damaged_manifests_are_set_aside(tmp_path):
    path = written(tmp_path / "run", range(4))
    for epoch in (0, 3):
        flip(RunDirectory(path).manifest_path(epoch))
    damaged = RunDirectory(path).manifest_path(3).read_bytes()
    opened(path, "all", last_epoch=2).close()
    assert SnapshotStore(path).epochs() == [1, 2]
    files = aside(path, "snapshots/damaged/*.json")
    assert [file.name[:6] for file in files] == ["000000", "000003"]
    assert files[1].read_bytes() == damaged
    assert SnapshotStore(path).verify() == []
    flip(files[0])
    opened(path, "all", last_epoch=2).close()


def test_a_new_run_in_a_directory_sets_everything_aside(tmp_path):
    path = written(tmp_path / "run", range(3))
    rows = (path / "metrics.jsonl").read_bytes()
    opened(path, "all").close()
    assert SnapshotStore(path).epochs() == row_epochs(path) == []
    assert len(aside(path, "snapshots/abandoned/*.json")) == 3
    assert [file.read_bytes() for file in aside(path, "metrics-abandoned-*.jsonl")] == [rows]


def test_left_overs_of_a_writer_that_died_are_removed(tmp_path):
    path = written(tmp_path / "run", range(2))
    directory = RunDirectory(path)
    named = set(pack_names(directory))
    for folder in (path, directory.snapshots_path, directory.pack_path(next(iter(named))).parent):
        (folder / ".unfinished-123-ab").write_bytes(b"half")
    directory.pack_path("ef" * 32).parent.mkdir(exist_ok=True)
    directory.pack_path("ef" * 32).write_bytes(b"nobody's")
    assert SnapshotStore(path).verify() == []
    opened(path, "all", last_epoch=1).close()
    assert unfinished(path) == []
    assert set(pack_names(directory)) == named


def test_unfinished_files_of_a_run_below_are_left_to_it(tmp_path):
    """A sweep puts trials below the directory of a run that may start while they write."""
    path = written(tmp_path / "run", range(2))
    trial = RunDirectory(written(path / "trial_0", range(2)))
    in_writing = [
        folder / ".unfinished-123-ab"
        for folder in (trial.path, trial.snapshots_path, next(iter(pack_names(trial).values())).parent)
    ]
    for file in in_writing:
        file.write_bytes(b"half")
    with contextlib.closing(opened(path, "all", last_epoch=1)) as writer:
        writer.commit(capture_of(2))
    prune(RunDirectory(path), Keep.of(["last"]), disk=QuickDisk())
    assert [file.read_bytes() for file in in_writing] == [b"half"] * 3


@pytest.mark.parametrize("tail", [b'{"event": "to', b'{"event": "torn"}', b"\xff"])
def test_a_torn_event_is_cut_so_that_the_next_does_not_continue_it(tmp_path, tail):
    path = written(tmp_path / "run", [0])
    whole = (path / "events.jsonl").read_bytes()
    (path / "events.jsonl").write_bytes(whole + tail)
    writer = opened(path, last_epoch=0)
    writer.add_event("resume")
    writer.close()
    assert (path / "events.jsonl").read_bytes().startswith(whole + b'{"event":"resume"')
    assert SnapshotStore(path).verify() == []


@pytest.mark.parametrize(
    "line",
    [
        b"no JSON",
        b"[1]",
        b'{"event": "\xff"}',
        b'{"event": "snapshot", "requested": true, "epocg": 3}',
        b'{"event": "snapshot", "requested": true, "epoch": [3]}',
        b'{"event": "rewind", "abandoned": null}',
        b'{"event": "rewind", "abandoned": {"3": ["x"]}}',
    ],
)
def test_a_damaged_event_stops_nobody(tmp_path, line):
    path = written(tmp_path / "run", [0, 1])
    with (path / "events.jsonl").open("ab") as file:
        file.write(line + b"\n")
    assert SnapshotStore(path).read().manifest.epoch == 1
    opened(path, last_epoch=1).close()
    assert SnapshotStore(path).epochs() == [0, 1]


def test_every_flipped_bit_of_the_events_stops_nobody(tmp_path):
    path = written(tmp_path / "run", [0, 1])
    opened(path, "gap_and_last", 5, last_epoch=1).commit(capture_of(1), requested=True)
    (path / "lock").unlink()
    data = (path / "events.jsonl").read_bytes()
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 1 << (position % 8)
        (path / "events.jsonl").write_bytes(flipped)
        assert SnapshotStore(path).epochs() == [0, 1]
        if position % 7 == 0:
            opened(path, last_epoch=1).close()


def damaged_metrics(path, change):
    data = (path / "metrics.jsonl").read_bytes()
    (path / "metrics.jsonl").write_bytes(change(data))
    return (path / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (lambda data: data.replace(b'"epoch":1', b'"epoch";1'), [0, 2, 3]),
        (lambda data: data.replace(b'"epoch":1', b'"epocg":1'), [0, 2, 3]),
        (lambda data: data.replace(b'"epoch":1', b'"epoch":[]'), [0, 2, 3]),
        (lambda data: data.replace(b'"epoch":1', b'"epoch":7'), [0, 2, 3]),
        (lambda data: data.replace(b'"Loss"', b'"Los\xff"', 1), [1, 2, 3]),
        (lambda data: data.replace(b'{"epoch":2', b'["epoch",2', 1), [0, 1, 3]),
        (lambda data: data.replace(b"}\n", b"}", 1), [2, 3]),
        (lambda data: data[:-1], [0, 1, 2]),
        (lambda data: data[: len(data) // 2], [0, 1]),
        (lambda data: b"", []),
    ],
)
def test_damaged_metrics_are_kept_aside_and_readable_rows_stay(tmp_path, change, left):
    path = written(tmp_path / "run", range(4))
    damaged = damaged_metrics(path, change)
    assert any("metrics.jsonl" in line for line in SnapshotStore(path).verify())
    assert SnapshotStore(path).read().manifest.epoch == 3
    writer = opened(path, last_epoch=3)
    assert row_epochs(path) == left
    assert [file.read_bytes() for file in aside(path, "metrics-damaged-*.jsonl")] == [damaged] * (damaged != b"")
    (event,) = events_named(path, "damaged_metrics")
    assert (event["bytes"], event["kept"]) == (len(damaged), (path / "metrics.jsonl").stat().st_size)
    for epoch in (4, 5):
        writer.commit(capture_of(epoch))
    writer.close()
    assert row_epochs(path) == [*left, 4, 5]
    assert SnapshotStore(path).verify() == []


def test_missing_metrics(tmp_path):
    path = written(tmp_path / "run", range(2))
    (path / "metrics.jsonl").unlink()
    writer = opened(path, last_epoch=1)
    writer.commit(capture_of(2))
    writer.close()
    assert row_epochs(path) == [2]
    assert not aside(path, "metrics-damaged-*")


@pytest.mark.parametrize("gone", ["removed", "damaged", "abandoned"])
def test_a_snapshot_that_is_gone_since_it_was_restored(tmp_path, gone):
    path = written(tmp_path / "run", range(3))
    manifest = RunDirectory(path).manifest_path(2)
    if gone == "removed":
        manifest.unlink()
    elif gone == "damaged":
        flip(manifest)
    else:
        opened(path, "all", last_epoch=1).close()
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with pytest.raises(NoSnapshotError, match=rf"Cannot go on from epoch 2 of {path}: .*it has: 0, 1\. Restore again"):
        opened(path, "all", last_epoch=2)
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize("last_epoch", [None, 0])
def test_what_another_format_version_wrote_is_not_touched(tmp_path, last_epoch):
    path = written(tmp_path / "run", [0, 1])
    rewritten(RunDirectory(path).manifest_path(1), lambda document: document.update(format=2))
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with pytest.raises(FormatVersionError, match=r"has format version 2; this garage reads version 1"):
        opened(path, last_epoch=last_epoch)
    RunDirectory(path).manifest_path(1).unlink()
    (path / "run.json").write_bytes(pretty(msgspec.structs.replace(INFO, format=2)))
    with pytest.raises(FormatVersionError, match=r"run\.json has format version 2"):
        opened(path, last_epoch=last_epoch)
    before.pop(RunDirectory(path).manifest_path(1))
    before[path / "run.json"] = (path / "run.json").read_bytes()
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


def test_a_damaged_run_json_is_written_anew(tmp_path):
    path = written(tmp_path / "run", [0])
    flip(path / "run.json", 0)
    opened(path, last_epoch=0).close()
    assert SnapshotStore(path).verify() == []


# What is not written again


def test_chunks_of_a_damaged_older_snapshot_are_written_again(tmp_path):
    """Only chunks of the snapshot that was just read are known to be whole."""
    writer = opened(tmp_path, "all")
    writer.commit(capture_of(0))
    writer.commit(capture_of(1, variant=1))
    writer.close()
    manifest = SnapshotStore(tmp_path).manifests()[0][0]
    for pack in manifest.packs():
        flip(RunDirectory(tmp_path).pack_path(pack), 70)
    assert SnapshotStore(tmp_path).verify() != []
    writer = opened(tmp_path, "all", last_epoch=1)
    writer.commit(capture_of(2, state=state_of(0)))
    writer.close()
    assert state_trees.differences(state_of(0), SnapshotStore(tmp_path).read(2).state) == []


def test_chunks_of_damaged_episodes_are_written_again(tmp_path):
    """A restore does not read the episodes, so nobody knows that their chunks are whole."""
    ones = {"episodes": {"rewards": np.ones(100_000)}}
    writer = opened(tmp_path, "all")
    writer.commit(capture_of(0, state=ones))
    writer.close()
    store = SnapshotStore(tmp_path)
    manifest = store.read().manifest
    (leaf,) = (leaf for leaf in manifest.leaves if leaf.path == "episodes/rewards")
    chunk = manifest.chunks[leaf.pieces[0].chunk]
    flip(RunDirectory(tmp_path).pack_path(chunk.pack), chunk.offset + chunk.stored // 2)
    assert store.read().problems == ()
    writer = opened(tmp_path, "all", last_epoch=0)
    writer.commit(capture_of(1, state=ones))
    writer.close()
    assert [line for line in store.verify() if line.startswith("epoch 1")] == []
    np.testing.assert_array_equal(store.read_episodes(store.read().manifest)["rewards"], np.ones(100_000))


# Forks


def test_a_fork_begins_with_its_parents_rows(tmp_path):
    path = written(tmp_path / "run", range(4))
    manifest = SnapshotStore(path).read(1).manifest
    parent = parent_of(manifest, path)
    assert parent == Parent("0123456789abcdef", 1, manifest.digest, str(path))
    info = msgspec.structs.replace(INFO, parent=parent)
    fork = opened(tmp_path / "fork", info=info, begins_with=Beginning(path, manifest))
    assert [row["epoch"] for row in fork.rows()] == [0, 1]
    fork.commit(capture_of(2))
    fork.close()
    assert row_epochs(tmp_path / "fork") == [0, 1, 2]
    assert SnapshotStore(tmp_path / "fork").read().manifest.parent == parent
    assert SnapshotStore(tmp_path / "fork").verify() == []


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (lambda data: data, [0, 1]),
        (lambda data: data[:-9], [0]),
        (lambda data: data.replace(b'"epoch":0', b'"epoch":\xff'), [1]),
        (lambda data: data.replace(b'"epoch":1', b'"epoch":2'), [0]),
        (lambda data: data.replace(b'"Evaluation/AverageReturn":1', b'"Evaluation/AverageReturn":3'), [0, 1]),
        (lambda data: data[data.index(b"\n") + 1 :], [1]),
        (lambda data: b"", []),
    ],
)
def test_a_fork_of_a_run_with_damaged_metrics(tmp_path, change, left):
    path = written(tmp_path / "run", range(2))
    manifest = SnapshotStore(path).read(1).manifest
    before = (path / "metrics.jsonl").read_bytes()
    is_damaged = damaged_metrics(path, change) != before
    info = msgspec.structs.replace(INFO, parent=parent_of(manifest, path))
    fork = opened(tmp_path / "fork", info=info, begins_with=Beginning(path, manifest))
    fork.commit(capture_of(2))
    fork.close()
    assert [f"{path}/metrics.jsonl is not as written" in problem for problem in fork.problems] == [True] * is_damaged
    assert len(events_named(tmp_path / "fork", "damaged_metrics")) == is_damaged
    assert row_epochs(tmp_path / "fork") == [*left, 2]
    assert SnapshotStore(tmp_path / "fork").verify() == []


def test_rows_of_a_run_without_metrics(tmp_path):
    path = written(tmp_path / "run", [0])
    (path / "metrics.jsonl").unlink()
    rows, problem = rows_up_to(RunDirectory(path), SnapshotStore(path).read().manifest)
    assert rows == b""
    assert problem is not None


def test_rows_are_strict_json_with_names_sorted(tmp_path):
    path = written(tmp_path / "run", [0])
    (line,) = (path / "metrics.jsonl").read_text().splitlines()
    row = json.loads(line, parse_constant=pytest.fail)
    assert list(row) == ["epoch", "digest", "Evaluation/AverageReturn", "Loss"]
    assert row["Loss"] == "NaN"


def test_packs_of_what_was_set_aside_outlive_retention(tmp_path):
    written(tmp_path, range(4))
    rewind(RunDirectory(tmp_path), 1)
    needed = {pack for epoch in (2, 3) for pack in manifests.read(tmp_path / f"snapshots/{epoch:06d}.json").packs()}
    with contextlib.closing(opened(tmp_path, last_epoch=1)) as writer:
        for epoch in range(2, 7):
            writer.commit(capture_of(epoch, variant=1))
    assert needed <= pack_names(RunDirectory(tmp_path)).keys()


def test_packs_of_a_manifest_that_cannot_be_read_stay(tmp_path):
    written(tmp_path, range(3))
    before = set(pack_names(RunDirectory(tmp_path)))
    flip(tmp_path / "snapshots" / "000002.json")
    whole = [manifests.read(tmp_path / f"snapshots/{epoch:06d}.json") for epoch in (0, 1)]
    unreadable = before - {pack for manifest in whole for pack in manifest.packs()}
    assert unreadable
    with contextlib.closing(opened(tmp_path, last_epoch=1)) as writer:
        for epoch in range(2, 7):
            writer.commit(capture_of(epoch, variant=1))
    assert unreadable <= pack_names(RunDirectory(tmp_path)).keys()


def test_damaged_metrics_are_told(tmp_path):
    written(tmp_path, range(3))
    flip(tmp_path / "metrics.jsonl", 30)
    with contextlib.closing(opened(tmp_path, "all", last_epoch=2)) as writer:
        assert ["metrics.jsonl was not as written" in problem for problem in writer.problems] == [True]
    with contextlib.closing(opened(tmp_path / "other")) as writer:
        assert writer.problems == []


def test_a_snapshot_of_another_process_is_found_whenever_it_comes(tmp_path):
    with contextlib.closing(opened(tmp_path / "run", "all")) as writer:
        for epoch in range(3):
            writer.commit(capture_of(epoch))
        others = written(tmp_path / "other", range(9))
        (tmp_path / "run/snapshots/000008.json").write_bytes((others / "snapshots/000008.json").read_bytes())
        with pytest.raises(InUseError, match="was not written by this process"):
            writer.commit(capture_of(3))
