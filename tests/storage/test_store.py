"""Reading: the newest snapshot that verifies is the truth, and nothing changes on the disk."""

import contextlib
import json
import shutil

import numpy as np
import pytest

from garage.core import state as state_trees
from garage.core.tracked import TrackedGroup
from garage.errors import DamagedError, FormatVersionError, NoSnapshotError, StorageError
from garage.storage import files
from garage.storage.packs import pack_names
from garage.storage.prune import Keep, prune
from garage.storage.run_directory import RunDirectory, whole_lines
from garage.storage.store import SnapshotStore
from storage.counted_reads import CountedReads, stored_bytes
from storage.sample_runs import (
    INFO,
    assert_holds,
    capture_of,
    checksummed,
    files_of,
    flip,
    opened,
    rewritten,
    state_of,
    written,
)


@pytest.fixture
def run(tmp_path):
    """The newest snapshot and its spare."""
    return written(tmp_path / "run", range(3), "last")


def pack_of(path, epoch):
    """The pack that this snapshot alone needs."""
    whole = {manifest.epoch: manifest.packs() for manifest in SnapshotStore(path).manifests()[0]}
    others = {pack for other, packs in whole.items() if other != epoch for pack in packs}
    (pack,) = whole[epoch] - others
    return RunDirectory(path).pack_path(pack)


def manifest_flipped(path):
    flip(RunDirectory(path).manifest_path(2))
    return "000002.json is damaged: its checksum does not match"


def manifest_truncated(path):
    manifest = RunDirectory(path).manifest_path(2)
    manifest.write_bytes(manifest.read_bytes()[:-100])
    return "000002.json is damaged: its checksum does not match"


def manifest_empty(path):
    RunDirectory(path).manifest_path(2).write_bytes(b"")
    return "000002.json is damaged: its checksum does not match its 0 bytes"


def manifest_a_folder(path):
    RunDirectory(path).manifest_path(2).unlink()
    RunDirectory(path).manifest_path(2).mkdir()
    return "000002.json: Is a directory"


def pack_flipped(path):
    flip(pack_of(path, 2), 70)
    return "Epoch 2: Cannot read `algo/nothing`: the chunk"


def pack_truncated(path):
    pack = pack_of(path, 2)
    pack.write_bytes(pack.read_bytes()[:80])
    return "Epoch 2: Cannot read `algo/nothing`: the chunk"


def pack_missing(path):
    pack_of(path, 2).unlink()
    return "Epoch 2: Cannot read `algo/nothing`: cannot read the pack"


def recipe_of_its_own_missing(path):
    rewritten(RunDirectory(path).manifest_path(2), lambda document: document.update(recipe="ab" * 32))
    return "Epoch 2: the recipe abababababab is missing"


@pytest.mark.parametrize(
    "damage",
    [
        manifest_flipped,
        manifest_truncated,
        manifest_empty,
        manifest_a_folder,
        pack_flipped,
        pack_truncated,
        pack_missing,
        recipe_of_its_own_missing,
    ],
)
def test_a_damaged_newest_snapshot_falls_back_to_the_spare_and_says_why(run, damage):
    reason = damage(run)
    store = SnapshotStore(run)
    snapshot = store.read()
    assert snapshot.manifest.epoch == 1
    assert state_trees.differences(state_of(1), snapshot.state) == []
    (problem,) = snapshot.problems
    assert reason in problem
    with pytest.raises(DamagedError) as caught:
        store.read(2)
    assert reason in str(caught.value)
    assert f"`garage verify {run}`" in str(caught.value)
    assert store.verify() != []


def test_a_whole_run_has_no_problems(run):
    assert SnapshotStore(run).read().problems == ()
    assert SnapshotStore(run).verify() == []


