"""Pruning forgets what is not kept, gives its room back, and touches nothing else."""

import contextlib
import errno
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from garage.core import state as state_trees
from garage.errors import ArgumentError, DamagedError, InUseError, NoSnapshotError, WriteError
from garage.storage import manifest as manifests
from garage.storage.disk import Disk
from garage.storage.lock import WriterLock
from garage.storage.packs import pack_names
from garage.storage.prune import Keep, prune
from garage.storage.run_directory import RunDirectory
from garage.storage.signing import Signer, SigningKey, signer_of
from garage.storage.store import SnapshotStore
from garage.storage.writer import rewind
from storage.faulty_disk import FaultyDisk, QuickDisk, refusal
from storage.sample_runs import (
    RECIPE,
    assert_holds,
    capture_of,
    events_named,
    files_of,
    flip,
    opened,
    row_epochs,
    state_of,
    unfinished,
    written,
)

KEY, OTHER_KEY = SigningKey(b"k" * 32), SigningKey(b"o" * 32)


def sparse_run(path, epochs=range(6), **options):
    """A run whose packs hold little that lives once the epochs around them are forgotten: each epoch writes a large
    array, and every second one a small array that the next one keeps.
    """
    with contextlib.closing(opened(path, "all", **options)) as writer:
        for epoch in epochs:
            writer.commit(capture_of(epoch, state={"env": arrays_of(epoch)}))
    return path


def arrays_of(epoch):
    return {
        "large": np.random.default_rng(epoch).integers(0, 256, 400_000, np.uint8),
        "small": np.random.default_rng(epoch // 2).integers(0, 256, 70_000, np.uint8),
    }


def assert_sparse_holds(path, epoch):
    """The snapshot of that epoch is the one that was committed."""
    snapshot = SnapshotStore(path).read(epoch)
    assert state_trees.differences(state_of(epoch) | {"env": arrays_of(epoch)}, snapshot.state) == []
    assert snapshot.opaque == {"part": b"opaque %d" % epoch}
    assert snapshot.recipe == RECIPE


def digests(path):
    return {manifest.epoch: manifest.digest for manifest in SnapshotStore(path).manifests()[0]}


def pruned(path, *words, **options):
    return prune(RunDirectory(path), Keep.of(words), disk=QuickDisk(), **options)


def size_of(path):
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def named_packs(path):
    return {pack for manifest in SnapshotStore(path).manifests()[0] for pack in manifest.packs()}


@pytest.mark.parametrize(
    ("words", "keep"),
    [
        (["all"], Keep(frozenset({"all"}))),
        (["last", "best", "first"], Keep(frozenset({"last", "best", "first"}))),
        (["3", "17", "gap:10"], Keep(frozenset(), frozenset({3, 17}), frozenset({10}))),
    ],
)
def test_words_for_what_is_kept(words, keep):
    assert Keep.of(words) == keep


@pytest.mark.parametrize("word", ["", "newest", "-1", "gap", "gap:", "gap:0", "gap:x", "1.5", "٣"])
def test_other_words_are_refused(word):
    with pytest.raises(ArgumentError, match="expected all, last, first, best, an epoch such as 17, or gap:10"):
        Keep.of([word])


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["all"], [0, 1, 2, 3, 4, 5, 6]),
        (["last"], [6]),
        (["first"], [0, 6]),
        (["best"], [5, 6]),
        (["2", "4"], [2, 4, 6]),
        (["gap:3"], [0, 3, 6]),
        (["gap:4", "1", "first"], [0, 1, 4, 6]),
    ],
)
def test_what_is_kept(tmp_path, words, kept):
    written(tmp_path, range(7))
    before = digests(tmp_path)
    said = pruned(tmp_path, *words)
    assert said.kept == kept
    assert said.forgotten == [epoch for epoch in range(7) if epoch not in kept]
    assert digests(tmp_path) == {epoch: before[epoch] for epoch in kept}
    for epoch in kept:
        assert_holds(tmp_path, epoch)
    assert SnapshotStore(tmp_path).verify() == []
    assert set(pack_names(RunDirectory(tmp_path))) == named_packs(tmp_path)
    assert row_epochs(tmp_path) == list(range(7))


def test_what_save_asked_for_is_kept(tmp_path):
    with contextlib.closing(opened(tmp_path, "all")) as writer:
        for epoch in range(4):
            writer.commit(capture_of(epoch), requested=epoch == 1)
    assert pruned(tmp_path, "last").kept == [1, 3]


def test_an_event_says_it(tmp_path):
    written(tmp_path, range(4))
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b'{"event": "to')
    pruned(tmp_path, "last")
    (event,) = events_named(tmp_path, "prune")
    assert (event["kept"], event["forgotten"]) == ([3], [0, 1, 2])
    assert SnapshotStore(tmp_path).verify() == []


