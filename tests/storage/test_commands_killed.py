"""A command that is killed at any operation on the disk costs no snapshot, and leaves nothing for long."""

import contextlib
import shutil
from pathlib import Path

import msgspec
import pytest

from garage.storage.fork import fork
from garage.storage.packs import pack_names
from garage.storage.pins import pin, read_pins
from garage.storage.prune import Keep, prune
from garage.storage.run_directory import RunDirectory, content
from garage.storage.store import SnapshotStore
from storage.children import KILLED, Parent
from storage.sample_runs import INFO, assert_holds, capture_of, opened, unfinished, written
from storage.test_fork import forks_left
from storage.test_prune import assert_sparse_holds, digests, sparse_run

MOST_OPERATIONS = 200


@pytest.fixture(scope="module")
def worker():
    parent = Parent(Path(__file__).with_name("command_worker.py"))
    yield lambda **job: parent.run(job)
    parent.close()


def kills(*, torn):
    """1, 2, 3 … until a job is no longer killed; torn writes differ in writes only, so a third of them is enough."""
    yield from range(1, MOST_OPERATIONS, 3 if torn else 1)
    pytest.fail(f"still being killed at operation {MOST_OPERATIONS}")


def assert_only_named_packs(path):
    manifests = SnapshotStore(path).manifests()[0]
    assert set(pack_names(RunDirectory(path))) == {pack for manifest in manifests for pack in manifest.packs()}


@pytest.mark.parametrize("torn", [False, True], ids=["before", "torn"])
def test_prune_is_killed(tmp_path, worker, torn):
    template = sparse_run(tmp_path / "template")
    before = digests(template)
    for n in kills(torn=torn):
        path = shutil.copytree(template, tmp_path / str(n))
        status = worker(command="prune", run=str(path), keep=["1"], n=n, torn=torn)
        assert status in {0, KILLED}
        store = SnapshotStore(path)
        assert store.verify() == [], n
        left = digests(path)
        assert {1, 5} <= left.keys()
        assert left == {epoch: before[epoch] for epoch in left}
        for epoch in left:
            assert_sparse_holds(path, epoch)
        if n % 2:
            prune(RunDirectory(path), Keep.of(["1"]))
            assert list(digests(path)) == [1, 5]
        else:
            opened(path, "all", last_epoch=5).close()
            assert digests(path) == left
        assert unfinished(path) == []
        assert_only_named_packs(path)
        assert store.verify() == []
        if status == 0:
            assert n > 20
            return


@pytest.mark.parametrize("torn", [False, True], ids=["before", "torn"])
@pytest.mark.parametrize("no_links", [False, True], ids=["linked", "copied"])
def test_fork_is_killed(tmp_path, worker, no_links, torn):
    info = msgspec.structs.replace(INFO, arguments={"seed": 1})
    parent = sparse_run(tmp_path / "parent", info=info)
    before = digests(parent)
    for n in kills(torn=torn):
        target = tmp_path / f"fork_{n}"
        job = {"command": "fork", "run": str(parent), "epoch": 2, "target": str(target), "arguments": {"seed": 7}}
        status = worker(**job, n=n, torn=torn, no_links=no_links)
        assert status in {0, KILLED}
        assert [path.parent for path in tmp_path.rglob("run.json") if path.parent.name.startswith("fork")] == (
            [target] if target.exists() else []
        )
        if target.exists():
            assert SnapshotStore(target).verify() == []
            assert SnapshotStore(target).read().state["counters"]["seed"] == 7
        if n % 2:
            fork(parent, 2, tmp_path / "another")
        else:
            opened(parent, "all", info=info, last_epoch=5).close()
        assert forks_left(tmp_path) == [], n
        assert digests(parent) == before
        for path in (target, tmp_path / "another"):
            if path.exists():
                with contextlib.closing(opened(path, "all", info=RunDirectory(path).info(), last_epoch=2)) as writer:
                    writer.commit(capture_of(3))
                assert SnapshotStore(path).verify() == []
                assert_only_named_packs(path)
                assert_holds(path, 3)
                RunDirectory(path).info_path.unlink()
                path.rename(tmp_path / f"done-{path.name}-{n}")
        if status == 0:
            assert n > 20
            return


@pytest.mark.parametrize("torn", [False, True], ids=["before", "torn"])
@pytest.mark.parametrize("command", ["pin", "unpin"])
def test_pinning_is_killed(tmp_path, worker, command, torn):
    """The pins are those before or those after it, and the next writer removes what is left over."""
    template = written(tmp_path / "template", range(4))
    pin(RunDirectory(template), 0)
    for n in range(1, MOST_OPERATIONS):
        path = shutil.copytree(template, tmp_path / str(n))
        directory = RunDirectory(path)
        status = worker(command=command, run=str(path), epoch=0 if command == "unpin" else 1, n=n, torn=torn)
        assert status in {0, KILLED}
        after = {"pin": {0, 1}, "unpin": set()}[command]
        assert read_pins(directory).keys() in ({0}, after)
        assert status == KILLED or read_pins(directory).keys() == after
        assert SnapshotStore(path).verify() == []
        opened(path, "all", last_epoch=3).close()
        assert unfinished(path) == []
        if status == 0:
            assert n > 4
            return
    pytest.fail(f"still being killed at operation {MOST_OPERATIONS}")


def test_a_new_run_in_the_directory_of_another_is_killed(tmp_path, worker):
    """Nothing of the old run ever counts as the new one's, which would then have finished what it never began."""
    template = written(tmp_path / "template", range(4), info=msgspec.structs.replace(INFO, arguments={"size": 200}))
    old_rows = (template / "metrics.jsonl").read_bytes()
    info = msgspec.structs.replace(INFO, id="f" * 16, arguments={"size": 400})
    for n in kills(torn=False):
        path = shutil.copytree(template, tmp_path / str(n))
        status = worker(command="begin", run=str(path), info=msgspec.to_builtins(info), n=n)
        assert status in {0, KILLED}
        store = SnapshotStore(path)
        whole, problems = store.manifests()
        assert problems == [], n
        assert {manifest.run for manifest in whole} <= {store.directory.info().id}, n
        if store.directory.info().id == info.id:
            assert not content(path / "metrics.jsonl").startswith(old_rows[:100]), n
        else:
            assert not whole or whole[-1].epoch == 3, n
            for manifest in whole:
                assert_holds(path, manifest.epoch)
        opened(path, info=info).close()
        assert SnapshotStore(path).epochs() == []
        assert old_rows in [file.read_bytes() for file in path.glob("metrics-abandoned-*.jsonl")], n
        shutil.rmtree(path)
        if status == 0:
            break
