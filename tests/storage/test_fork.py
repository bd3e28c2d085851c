"""A fork is a whole run that shares packs with its parent, appears at once, and needs its parent for nothing."""

import contextlib
import errno
import json
import shutil

import msgspec
import pytest
from filelock import FileLock

from garage.core import state as state_trees
from garage.errors import ArgumentError, DamagedError, NoSnapshotError, WriteError
from garage.storage import manifest as manifests
from garage.storage.fork import fork
from garage.storage.linking import Beginning
from garage.storage.packs import pack_names
from garage.storage.prune import Keep, prune
from garage.storage.run_directory import RunDirectory
from garage.storage.signing import Signer, SigningKey, signer_of
from garage.storage.store import SnapshotStore
from garage.storage.writer import parent_of
from storage.faulty_disk import PRIMITIVES, FaultyDisk, QuickDisk, refusal
from storage.sample_runs import (
    INFO,
    RECIPE,
    assert_holds,
    capture_of,
    events_named,
    files_of,
    flip,
    newest,
    opened,
    row_epochs,
    state_of,
    written,
)

KEY = SigningKey(b"k" * 32)
WITH_ARGUMENTS = msgspec.structs.replace(INFO, target="module:run", arguments={"seed": 1, "rate": 0.5})


class WithoutLinks(QuickDisk):
    def link(self, path, target):
        raise OSError(errno.EXDEV, "another device")


class FaultyWithLinks(FaultyDisk):
    """Counts links and the removal of folders too."""

    def link(self, path, target):
        self._primitive("link", path, target)

    def remove_empty(self, path):
        self._primitive("remove_empty", path)


ALL_PRIMITIVES = (*PRIMITIVES, "link", "remove_empty")


def forks_left(folder):
    return list(folder.glob(".unfinished-fork-*"))


def inodes(path):
    return {name: (file.stat().st_ino, file.stat().st_nlink) for name, file in pack_names(RunDirectory(path)).items()}


def forked(path, which, target, **options):
    return fork(path, which, target, **({"disk": QuickDisk()} | options))


@pytest.fixture
def parent(tmp_path):
    """Of four epochs."""
    return written(tmp_path / "parent", range(4), info=WITH_ARGUMENTS)


def test_it_is_a_run_of_its_own(parent, tmp_path):
    before = files_of(parent)
    made = forked(parent, 1, tmp_path / "child")
    assert {path: data for path, (data, _) in files_of(parent).items()} == {
        path: data for path, (data, _) in before.items()
    }
    child = RunDirectory(tmp_path / "child")
    manifest = SnapshotStore(parent).read(1).manifest
    info = child.info()
    assert info == made.info
    assert info.id != INFO.id
    assert (info.name, info.target, info.arguments, info.seed) == ("child", "module:run", {"seed": 1, "rate": 0.5}, 1)
    assert info.parent == parent_of(manifest, parent)
    (mine,) = SnapshotStore(child.path).manifests()[0]
    assert mine == msgspec.structs.replace(
        manifest, run=info.id, name="child", parent=info.parent, checksum=mine.checksum
    )
    assert row_epochs(child.path) == [0, 1]
    (event,) = events_named(child.path, "fork")
    assert (event["epoch"], event["parent"]["run"], event["arguments"]) == (1, INFO.id, {})
    assert SnapshotStore(child.path).verify() == []
    assert_holds(child.path, 1)


def test_packs_and_recipe_are_linked(parent, tmp_path):
    made = forked(parent, 1, tmp_path / "child")
    theirs, ours = inodes(parent), inodes(tmp_path / "child")
    assert ours == {name: theirs[name] for name in ours}
    assert made.n_packs == len(ours) == 2
    assert made.n_copied == 0
    assert {n_links for _, n_links in ours.values()} == {2}
    assert (parent / "recipe").samefile(tmp_path / "child" / "recipe")


def test_packs_are_copied_where_links_are_impossible(parent, tmp_path):
    made = forked(parent, 1, tmp_path / "child", disk=WithoutLinks())
    assert made.n_copied == made.n_packs == 2
    assert {n_links for _, n_links in inodes(tmp_path / "child").values()} == {1}
    assert SnapshotStore(tmp_path / "child").verify() == []
    assert_holds(tmp_path / "child", 1)


@pytest.mark.parametrize(("which", "epoch"), [("last", 3), ("first", 0), ("best", 2), (2, 2)])
def test_of_which_snapshot(parent, tmp_path, which, epoch):
    assert forked(parent, which, tmp_path / "child").manifest.epoch == epoch