def test_nothing_left_that_verifies(run):
    shutil.rmtree(run / "packs")
    with pytest.raises(
        DamagedError, match=r"(?s)No snapshot of .* verifies \(asked for: last\):\n  Epoch 2.*\n  Epoch 1"
    ):
        SnapshotStore(run).read()
    for manifest in (run / "snapshots").iterdir():
        flip(manifest)
    with pytest.raises(DamagedError, match=r"(?s)000001\.json is damaged.*000002\.json is damaged"):
        SnapshotStore(run).read()


def test_first_last_and_epochs(tmp_path):
    path = written(tmp_path / "run", [3, 80, 120])
    store = SnapshotStore(path)
    assert store.epochs() == [3, 80, 120]
    chosen = {which: store.read(which).manifest.epoch for which in ("first", "last", 80)}
    assert chosen == {"first": 3, "last": 120, 80: 80}
    with pytest.raises(NoSnapshotError, match=rf"There is no snapshot of epoch 4 in {path}; it has: 3, 80, 120\."):
        store.read(4)
    with pytest.raises(NoSnapshotError, match="no snapshot of epoch -1"):
        store.read(-1)


def test_a_damaged_first_is_an_error(run):
    flip(pack_of(run, 1), 70)
    with pytest.raises(DamagedError, match=r"(?s)asked for: first.*Epoch 1: Cannot read"):
        SnapshotStore(run).read("first")


@pytest.mark.parametrize("which", ["newest", "", True, 1.0, None, "1"])
def test_what_is_no_epoch(run, which):
    with pytest.raises(NoSnapshotError, match="must be 'last', 'first', 'best' or an epoch, got"):
        SnapshotStore(run).read(which)


def with_returns(path, returns, mode="all", gap=1):
    writer = opened(path, mode, gap)
    for epoch, value in enumerate(returns):
        writer.commit(capture_of(epoch, average_return=value))
    writer.close()
    return SnapshotStore(path)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("returns", "best"),
    [
        ([9.0, 1.0, 5.0, 2.0], 1),  # row 2 judges snapshot 1; row 0 judges nothing that there is
        ([0.0, 7.0, 7.0, 7.0], 0),
        ([0.0, 1.0, 7.0, 7.0], 1),
        ([0.0, NAN, 1.0, NAN], 1),
        ([0.0, INF, 1.0, -INF], 1),
        ([0.0, NAN, -5.0, NAN], 1),
        ([0.0, 1.0, 2.0, 1e300], 2),
        ([0, 3, 2, 1], 0),
    ],
)
def test_the_best_is_the_one_whose_episodes_came_an_epoch_later(tmp_path, returns, best):
    assert with_returns(tmp_path, returns).read("best").manifest.epoch == best


def test_the_best_among_those_that_are_kept(tmp_path):
    store = with_returns(tmp_path, [0.0, 1.0, 9.0, 3.0, 4.0, 5.0], "gap_and_last", 3)
    assert store.epochs() == [0, 3, 4, 5]
    assert store.read("best").manifest.epoch == 4


@pytest.mark.parametrize("returns", [[1.0], [1.0, NAN], [NAN, NAN, NAN]])
def test_if_nothing_was_judged_there_is_no_best(tmp_path, returns):
    with pytest.raises(NoSnapshotError, match=r"has been judged: .* Use from_epoch='last'"):
        with_returns(tmp_path, returns).read("best")


def test_rows_before_the_damage_still_judge(tmp_path):
    store = with_returns(tmp_path, [0.0, 2.0, 1.0, 9.0])
    data = (tmp_path / "metrics.jsonl").read_bytes()
    for bad in (b"no JSON\n", b"[]\n", b'{"\xff": 1}\n'):
        (tmp_path / "metrics.jsonl").write_bytes(data[: data.rindex(b'{"epoch":3')] + bad)
        assert store.read("best").manifest.epoch == 0
    (tmp_path / "metrics.jsonl").write_bytes(b'{"epoch": "1", "Evaluation/AverageReturn": 1}\n' + data)
    assert store.read("best").manifest.epoch == 2


