"""One writer a run directory."""

import contextlib
import errno
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from garage.errors import InUseError, WriteError
from garage.storage import lock
from garage.storage.disk import Disk
from garage.storage.lock import Owner, WriterLock, holder_of
from garage.storage.run_directory import RunDirectory
from garage.storage.store import SnapshotStore
from storage.faulty_disk import FaultyDisk, refusal
from storage.sample_runs import RECIPE, assert_holds, capture_of, flip, newest, opened, row_epochs, written


class Other:
    """Another process that wants the lock."""

    def __init__(self, path):
        command = [sys.executable, str(Path(__file__).with_name("lock_worker.py")), str(path)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def heard(self):
        return self.process.stdout.readline().strip()

    def go(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def locks(self):
        assert self.heard() == "ready"
        self.go()
        assert self.heard() == "locked"

    def end(self, *, by_kill=False):
        if by_kill:
            self.process.kill()
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=60)


@pytest.fixture
def others(tmp_path):
    """Starts processes that want the lock; ended afterwards."""
    with contextlib.ExitStack() as stack:

        def start():
            other = Other(tmp_path / "lock")
            stack.callback(other.end)
            return other

        yield start


def owner_at(path):
    return msgspec.json.decode(path.read_bytes(), type=Owner)


def put(path, **changes):
    """A lock file of this process's, but for the changes."""
    with WriterLock(path, Disk()):
        owner = owner_at(path)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(owner, **changes)))


def test_a_lock_says_who_holds_it_and_goes_with_its_release(tmp_path):
    path = tmp_path / "new" / "lock"
    with WriterLock(path, Disk()):
        assert holder_of(path) == owner_at(path)
        assert owner_at(path).pid == os.getpid()
    assert not path.exists()
    assert holder_of(path) is None


def test_a_second_writer_in_the_same_process_is_refused(tmp_path):
    writer = opened(tmp_path)
    writer.commit(capture_of(0))
    owner = owner_at(tmp_path / "lock")
    with pytest.raises(InUseError) as caught:
        opened(tmp_path, last_epoch=0)
    assert str(caught.value) == (
        f"{tmp_path} is in use: process {os.getpid()} on {owner.host} has been writing to it since {owner.locked_at}. "
        f"Wait for it or end it; if it is a machine that no longer exists, remove {tmp_path / 'lock'}."
    )
    writer.commit(capture_of(1))
    writer.close()
    assert newest(tmp_path) == 1


def test_a_living_process_is_named(tmp_path, others):
    other = others()
    other.locks()
    with pytest.raises(InUseError, match=f"in use: process {other.process.pid} on "):
        opened(tmp_path)
    assert owner_at(tmp_path / "lock").pid == other.process.pid


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path):
    other = Other(tmp_path / "lock")
    other.locks()
    other.end(by_kill=True)
    assert owner_at(tmp_path / "lock").pid == other.process.pid
    assert holder_of(tmp_path / "lock") is None
    opened(tmp_path).close()


def test_a_killed_process_that_nobody_has_waited_for_holds_nothing(tmp_path):
    other = Other(tmp_path / "lock")
    other.locks()
    other.process.kill()
    os.waitid(os.P_PID, other.process.pid, os.WEXITED | os.WNOWAIT)
    assert holder_of(tmp_path / "lock") is None
    other.end()


def test_of_those_that_race_for_a_dead_writers_lock_one_wins(tmp_path, others):
    dead = Other(tmp_path / "lock")
    racers = [others() for _ in range(2)]
    dead.locks()
    dead.end(by_kill=True)
    for racer in racers:
        assert racer.heard() == "ready"
    for racer in racers:
        racer.go()
    said = [racer.heard() for racer in racers]
    winner = said.index("locked")
    assert said[1 - winner].startswith(f"refused {tmp_path} is in use: process {racers[winner].process.pid} on ")
    assert owner_at(tmp_path / "lock").pid == racers[winner].process.pid


def test_a_lock_of_another_host_is_left_alone_and_the_next_step_said(tmp_path):
    put(tmp_path / "lock", host="elsewhere", pid=1)
    before = (tmp_path / "lock").read_bytes()
    with pytest.raises(InUseError, match=rf"process 1 on elsewhere .*no longer exists, remove {tmp_path / 'lock'}\."):
        opened(tmp_path)
    assert (tmp_path / "lock").read_bytes() == before


@pytest.mark.parametrize("changes", [{"boot": "another"}, {"process_started": "1"}])
def test_a_process_number_that_is_used_again_holds_nothing(tmp_path, changes):
    put(tmp_path / "lock", **changes)
    opened(tmp_path).close()


@pytest.mark.parametrize("content", [b"", b"no lock", b"{}", b'{"host": "\xff"}'])
def test_what_is_no_lock_file_is_refused_with_the_next_step(tmp_path, content):
    (tmp_path / "lock").write_bytes(content)
    with pytest.raises(InUseError, match=rf"lock is not a lock file of garage: .* writing to {tmp_path}, remove it"):
        opened(tmp_path)