def test_either_side_goes_on_and_the_other_stays(parent, tmp_path):
    child = tmp_path / "child"
    forked(parent, 1, child)
    info = RunDirectory(child).info()
    with contextlib.closing(opened(child, "last", info=info, last_epoch=1)) as writer:
        for epoch in (2, 3, 4):
            writer.commit(capture_of(epoch, variant=1))
    assert SnapshotStore(child).epochs() == [3, 4]
    for epoch in range(4):
        assert_holds(parent, epoch)
    with contextlib.closing(opened(parent, "last", info=WITH_ARGUMENTS, last_epoch=3)) as writer:
        writer.commit(capture_of(4))
    assert SnapshotStore(parent).epochs() == [3, 4]
    for epoch in (3, 4):
        assert_holds(child, epoch, variant=1)
        assert_holds(parent, epoch)
    assert SnapshotStore(parent).verify() == SnapshotStore(child).verify() == []


@pytest.mark.parametrize("gone", ["parent", "child"])
@pytest.mark.parametrize("way", ["moved", "pruned", "deleted"])
def test_either_side_can_be_moved_pruned_and_deleted(parent, tmp_path, gone, way):
    forked(parent, 1, tmp_path / "child")
    path, other = tmp_path / gone, tmp_path / ("parent" if gone == "child" else "child")
    if way == "moved":
        path.rename(tmp_path / "elsewhere")
        path = tmp_path / "elsewhere"
    elif way == "pruned":
        prune(RunDirectory(path), Keep.of(["last"]), disk=QuickDisk())
    else:
        shutil.rmtree(path)
    assert SnapshotStore(other).verify() == []
    assert_holds(other, 1)
    if way != "deleted":
        assert SnapshotStore(path).verify() == []


def test_arguments_and_seed_change(parent, tmp_path):
    """The state has the new seed, so that whoever goes on with it draws by it."""
    with contextlib.closing(opened(parent, "all", info=WITH_ARGUMENTS, last_epoch=3)) as writer:
        writer.commit(capture_of(4, state={"counters": {"epoch": 4, "seed": 1}}))
    made = forked(parent, 4, tmp_path / "child", arguments={"seed": 7, "rate": 0.25})
    assert made.info.arguments == {"seed": 7, "rate": 0.25}
    assert made.info.seed == 7
    child = SnapshotStore(tmp_path / "child")
    snapshot = child.read()
    theirs = SnapshotStore(parent).read()
    assert state_trees.differences(theirs.state, snapshot.state) == ["`counters/seed` has other values"]
    assert snapshot.state["counters"]["seed"] == 7
    assert snapshot.manifest.digest != theirs.manifest.digest == made.info.parent.digest
    codes = [(leaf.path, leaf.dtype, leaf.shape, leaf.hash) for leaf in snapshot.manifest.leaves]
    assert snapshot.manifest.digest == state_trees.digest(code for code in codes if not code[0].startswith("process/"))
    assert child.verify() == []
    assert events_named(tmp_path / "child", "fork")[0]["arguments"] == {"seed": 7, "rate": 0.25}


def test_a_seed_that_is_not_the_runs_is_an_argument_like_others(tmp_path):
    info = msgspec.structs.replace(INFO, arguments={"seed": 5})
    path = written(tmp_path / "parent", range(2), info=info)
    made = forked(path, 1, tmp_path / "child", arguments={"seed": 7})
    assert (made.info.arguments, made.info.seed) == ({"seed": 7}, 1)
    assert made.manifest.digest == SnapshotStore(path).read(1).manifest.digest


@pytest.mark.parametrize("seed", [-1, 1.5, True, "7"])
def test_what_is_no_seed_is_refused(parent, tmp_path, seed):
    with pytest.raises(ArgumentError, match="A seed must be an integer of at least 0"):
        forked(parent, 1, tmp_path / "child", arguments={"seed": seed})
    assert not (tmp_path / "child").exists()


@pytest.mark.parametrize("make", ["file", "folder", "link", "run"])
def test_what_is_there_is_refused(parent, tmp_path, make):
    target = tmp_path / "child"
    if make == "file":
        target.touch()
    elif make == "folder":
        target.mkdir()
    elif make == "link":
        target.symlink_to(tmp_path / "nowhere")
    else:
        written(target, range(2))
    with pytest.raises(ArgumentError, match=r"Cannot fork into .*child: it exists already\. Give a new name"):
        forked(parent, 1, target)


def test_what_appears_meanwhile_is_not_replaced(parent, tmp_path):
    class Meddling(QuickDisk):
        def link(self, path, target):
            (tmp_path / "child").mkdir(exist_ok=True)
            super().link(path, target)

    with pytest.raises(ArgumentError, match="it exists already"):
        forked(parent, 1, tmp_path / "child", disk=Meddling())
    assert list((tmp_path / "child").iterdir()) == []
    assert forks_left(tmp_path) == []