def test_a_missing_directory(tmp_path):
    store = SnapshotStore(tmp_path / "none")
    with pytest.raises(NoSnapshotError, match=r"Cannot read a snapshot from .*none: there is no such directory"):
        store.read()
    assert store.epochs() == []
    assert store.verify() == [
        f"There is no run in {tmp_path / 'none'}: it has no run.json. `garage ls` lists the runs below a directory."
    ]
    assert not (tmp_path / "none").exists()


def test_a_file_is_no_directory(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NoSnapshotError, match="there is no such directory"):
        SnapshotStore(tmp_path / "file").read()
    with pytest.raises(NoSnapshotError, match="There is no run in"):
        RunDirectory(tmp_path / "file").info()


def test_an_empty_directory(tmp_path):
    with pytest.raises(NoSnapshotError, match=r"There is no snapshot in .*Was it stopped before its first epoch ended"):
        SnapshotStore(tmp_path).read()


def test_a_half_copied_directory_never_gives_wrong_data(tmp_path):
    path = written(tmp_path / "run", range(3))
    files = [file.relative_to(path) for file in sorted(path.rglob("*")) if file.is_file()]
    generator = np.random.default_rng(3)
    outcomes = set()
    for n in range(60):
        copy = tmp_path / f"copy-{n}"
        for file in files:
            if generator.random() < 0.8:
                (copy / file).parent.mkdir(parents=True, exist_ok=True)
                data = (path / file).read_bytes()
                (copy / file).write_bytes(data if generator.random() < 0.9 else data[: len(data) // 2])
        copy.mkdir(exist_ok=True)
        try:
            epoch = SnapshotStore(copy).read().manifest.epoch
        except (DamagedError, NoSnapshotError):
            outcomes.add(None)
        else:
            assert_holds(copy, epoch)
            outcomes.add(epoch)
        shutil.rmtree(copy)
    assert outcomes == {None, 0, 1, 2}


def test_another_format_version_does_not_fall_back_in_silence(run):
    manifest = RunDirectory(run).manifest_path(2)
    manifest.write_bytes(checksummed({"format": 2}))
    store = SnapshotStore(run)
    for call in (store.read, store.epochs, lambda: store.read(1), lambda: store.read("first")):
        with pytest.raises(FormatVersionError, match=r"000002\.json has format version 2; this garage reads version 1"):
            call()
    (line,) = store.verify()
    assert "format version 2" in line


def test_reading_changes_nothing(run):
    flip(RunDirectory(run).manifest_path(2))
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(b'{"epoch": 3, "torn')
    with (run / "events.jsonl").open("ab") as file:
        file.write(b'{"torn')
    (run / "snapshots" / ".unfinished-1-ab").touch()
    before = files_of(run)
    folders = {folder: folder.stat().st_mtime_ns for folder in (run, *run.rglob("*")) if folder.is_dir()}
    store = SnapshotStore(run)
    store.read()
    store.epochs()
    store.verify()
    store.read_episodes(store.read().manifest)
    list(store.directory.events())
    with pytest.raises(StorageError):
        store.read(2)
    assert files_of(run) == before
    assert {folder: folder.stat().st_mtime_ns for folder in (run, *run.rglob("*")) if folder.is_dir()} == folders


def test_what_is_read_is_the_readers_own(run):
    state = SnapshotStore(run).read().state
    state["algo"]["policy"]["theta"][:] = 0
    state["algo"]["nothing"]["x"] = 1
    assert_holds(run, 2)


# Stored episodes


@pytest.fixture
def with_episodes(tmp_path):
    writer = opened(tmp_path)
    writer.commit(capture_of(0, state={"episodes": {"rewards": np.arange(30_000.0), "lengths": np.array([3])}}))
    writer.close()
    return tmp_path


def test_episodes_are_read_when_asked_for(with_episodes):
    store = SnapshotStore(with_episodes)
    snapshot = store.read()
    assert "episodes" not in snapshot.state
    episodes = store.read_episodes(snapshot.manifest)
    np.testing.assert_array_equal(episodes["rewards"], np.arange(30_000.0))
    assert sorted(episodes) == ["lengths", "rewards"]


def test_damaged_episodes_do_not_keep_the_state_from_being_read(with_episodes):
    store = SnapshotStore(with_episodes)
    manifest = store.read().manifest
    (leaf,) = (leaf for leaf in manifest.leaves if leaf.path == "episodes/rewards")
    chunk = manifest.chunks[leaf.pieces[0].chunk]
    flip(RunDirectory(with_episodes).pack_path(chunk.pack), chunk.offset + 5)
    assert store.read().problems == ()
    with pytest.raises(DamagedError, match="Cannot read `episodes/rewards`"):
        store.read_episodes(manifest)
    (line,) = store.verify()
    assert line.startswith("epoch 0: Cannot read `episodes/rewards`: the chunk")


def test_a_snapshot_without_episodes(run):
    store = SnapshotStore(run)
    assert store.read_episodes(store.read().manifest) is None


# Verify


def test_verify_lists_every_damaged_leaf_of_every_epoch(run):
    for epoch in (1, 2):
        flip(pack_of(run, epoch), 70)
    lines = SnapshotStore(run).verify()
    manifests = {manifest.epoch: manifest for manifest in SnapshotStore(run).manifests()[0]}
    expected = {
        (epoch, leaf.path)
        for epoch, manifest in manifests.items()
        for leaf in (*manifest.leaves, *manifest.opaque)
        if any(manifest.chunks[piece.chunk].offset == 64 for piece in leaf.pieces)
        and manifest.chunks[leaf.pieces[0].chunk].pack == pack_of(run, epoch).parent.name + pack_of(run, epoch).name
    }
    assert {(int(line.split()[1].rstrip(":")), line.split("`")[1]) for line in lines} == expected
    assert {path for _, path in expected} >= {"algo/policy/theta", "counters/epoch", "part"}


def test_verify_names_everything_else_that_is_damaged(run):
    flip(run / "recipe")
    flip(run / "run.json", 0)
    flip(run / "events.jsonl", 0)
    flip(run / "metrics.jsonl", 0)
    flip(RunDirectory(run).manifest_path(1))
    lines = SnapshotStore(run).verify()
    for words in [
        "000001.json is damaged",
        "epoch 2: the recipe ",
        "run.json is damaged",
        "events.jsonl is damaged in line 1",
        "metrics.jsonl is damaged in line 1",
        "metrics.jsonl differs from the rows it was saved with",
    ]:
        assert [words in line for line in lines].count(True) == 1, words
    assert len(lines) == 6


@pytest.mark.parametrize("name", ["metrics.jsonl", "events.jsonl", "run.json", "recipe"])
def test_files_that_the_system_refuses_to_read(run, name):
    (run / name).unlink()
    (run / name).mkdir()
    lines = SnapshotStore(run).verify()
    if name == "events.jsonl":  # it says what was abandoned, so nothing can be read without it
        assert lines == [f"Cannot read {run / name}: Is a directory."]
        with pytest.raises(DamagedError, match="Is a directory"):
            SnapshotStore(run).read()
    elif name == "recipe":
        assert len(lines) == 2
        assert "the recipe" in lines[0]
        with pytest.raises(DamagedError, match="the recipe"):
            SnapshotStore(run).read()
    else:
        assert f"Cannot read {run / name}: Is a directory." in lines
        assert_holds(run, 2)


def test_every_flipped_bit_of_run_json_is_an_error_of_ours_or_a_readable_run(run):
    data = (run / "run.json").read_bytes()
    for position in range(len(data)):
        flip(run / "run.json", position, 1 << (position % 8))
        try:
            RunDirectory(run).info()
        except (DamagedError, FormatVersionError) as error:
            assert "run.json" in str(error)  # noqa: PT017 - some flips are not damage, so raises() does not fit
        (run / "run.json").write_bytes(data)
    assert RunDirectory(run).info() == INFO


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"\xff", b'{"format": "1"}', b'{"format": 1}', b'{"id": "\xff"}']
)
def test_a_damaged_run_json(run, content):
    (run / "run.json").write_bytes(content)
    with pytest.raises(DamagedError, match=r"run\.json is damaged: "):
        RunDirectory(run).info()
    assert any("run.json is damaged" in line for line in SnapshotStore(run).verify())