def test_a_dry_run_says_the_same_and_changes_nothing(tmp_path):
    sparse_run(tmp_path)
    before = files_of(tmp_path)
    dry = pruned(tmp_path, "1", dry_run=True)
    assert files_of(tmp_path) == before
    assert pruned(tmp_path, "1") == dry
    assert (dry.kept, dry.forgotten, dry.packs_removed) == ([1, 5], [0, 2, 3, 4], 2)
    assert dry.packs_rewritten == 2
    assert dry.bytes_freed > 1_500_000


def test_packs_with_gaps_are_rewritten(tmp_path):
    sparse_run(tmp_path)
    n_before = size_of(tmp_path / "packs") + size_of(tmp_path / "snapshots")
    before = SnapshotStore(tmp_path).read(1)
    said = pruned(tmp_path, "1")
    after = SnapshotStore(tmp_path).read(1)
    assert after.manifest.digest == before.manifest.digest
    assert after.manifest.leaves == before.manifest.leaves
    assert after.manifest.chunks != before.manifest.chunks
    assert {chunk.hash for chunk in after.manifest.chunks} == {chunk.hash for chunk in before.manifest.chunks}
    assert SnapshotStore(tmp_path).verify() == []
    assert set(pack_names(RunDirectory(tmp_path))) == named_packs(tmp_path)
    n_after = size_of(tmp_path / "packs") + size_of(tmp_path / "snapshots")
    assert abs(n_before - n_after - said.bytes_freed) < 100  # digits of offsets in the manifests
    assert pruned(tmp_path, "1").bytes_freed == 0


def test_a_run_goes_on_after_it(tmp_path):
    sparse_run(tmp_path)
    pruned(tmp_path, "1")
    with contextlib.closing(opened(tmp_path, "all", last_epoch=5)) as writer:
        for epoch in (6, 7):
            writer.commit(capture_of(epoch))
    assert SnapshotStore(tmp_path).verify() == []
    assert list(digests(tmp_path)) == [1, 5, 6, 7]


def test_packs_that_another_run_shares_are_not_rewritten_and_free_nothing(tmp_path):
    """Their bytes would be there twice."""
    path = sparse_run(tmp_path / "run")
    shutil.copytree(path, tmp_path / "linked", copy_function=lambda a, b: Disk().share(*map(type(path), (a, b))))
    said = pruned(path, "1")
    assert said.packs_rewritten == 0
    assert said.packs_removed == 2
    assert said.bytes_freed == 0
    for run in (path, tmp_path / "linked"):
        assert SnapshotStore(run).verify() == []


def test_without_anything_to_forget_left_overs_go(tmp_path):
    written(tmp_path, range(3))
    stray = tmp_path / "packs" / "ab" / ("cd" * 31)
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"x" * 1000)
    (tmp_path / "snapshots" / ".unfinished-1-ab").write_bytes(b"y" * 10)
    said = pruned(tmp_path, "all")
    assert (said.forgotten, said.packs_removed, said.bytes_freed) == ([], 1, 1010)
    assert not stray.exists()
    assert unfinished(tmp_path) == []


def test_the_newest_whole_one_is_kept_and_what_is_newer(tmp_path):
    written(tmp_path, range(4))
    only_of_3 = named_packs(tmp_path) - {
        pack for manifest in SnapshotStore(tmp_path).manifests()[0][:3] for pack in manifest.packs()
    }
    for pack in only_of_3:
        flip(RunDirectory(tmp_path).pack_path(pack), 100)
    assert pruned(tmp_path, "first").kept == [0, 2, 3]
    assert_holds(tmp_path, 2)


def test_a_damaged_manifest_keeps_what_it_may_need(tmp_path):
    written(tmp_path, range(4))
    needed = manifests.read(tmp_path / "snapshots" / "000002.json").packs()
    flip(tmp_path / "snapshots" / "000002.json")
    said = pruned(tmp_path, "last")
    assert said.forgotten == [0, 1]
    assert any("000002.json is damaged" in problem for problem in said.problems)
    assert any("may need them" in problem for problem in said.problems)
    flip(tmp_path / "snapshots" / "000002.json")
    assert needed & pack_names(RunDirectory(tmp_path)).keys()
    assert_holds(tmp_path, 3)


@pytest.mark.parametrize("moved", [False, True])
def test_what_a_rewind_abandoned_stays_abandoned_and_whole(tmp_path, moved):
    sparse_run(tmp_path)
    rewind(RunDirectory(tmp_path), 3)
    if moved:
        opened(tmp_path, "all", last_epoch=3).close()
    folder = tmp_path / "snapshots" / ("abandoned" if moved else "")
    abandoned = [path for path in folder.glob("*.json") if int(path.name[:6]) > 3]
    assert len(abandoned) == 2
    before = {path: path.read_bytes() for path in abandoned}
    assert pruned(tmp_path, "1").kept == [1, 3]
    assert {path: path.read_bytes() for path in abandoned} == before
    assert SnapshotStore(tmp_path).epochs() == [1, 3]
    assert all(manifests.read(path).packs() <= pack_names(RunDirectory(tmp_path)).keys() for path in abandoned)