def test_not_into_its_parent(parent):
    for target in (parent / "child", parent / "snapshots" / "child"):
        with pytest.raises(ArgumentError, match="which lies within it"):
            forked(parent, 1, target)
        assert not target.exists()


def test_what_cannot_be_forked_is_refused(parent, tmp_path):
    for path, which, error, message in (
        (tmp_path / "nowhere", "last", NoSnapshotError, "There is no run in"),
        (parent, 9, NoSnapshotError, "There is no snapshot of epoch 9 in"),
    ):
        with pytest.raises(error, match=message):
            forked(path, which, tmp_path / "child")
    flip(parent / "recipe")
    with pytest.raises(DamagedError, match="the recipe"):
        forked(parent, 1, tmp_path / "child")
    assert not (tmp_path / "child").exists()
    assert forks_left(tmp_path) == []


def test_a_damaged_newest_one_is_passed_over_and_it_says_so(parent, tmp_path):
    flip(parent / "snapshots" / "000003.json")
    made = forked(parent, "last", tmp_path / "child")
    assert made.manifest.epoch == 2
    assert "000003.json is damaged" in made.problems[0]


def test_a_snapshot_that_goes_away_meanwhile(parent, tmp_path):
    class Superseding(QuickDisk):
        def link(self, path, target):
            for pack in pack_names(RunDirectory(parent)).values():
                pack.unlink()
            super().link(path, target)

    with pytest.raises(NoSnapshotError, match=r"Epoch 3 of .* went away while it was being linked.*fork it again"):
        forked(parent, "last", tmp_path / "child", disk=Superseding())
    assert not (tmp_path / "child").exists()


def test_a_later_recipe(parent, tmp_path):
    with contextlib.closing(
        opened(parent, "all", info=WITH_ARGUMENTS, last_epoch=3, recipe=b"another recipe")
    ) as writer:
        writer.commit(capture_of(4))
    forked(parent, 4, tmp_path / "child")
    assert (tmp_path / "child" / "recipe").read_bytes() == b"another recipe"
    assert SnapshotStore(tmp_path / "child").verify() == []
    forked(parent, 3, tmp_path / "other")
    assert (tmp_path / "other" / "recipe").read_bytes() == RECIPE


def test_the_launch_archive_is_copied(parent, tmp_path):
    """The next launch there may write into the old one."""
    (parent / "launch_archive.tar.xz").write_bytes(b"archive")
    forked(parent, 1, tmp_path / "child")
    assert (tmp_path / "child" / "launch_archive.tar.xz").read_bytes() == b"archive"
    assert not (parent / "launch_archive.tar.xz").samefile(tmp_path / "child" / "launch_archive.tar.xz")