def test_metrics_that_are_missing_or_too_short(run):
    data = (run / "metrics.jsonl").read_bytes()
    (run / "metrics.jsonl").write_bytes(data[: data.rindex(b"{")])
    (line,) = SnapshotStore(run).verify()
    assert line == f"epoch 2: {run / 'metrics.jsonl'} differs from the rows it was saved with"
    (run / "metrics.jsonl").unlink()
    assert [line[:7] for line in SnapshotStore(run).verify()] == ["epoch 1", "epoch 2"]


def test_a_damaged_row_that_no_snapshot_vouches_for(tmp_path):
    path = written(tmp_path / "run", range(3), "none")
    flip(path / "metrics.jsonl", 0)
    (line,) = SnapshotStore(path).verify()
    assert "metrics.jsonl is damaged in line 1" in line


def test_a_last_line_without_newline_is_no_line(tmp_path):
    path = tmp_path / "log"
    assert list(whole_lines(path)) == []
    path.write_bytes(b'{"a": 1}\n{"b": 2}\n{"c"')
    assert list(whole_lines(path)) == [{"a": 1}, {"b": 2}]
    path.write_bytes(b'{"a": 1}')
    assert list(whole_lines(path)) == []
    path.write_bytes(b'{"a": 1}\n3\n')
    with pytest.raises(DamagedError, match=r"log is damaged in line 2: expected a JSON object, got int\."):
        list(whole_lines(path))


