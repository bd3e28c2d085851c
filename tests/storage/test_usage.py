"""What runs take up, as the system's own ``du`` has it."""

import errno
import os
import shutil
import subprocess

import pytest

from garage.storage.disk import Disk
from garage.storage.fork import fork
from garage.storage.usage import usage
from storage.faulty_disk import QuickDisk
from storage.sample_runs import written


def counted(*paths):
    """By ``du``: bytes of each path in turn, a file counted where it comes first."""
    done = subprocess.run(["du", "-s", "-B1", *map(str, paths)], capture_output=True, text=True, check=True)  # noqa: S607 - the system's
    return [int(line.split()[0]) for line in done.stdout.splitlines()]


def refuse(error):
    raise error


@pytest.fixture
def parent(tmp_path):
    return written(tmp_path / "parent", range(3))


@pytest.fixture
def child(parent, tmp_path):
    return fork(parent, 1, tmp_path / "child", disk=QuickDisk()).path


@pytest.mark.skipif(shutil.which("du") is None, reason="there is no du")
def test_as_du_counts(parent, child):
    runs, total = usage([parent, child], refuse)
    assert [run.bytes for run in runs] == [*counted(parent), *counted(child)]
    assert total == sum(counted(parent, child))
    assert total < sum(run.bytes for run in runs)


def test_shared_and_own(parent, child):
    (alone,), _ = usage([parent], refuse)
    assert alone.shared > 0
    assert alone.own == alone.bytes - alone.shared
    before, together = usage([parent, child], refuse)
    assert [run.shared for run in before] == [alone.shared] * 2  # the packs of one snapshot, and the recipe
    assert together == before[0].bytes + before[1].own
    shutil.rmtree(child)
    (after,), total = usage([parent], refuse)
    assert (after.bytes, after.shared, after.own) == (alone.bytes, 0, alone.bytes)
    assert total == after.bytes


def test_snapshots_are_manifests_and_packs(parent):
    (run,), _ = usage([parent], refuse)
    (parent / "debug.log").write_bytes(b"x" * 100_000)
    (more,), _ = usage([parent], refuse)
    assert more.bytes >= run.bytes + 100_000
    assert more.snapshots == run.snapshots > 0
    shutil.rmtree(parent / "packs")
    shutil.rmtree(parent / "snapshots")
    assert usage([parent], refuse)[0][0].snapshots == 0


def test_two_names_within_a_run_are_no_sharing(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "a").write_bytes(b"x" * 10_000)
    Disk().share(tmp_path / "run" / "a", tmp_path / "run" / "b")
    (run,), total = usage([tmp_path / "run"], refuse)
    assert run.shared == 0
    assert total == run.bytes == run.own < 20_000


def test_a_link_that_leads_elsewhere_is_not_followed(parent, tmp_path):
    (run,), _ = usage([parent], refuse)
    (tmp_path / "large").write_bytes(b"x" * 1_000_000)
    (parent / "link").symlink_to(tmp_path / "large")
    assert usage([parent], refuse)[1] < run.bytes + 10_000


def test_nothing():
    assert usage([], refuse) == ([], 0)


def test_what_cannot_be_looked_into_is_told(parent, monkeypatch):
    real, told = os.lstat, []

    def lstat(path):
        if str(path).endswith("run.json"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "lstat", lstat)
    (run,), _ = usage([parent], told.append)

    assert [error.filename for error in told] == [str(parent / "run.json")]
    assert run.bytes > 0