def test_damage_is_not_copied(tmp_path):
    sparse_run(tmp_path)
    manifest = SnapshotStore(tmp_path).read(1).manifest
    small = next(leaf for leaf in manifest.leaves if leaf.path == "env/small")
    chunk = manifest.chunks[small.pieces[0].chunk]
    pack = RunDirectory(tmp_path).pack_path(chunk.pack)
    flip(pack, chunk.offset + 5)
    with pytest.raises(DamagedError, match="env/small"):
        pruned(tmp_path, "1")
    said = pruned(tmp_path, "gap:4")  # epoch 0 has the same array
    assert said.kept == [0, 4, 5]
    assert pack.exists()
    assert [line for line in SnapshotStore(tmp_path).verify() if "env/small" not in line] == []


def test_signatures(tmp_path):
    path = sparse_run(tmp_path, key=KEY)
    before = files_of(path)
    dry = pruned(path, "1", key=OTHER_KEY, dry_run=True)
    assert (dry.packs_removed, dry.packs_rewritten) == (2, 0)
    assert files_of(path) == before
    assert pruned(path, "1", key=KEY).packs_rewritten == 2
    for epoch in (1, 5):
        manifest_path = RunDirectory(path).manifest_path(epoch)
        assert signer_of(manifests.read(manifest_path), manifest_path, KEY) is Signer.THIS_KEY
    assert SnapshotStore(path).verify() == []


def test_a_run_in_use_is_refused(tmp_path):
    written(tmp_path, range(3))
    with WriterLock(tmp_path / "lock", Disk()):
        before = digests(tmp_path)
        with pytest.raises(InUseError):
            pruned(tmp_path, "last")
        assert digests(tmp_path) == before
        assert pruned(tmp_path, "last", dry_run=True).forgotten == [0, 1]


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(NoSnapshotError, match="There is no run in"):
        pruned(tmp_path, "all")
    written(tmp_path, range(3))
    before = digests(tmp_path)
    with pytest.raises(NoSnapshotError, match=r"There is no snapshot of epoch 7 in .*; it has: 0, 1, 2"):
        pruned(tmp_path, "7", "last")
    assert digests(tmp_path) == before


def test_a_run_without_snapshots(tmp_path):
    opened(tmp_path, "none").close()
    assert pruned(tmp_path, "all").kept == []
    with pytest.raises(NoSnapshotError):
        pruned(tmp_path, "best")


def test_a_run_of_which_nothing_is_whole_is_left_alone(tmp_path):
    written(tmp_path, range(2))
    for pack in pack_names(RunDirectory(tmp_path)).values():
        flip(pack, 100)
    before = files_of(tmp_path)
    with pytest.raises(DamagedError, match="garage verify"):
        pruned(tmp_path, "last")
    assert {path: data for path, data in files_of(tmp_path).items() if "lock" not in path.name} == {
        path: data for path, data in before.items() if "lock" not in path.name
    }


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return sparse_run(tmp_path_factory.mktemp("template") / "run")


@settings(max_examples=12, deadline=None)
@given(
    rounds=st.lists(st.sets(st.sampled_from(range(6)), max_size=5), min_size=1, max_size=3),
)
def test_whatever_is_kept_is_kept_whole(template, tmp_path_factory, rounds):
    path = shutil.copytree(template, tmp_path_factory.mktemp("run") / "run")
    before = digests(path)
    left = set(range(6))
    for keep in rounds:
        left &= keep | {5}
        assert set(pruned(path, *map(str, left)).kept) == left
        assert SnapshotStore(path).verify() == []
        assert digests(path) == {epoch: before[epoch] for epoch in sorted(left)}
        packs = pack_names(RunDirectory(path))
        assert packs.keys() == named_packs(path)
        for name, file in packs.items():
            used = {
                chunk.offset: chunk.stored
                for manifest in SnapshotStore(path).manifests()[0]
                for chunk in manifest.chunks
                if chunk.pack == name
            }
            assert sum(used.values()) >= 0.5 * file.stat().st_size
    shutil.rmtree(path)


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_the_nth_operation_fails(tmp_path, template, code, torn):
    counted = FaultyDisk()
    prune(RunDirectory(shutil.copytree(template, tmp_path / "counted")), Keep.of(["1"]), disk=counted)
    assert {"write", "sync", "rename", "unlink", "sync_folder"} <= set(counted.done)
    for n in range(1, len(counted.done) + 1):
        path = shutil.copytree(template, tmp_path / str(n))
        with contextlib.suppress(WriteError):
            prune(RunDirectory(path), Keep.of(["1"]), disk=FaultyDisk(n, error=refusal(code), torn=torn))
        assert SnapshotStore(path).verify() == [], n
        assert {1, 5} <= digests(path).keys()
        (path / "lock").unlink(missing_ok=True)  # if its removal is what failed
        pruned(path, "1")
        assert digests(path) == {epoch: digests(template)[epoch] for epoch in (1, 5)}
        assert set(pack_names(RunDirectory(path))) == named_packs(path)
        assert unfinished(path) == []
        assert_sparse_holds(path, 1)
        shutil.rmtree(path)