def test_packs_are_shared_and_a_shared_one_that_is_damaged_is_said_for_both(run):
    names = pack_names(RunDirectory(run))
    document = json.loads(RunDirectory(run).manifest_path(1).read_bytes())
    (steady,) = (leaf for leaf in document["leaves"] if leaf["path"] == "algo/steady")
    chunk = document["chunks"][steady["pieces"][0][0]]
    flip(names[chunk["pack"]], chunk["offset"])
    lines = SnapshotStore(run).verify()
    assert [line.partition(": the")[0] for line in lines] == [f"epoch {n}: Cannot read `algo/steady`" for n in (1, 2)]


def test_values_can_be_read_without_the_recipe(run):
    (run / "recipe").unlink()
    store = SnapshotStore(run)
    with pytest.raises(DamagedError, match="recipe"):
        store.read()
    snapshot = store.read(with_recipe=False)
    assert snapshot.recipe is None
    assert snapshot.problems == ()
    assert snapshot.state["algo"]


# Parts


@pytest.fixture
def with_group(tmp_path):
    """A run whose policy is a small part of it; its newest snapshot has a large leaf and a tracked group besides."""
    group = TrackedGroup(8000, {"x": ((20,), np.float64)})
    group.write(0, {"x": np.random.default_rng(1).standard_normal((5000, 20))})
    with contextlib.closing(opened(tmp_path / "run", "all")) as writer:
        for epoch in range(2):
            capture = capture_of(epoch, opaque={"env": b"opaque", "algo/part": b"opaque"})
            large = np.random.default_rng(2).standard_normal(300_000)
            capture.state["algo"] |= {"replay": group.captured(), "large": large}
            writer.commit(capture)
    return tmp_path / "run", group