def test_damaged_metrics_are_mended_by_the_next_writer(parent, tmp_path):
    lines = (parent / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (parent / "metrics.jsonl").write_bytes(b"".join([lines[0], b"#" * len(lines[1].rstrip()) + b"\n", *lines[2:]]))
    assert forked(parent, 0, tmp_path / "before").rows_problem is None
    problem = forked(parent, 1, tmp_path / "child").rows_problem
    assert f"{parent}/metrics.jsonl is not as written: its rows up to epoch 1" in problem
    with contextlib.closing(
        opened(tmp_path / "child", info=RunDirectory(tmp_path / "child").info(), last_epoch=1)
    ) as writer:
        assert len(writer.problems) == 1
        writer.commit(capture_of(2))
    assert row_epochs(tmp_path / "child") == [0, 2]


@pytest.mark.parametrize(("key", "signer"), [(KEY, Signer.THIS_KEY), (SigningKey(b"o" * 32), Signer.NOBODY)])
def test_it_is_signed_if_its_parent_was(tmp_path, key, signer):
    path = written(tmp_path / "parent", range(2), key=KEY)
    forked(path, 1, tmp_path / "child", key=key)
    manifest_path = RunDirectory(tmp_path / "child").manifest_path(1)
    assert signer_of(manifests.read(manifest_path), manifest_path, key) is signer


# What is left by one that was killed


def staged_fork(folder, name="child"):
    left = folder / f".unfinished-fork-{name}"
    (left / "packs" / "ab").mkdir(parents=True)
    (left / "packs" / "ab" / "cd").touch()
    (left / "run.json").write_text("{}")
    return left


def test_the_next_fork_there_removes_it(parent, tmp_path):
    staged_fork(tmp_path)
    staged_fork(tmp_path, "another")
    forked(parent, 1, tmp_path / "child")
    assert forks_left(tmp_path) == []
    assert SnapshotStore(tmp_path / "child").verify() == []


def test_the_next_writer_there_removes_it(parent, tmp_path):
    staged_fork(tmp_path)
    opened(parent, "all", info=WITH_ARGUMENTS, last_epoch=3).close()
    assert forks_left(tmp_path) == []


def test_a_fork_that_is_being_made_is_left_alone(parent, tmp_path):
    left = staged_fork(tmp_path)
    with FileLock(tmp_path / ".unfinished-guard-of-forks"):
        opened(parent, "all", info=WITH_ARGUMENTS, last_epoch=3).close()
        assert left.exists()


def test_a_writer_goes_on_where_it_cannot_be_removed(parent, tmp_path):
    staged_fork(tmp_path)

    class Refusing(QuickDisk):
        def remove_empty(self, path):
            raise PermissionError(errno.EACCES, "Permission denied")

    with contextlib.closing(opened(parent, "all", info=WITH_ARGUMENTS, last_epoch=3, disk=Refusing())) as writer:
        assert len(writer.problems) == 1
        assert "A fork that was killed has left files in" in writer.problems[0]
        writer.commit(capture_of(4))


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_the_nth_operation_fails(parent, tmp_path, code, torn):
    def attempt(folder, n):
        folder.mkdir()
        staged_fork(folder, "another")
        disk = FaultyWithLinks(n, error=refusal(code), torn=torn, only=ALL_PRIMITIVES)
        with contextlib.suppress(WriteError):
            fork(parent, 1, folder / "child", arguments={"seed": 7}, disk=disk)
        return disk.done

    done = attempt(tmp_path / "counted", None)
    assert set(done) >= set(ALL_PRIMITIVES) - {"cut"}
    before = files_of(parent)
    for n in range(1, len(done) + 1):
        folder = tmp_path / str(n)
        attempt(folder, n)
        assert files_of(parent).keys() == before.keys()
        if (folder / "child").exists():
            assert SnapshotStore(folder / "child").verify() == [], n
        forked(parent, 1, folder / "second", arguments={"seed": 7})
        assert forks_left(folder) == []
        assert SnapshotStore(folder / "second").verify() == []


# A run that a trainer forks


def test_a_writer_begins_with_the_snapshot_of_another_run(parent, tmp_path):
    manifest = SnapshotStore(parent).read(1).manifest
    info = msgspec.structs.replace(INFO, id="f" * 16, parent=parent_of(manifest, parent))
    path = tmp_path / "child"
    with contextlib.closing(opened(path, info=info, begins_with=Beginning(parent, manifest))) as writer:
        assert newest(path) == 1
        assert_holds(path, 1)
        assert inodes(path) == {name: inodes(parent)[name] for name in manifest.packs()}
        mine = SnapshotStore(path).read().manifest
        assert (mine.run, mine.digest, mine.parent) == ("f" * 16, manifest.digest, info.parent)
        writer.commit(capture_of(2))
        assert mine.packs() & SnapshotStore(path).read(2).manifest.packs()  # what did not change is not written again
        writer.commit(capture_of(3))
    assert SnapshotStore(path).epochs() == [2, 3]
    assert SnapshotStore(path).verify() == []
    assert row_epochs(path) == [0, 1, 2, 3]


def test_with_what_another_seed_has_changed(parent, tmp_path):
    manifest = SnapshotStore(parent).read(1).manifest
    changes = {"counters/seed": 7, "process": {"another": 1}}
    opened(tmp_path / "child", begins_with=Beginning(parent, manifest, changes)).close()
    expected = state_of(1)
    expected["counters"]["seed"] = 7
    expected["process"] = {"another": 1}
    assert state_trees.differences(expected, SnapshotStore(tmp_path / "child").read().state) == []
    assert SnapshotStore(tmp_path / "child").verify() == []


def test_where_the_other_run_is_gone(parent, tmp_path):
    manifest = SnapshotStore(parent).read(1).manifest
    shutil.rmtree(parent)
    with contextlib.closing(opened(tmp_path / "child", begins_with=Beginning(parent, manifest))) as writer:
        rows, snapshot = writer.problems
        assert "metrics.jsonl is not as written" in rows
        assert "is no longer in" in snapshot
        assert newest(tmp_path / "child") is None
        writer.commit(capture_of(2))
    assert SnapshotStore(tmp_path / "child").verify() == []


def test_not_in_a_mode_that_keeps_none(parent, tmp_path):
    manifest = SnapshotStore(parent).read(1).manifest
    opened(tmp_path / "child", "none", begins_with=Beginning(parent, manifest)).close()
    assert newest(tmp_path / "child") is None
    assert row_epochs(tmp_path / "child") == [0, 1]


def test_its_files_are_strict_json(parent, tmp_path):
    forked(parent, 1, tmp_path / "child")
    for name in ("run.json", "snapshots/000001.json"):
        json.loads((tmp_path / "child" / name).read_text(), parse_constant=pytest.fail)