@pytest.mark.parametrize(("thief", "named"), [({"token": "stolen"}, "process {pid} on {host}"), (None, "nobody")])
def test_a_stolen_lock_stops_the_next_commit(tmp_path, thief, named):
    writer = opened(tmp_path)
    writer.commit(capture_of(0))
    owner = owner_at(tmp_path / "lock")
    if thief is None:
        (tmp_path / "lock").unlink()
    else:
        (tmp_path / "lock").write_bytes(msgspec.json.encode(msgspec.structs.replace(owner, **thief)))
    with pytest.raises(InUseError, match=f"now names {named.format(pid=owner.pid, host=owner.host)}. Nothing was over"):
        writer.commit(capture_of(1))
    assert row_epochs(tmp_path) == [0]
    assert SnapshotStore(tmp_path).epochs() == [0]
    writer.close()
    assert (tmp_path / "lock").exists() == (thief is not None)  # a thief's lock is not removed
    assert_holds(tmp_path, 0)


@pytest.mark.parametrize("n", range(1, 5))
@pytest.mark.parametrize("torn", [False, True])
def test_a_lock_that_could_not_be_written_is_not_held(tmp_path, n, torn):
    """Also if the disk refused no more than the last sync, when its name is there."""
    with pytest.raises(WriteError, match="lock: EIO"):
        WriterLock(tmp_path / "lock", FaultyDisk(n, error=refusal(errno.EIO), torn=torn))
    opened(tmp_path).close()


def test_a_guard_that_cannot_be_taken_is_an_error_of_ours(tmp_path):
    (tmp_path / ".unfinished-lock-guard").mkdir()
    with pytest.raises(WriteError, match=r"Cannot write .*\.unfinished-lock-guard: "):
        opened(tmp_path)


def test_a_directory_that_cannot_be_made_is_an_error_of_ours(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match=r"Cannot write .*file"):
        opened(tmp_path / "file" / "run")


def test_an_opening_that_fails_lets_go_of_the_lock(tmp_path):
    with pytest.raises(WriteError):
        opened(tmp_path, disk=FaultyDisk(6))
    assert not (tmp_path / "lock").exists()


def test_without_proc_a_process_is_alive_or_not(monkeypatch):
    monkeypatch.setattr(lock.Path, "is_file", lambda self: False)
    assert lock._boot() == ""
    assert lock._process_started(os.getpid()) == "alive"
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert lock._process_started(process.pid) == ""
    monkeypatch.setattr(os, "kill", lambda *_: (_ for _ in ()).throw(PermissionError))
    assert lock._process_started(1) == "alive"


# Closing and reopening


def test_a_writer_goes_on_after_it_was_closed(tmp_path):
    writer = opened(tmp_path)
    writer.commit(capture_of(0))
    writer.close()
    writer.close()
    writer.reopen()
    writer.commit(capture_of(1))
    writer.close()
    writer.reopen()
    writer.commit(capture_of(1), requested=True)
    writer.close()
    assert row_epochs(tmp_path) == [0, 1]
    assert SnapshotStore(tmp_path).verify() == []


def test_a_writer_without_anything_written_goes_on(tmp_path):
    writer = opened(tmp_path)
    writer.close()
    (tmp_path / "metrics.jsonl").unlink()
    writer.reopen()
    writer.close()


def another_epoch(path):
    writer = opened(path, last_epoch=0)
    writer.commit(capture_of(1))
    writer.close()


def a_row_without_snapshot(path):
    writer = opened(path, "none", last_epoch=0)
    writer.commit(capture_of(1))
    writer.close()


def the_same_epoch_anew(path):
    """As many rows and the same epochs as before; the packs of the old snapshot are gone after the second opening."""
    for _ in range(2):
        writer = opened(path, last_epoch=0)
        writer.commit(capture_of(0, variant=1), requested=True)
        writer.close()


def damage(path):
    flip(RunDirectory(path).manifest_path(0))


@pytest.mark.parametrize("change", [another_epoch, a_row_without_snapshot, the_same_epoch_anew, damage])
def test_a_writer_does_not_go_on_after_another_wrote(tmp_path, change):
    writer = opened(tmp_path)
    writer.commit(capture_of(0))
    writer.close()
    change(tmp_path)
    with pytest.raises(InUseError, match=f"{tmp_path} was changed by another process .*Restore from it with a new"):
        writer.reopen()
    assert not (tmp_path / "lock").exists()


def test_a_writer_does_not_go_on_while_another_writes(tmp_path, others):
    writer = opened(tmp_path)
    writer.close()
    others().locks()
    with pytest.raises(InUseError, match="is in use"):
        writer.reopen()


def test_the_recipe_is_written_once_and_again_only_if_it_is_another(tmp_path):
    written(tmp_path, [0])
    opened(tmp_path, last_epoch=0).close()
    assert [path.name for path in tmp_path.glob("recipe*")] == ["recipe"]
    flip(tmp_path / "recipe")
    assert "the recipe" in SnapshotStore(tmp_path).verify()[0]
    opened(tmp_path, last_epoch=0).close()
    assert SnapshotStore(tmp_path).verify() == []
    assert SnapshotStore(tmp_path).read().recipe == RECIPE
    assert len(list(tmp_path.glob("recipe*"))) == 2