@pytest.mark.parametrize(
    ("only", "paths"),
    [
        (["algo/policy"], ["algo/policy/layers", "algo/policy/theta"]),
        (["algo/policy/theta", "counters/epoch"], ["algo/policy/theta", "counters/epoch"]),
        (["algo/large"], ["algo/large"]),
        (["algo/replay", "algo/poli"], ["algo/replay"]),
        (["no/such"], []),
    ],
)
def test_a_part_is_read_alone(with_group, monkeypatch, only, paths):
    path, group = with_group
    reads = CountedReads(monkeypatch)
    snapshot = SnapshotStore(path).read(only=only)
    found = state_trees.flatten(snapshot.state)
    assert sorted(found) == paths
    assert reads.n_bytes == stored_bytes(snapshot.manifest, *paths)
    whole = SnapshotStore(path).read().state
    expected = {name: leaf for name, leaf in state_trees.flatten(whole).items() if name in paths}
    assert state_trees.differences(state_trees.rebuild(expected), snapshot.state) == []
    if "algo/replay" in paths:
        np.testing.assert_array_equal(found["algo/replay"]["x"], group["x"])
    assert snapshot.opaque == {}


def test_opaque_parts_at_below_and_around_what_is_asked_for(with_group):
    path, _ = with_group
    asked = {
        wanted: set(SnapshotStore(path).read(only=[wanted]).opaque) for wanted in ("algo", "env/x", "envs", "algo/p")
    }
    assert asked == {"algo": {"algo/part"}, "env/x": {"env"}, "envs": set(), "algo/p": set()}


def test_damage_elsewhere_does_not_keep_a_part_from_being_read(with_group):
    path, _ = with_group
    manifest = SnapshotStore(path).read().manifest
    for place in ("leaf", "group"):
        (index,) = (
            [leaf.pieces[1].chunk for leaf in manifest.leaves if leaf.path == "algo/large"]
            if place == "leaf"
            else [group.blocks[2] for group in manifest.groups]
        )
        chunk = manifest.chunks[index]
        flip(RunDirectory(path).pack_path(chunk.pack), chunk.offset)
    with pytest.raises(DamagedError):
        SnapshotStore(path).read()
    snapshot = SnapshotStore(path).read(only=["algo/policy"])
    assert snapshot.problems == ()
    assert state_trees.differences({"algo": {"policy": state_of(1)["algo"]["policy"]}}, snapshot.state) == []
    with pytest.raises(DamagedError, match="Cannot read `algo/replay`: rows 2048 to 3071"):
        SnapshotStore(path).read(only=["algo/replay"])


# Many snapshots


def opened_files(monkeypatch, action):
    """How many files are opened to be read, packs apart, and how many packs."""
    others, open_file = [], files.open_file

    def counted(path):
        others.append(path)
        return open_file(path)

    with monkeypatch.context() as patch:
        packs_read = CountedReads(patch)
        patch.setattr(files, "open_file", counted)
        action()
    return len(others), packs_read.n_opened


def test_what_many_snapshots_cost_grows_with_their_manifests_alone(tmp_path, monkeypatch):
    path, counts = tmp_path / "run", {}
    with contextlib.closing(opened(path, "all")) as writer:
        for n in (10, 20, 30):
            for epoch in range(n - 10, n):
                writer.commit(capture_of(epoch))
            actions = {
                "list": SnapshotStore(path).epochs,
                "restore": SnapshotStore(path).read,
                "prune": lambda: prune(RunDirectory(path), Keep.of(["last", "gap:7"]), dry_run=True),
            }
            counts[n] = {name: opened_files(monkeypatch, action) for name, action in actions.items()}
    for name, most_per_snapshot in {"list": 1, "restore": 1, "prune": 3}.items():
        (few, few_packs), (more, more_packs), (most, most_packs) = (counts[n][name] for n in (10, 20, 30))
        assert most - more == more - few <= 10 * most_per_snapshot, name
        # The packs of one snapshot at most: its own one, and that of what has not changed since the first.
        assert few_packs == more_packs == most_packs <= 12, name
    assert counts[30]["list"][1] == 0
