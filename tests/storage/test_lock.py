"""One writer a run directory."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from garage.errors import InUseError, WriteError
from garage.storage import lock
from garage.storage.disk import Disk
from garage.storage.lock import WriterLock, holder_of
from garage.storage.run_directory import RunDirectory
from garage.storage.store import SnapshotStore
from storage.faulty_disk import FaultyDisk, refusal
from storage.locks import Other, owner_at, put, silence
from storage.sample_runs import RECIPE, assert_holds, capture_of, flip, newest, opened, row_epochs, written


@pytest.fixture
def others():
    """Starts processes that want locks; ended afterwards."""
    with contextlib.ExitStack() as stack:

        def start(*words):
            other = Other(*words)
            stack.callback(other.end)
            return other

        yield start


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
        "Wait for it or end it."
    )
    writer.commit(capture_of(1))
    writer.close()
    assert newest(tmp_path) == 1


def test_a_living_process_is_named(tmp_path, others):
    other = others()
    other.takes(tmp_path / "lock")
    with pytest.raises(InUseError, match=f"in use: process {other.process.pid} on "):
        opened(tmp_path)
    assert owner_at(tmp_path / "lock").pid == other.process.pid


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path, others):
    other = others()
    other.takes(tmp_path / "lock")
    other.end(by_kill=True)
    assert owner_at(tmp_path / "lock").pid == other.process.pid
    assert holder_of(tmp_path / "lock") is None
    opened(tmp_path).close()


def test_a_killed_process_that_nobody_has_waited_for_holds_nothing(tmp_path, others):
    other = others()
    other.takes(tmp_path / "lock")
    other.process.kill()
    os.waitid(os.P_PID, other.process.pid, os.WEXITED | os.WNOWAIT)
    assert holder_of(tmp_path / "lock") is None


def test_a_stopped_process_of_this_host_holds_its_lock_however_long_it_is_silent(tmp_path, others):
    other = others()
    other.takes(tmp_path / "lock")
    other.process.send_signal(signal.SIGSTOP)
    silence(tmp_path / "lock", 1e6)
    with pytest.raises(InUseError, match=f"in use: process {other.process.pid} on "):
        opened(tmp_path)
    other.process.send_signal(signal.SIGCONT)
    assert other.hears("check") == "done"


@pytest.mark.parametrize(
    "changes", [{"boot": "another"}, {"boot": "another", "namespace": "n"}, {"process_started": "1"}]
)
def test_a_process_number_that_is_used_again_holds_nothing(tmp_path, changes):
    put(tmp_path / "lock", **changes)
    opened(tmp_path).close()


@pytest.mark.parametrize("content", [b"", b"no lock", b"{}", b'{"host": "\xff"}'])
def test_what_is_no_lock_file_is_refused_with_the_next_step(tmp_path, content):
    (tmp_path / "lock").write_bytes(content)
    with pytest.raises(InUseError, match=rf"lock is not a lock file of garage\. .* writing to {tmp_path}, remove it"):
        opened(tmp_path)
    with pytest.raises(InUseError, match="lock is not a lock file of garage"):
        holder_of(tmp_path / "lock")


@pytest.mark.parametrize(
    ("thief", "said"),
    [
        ({"token": "stolen"}, "now names process {pid} on {host}"),
        (None, "its lock file was removed, so another process may"),
    ],
)
def test_a_stolen_lock_stops_the_next_commit(tmp_path, thief, said):
    writer = opened(tmp_path)
    writer.commit(capture_of(0))
    owner = owner_at(tmp_path / "lock")
    if thief is None:
        (tmp_path / "lock").unlink()
    else:
        (tmp_path / "lock").write_bytes(msgspec.json.encode(msgspec.structs.replace(owner, **thief)))
    with pytest.raises(InUseError, match=said.format(pid=owner.pid, host=owner.host) + ".*Nothing was over"):
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


def test_a_directory_that_cannot_be_made_is_an_error_of_ours(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match=r"Cannot write .*file"):
        opened(tmp_path / "file" / "run")


def test_an_opening_that_fails_lets_go_of_the_lock(tmp_path):
    with pytest.raises(WriteError):
        opened(tmp_path, disk=FaultyDisk(6))
    assert not (tmp_path / "lock").exists()


def test_without_proc_a_process_is_alive_or_not(monkeypatch):
    monkeypatch.setattr(lock, "Path", lambda path: Path(path.replace("/proc", "/no-proc")))
    assert lock._boot() == lock._namespace() == ""
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
    others().takes(tmp_path / "lock")
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
