"""Locks of other hosts, races for locks, and holders that wake up when their lock is gone."""

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from garage.cli.run_summary import summarise
from garage.errors import InUseError, WriteError
from garage.storage import lock
from garage.storage.disk import Disk
from garage.storage.lock import WriterLock, holder_of
from garage.storage.run_directory import RunDirectory, pretty
from garage.storage.store import SnapshotStore
from garage.storage.writer import rewind
from storage.faulty_disk import FaultyDisk, QuickDisk
from storage.lock_worker import DiskWithoutLinks
from storage.locks import Other, owner_at, put, race, silence
from storage.sample_runs import (
    assert_holds,
    capture_of,
    events_named,
    files_of,
    newest,
    opened,
    row_epochs,
    written,
)

# Other hosts


def left_by_locks(path):
    return [file.name for file in path.iterdir() if file.name.startswith((".unfinished-", "lock"))]


def named(token):
    return {"token": token}


@pytest.mark.parametrize("changes", [{"host": "elsewhere"}, {"host": "elsewhere", "boot": "b"}, {"namespace": "n"}])
def test_a_lock_of_another_host_is_taken_over_when_it_has_been_silent_for_a_minute(tmp_path, changes):
    put(tmp_path / "lock", **{"pid": 1, **changes})
    before = owner_at(tmp_path / "lock")
    silence(tmp_path / "lock", 55)
    with pytest.raises(InUseError) as caught:
        opened(tmp_path)
    assert str(caught.value).startswith(
        f"{tmp_path} is in use: process 1 on {before.host} has been writing to it since"
    )
    assert "Its last sign of life came 55 s ago. Wait for it or end it; when it has been silent for 60 s" in str(
        caught.value
    )
    assert str(caught.value) == lock.in_use(tmp_path / "lock", before)
    assert holder_of(tmp_path / "lock") == owner_at(tmp_path / "lock") == before
    silence(tmp_path / "lock", 61)
    assert holder_of(tmp_path / "lock") is None
    with contextlib.closing(opened(tmp_path)):
        assert owner_at(tmp_path / "lock").pid == os.getpid()
        assert left_by_locks(tmp_path) == ["lock"]
    assert left_by_locks(tmp_path) == []


def test_only_the_clock_of_the_files_counts(tmp_path, monkeypatch):
    """The file server lives an hour in the past; a machine that asked its own clock would take over at once."""

    def touch(self, descriptor):
        path = f"/proc/self/fd/{descriptor}"
        silence(path, 3600)

    put(tmp_path / "lock", host="elsewhere")
    monkeypatch.setattr(Disk, "touch", touch)
    silence(tmp_path / "lock", 3600 + 50)
    with pytest.raises(InUseError, match="sign of life came 50 s ago"):
        WriterLock(tmp_path / "lock", Disk())
    silence(tmp_path / "lock", 3600 - 86400)
    with pytest.raises(InUseError, match="sign of life came 0 s ago"):
        WriterLock(tmp_path / "lock", Disk())
    silence(tmp_path / "lock", 3600 + 70)
    WriterLock(tmp_path / "lock", Disk()).release()


def test_where_nothing_can_be_written_a_silent_holder_counts_as_alive(tmp_path, monkeypatch):
    def touch(self, descriptor):
        raise OSError(30, "Read-only file system")

    put(tmp_path / "lock", host="elsewhere")
    silence(tmp_path / "lock", 1000)
    monkeypatch.setattr(Disk, "touch", touch)
    owner = holder_of(tmp_path / "lock")
    assert owner == owner_at(tmp_path / "lock")
    assert "cannot be found out: Read-only file system" in lock.in_use(tmp_path / "lock", owner)
    with pytest.raises(WriteError, match="Read-only file system"):
        WriterLock(tmp_path / "lock", Disk())
    assert left_by_locks(tmp_path) == ["lock"]


def test_what_is_no_lock_file_is_replaced_when_it_has_been_silent(tmp_path):
    (tmp_path / "lock").write_text("no lock")
    silence(tmp_path / "lock", 61)
    assert holder_of(tmp_path / "lock") is None
    with WriterLock(tmp_path / "lock", Disk()):
        assert owner_at(tmp_path / "lock").pid == os.getpid()


def test_a_run_of_a_host_that_fell_silent_is_listed_as_stopped(tmp_path):
    written(tmp_path, [0])
    put(tmp_path / "lock", host="elsewhere", pid=7)
    assert summarise(tmp_path).state == "running"
    assert (summarise(tmp_path).holder.host, summarise(tmp_path).holder.pid) == ("elsewhere", 7)
    silence(tmp_path / "lock", 61)
    assert summarise(tmp_path).state == "stopped"
    assert summarise(tmp_path).holder is None


def test_what_dead_takeovers_left_is_removed(tmp_path):
    put(tmp_path / "lock", pid=1, process_started="1")
    for name in ("lock-0123456789abcdef-0", "lock-clock-1-ab", "lock-guard"):
        (tmp_path / f".unfinished-{name}").write_text("left")
    with WriterLock(tmp_path / "lock", Disk()):
        assert left_by_locks(tmp_path) == ["lock"]


def test_a_claim_of_one_who_died_is_taken_over_too(tmp_path):
    """Also the claim on that claim."""
    put(tmp_path / "lock", boot="a", **named("t0"))
    dead = owner_at(tmp_path / "lock")
    for depth in range(3):
        claim = tmp_path / f".unfinished-lock-t{depth}-{depth}"
        claim.write_bytes(pretty(lock.msgspec.structs.replace(dead, token=f"t{depth + 1}")))
    with WriterLock(tmp_path / "lock", Disk()):
        assert owner_at(tmp_path / "lock").boot == lock._boot()
        assert left_by_locks(tmp_path) == ["lock"]


def test_who_is_about_to_take_over_is_named(tmp_path, others):
    put(tmp_path / "lock", boot="a", **named("t0"))
    with WriterLock(tmp_path / "other-lock", Disk()):
        (tmp_path / "other-lock").rename(tmp_path / ".unfinished-lock-t0-0")
        with pytest.raises(InUseError, match=f"in use: process {os.getpid()} on "):
            WriterLock(tmp_path / "lock", Disk())


# Heartbeats


class BeatingDisk(QuickDisk):
    """Tells of each heartbeat, and refuses them when asked to."""

    def __init__(self):
        self.beaten, self.error = threading.Semaphore(0), None

    def touch(self, descriptor):
        self.beaten.release()
        if self.error is not None:
            raise self.error
        super().touch(descriptor)


def test_the_heart_beats_until_the_release(tmp_path):
    disk, of_others = BeatingDisk(), set(threading.enumerate())
    held = WriterLock(tmp_path / "lock", disk, interval=0.001)
    for _ in range(5):
        silence(tmp_path / "lock", 100)
        for _ in range(2):  # one may have begun before
            assert disk.beaten.acquire(timeout=60)
        held.check()
        assert lock._silence(tmp_path / "lock") < 50
    held.release()
    assert not [thread for thread in set(threading.enumerate()) - of_others if thread.name == "garage-lock"]
    WriterLock(tmp_path / "lock", QuickDisk()).release()


@pytest.mark.parametrize("code", ["while not enough(): pass", "hold()"])
def test_the_heart_survives_a_thread_that_keeps_the_interpreter_to_itself(tmp_path, code):
    """Busy in Python, or in a call that does not let go of the interpreter's lock."""
    script = f"""
import ctypes, sys, threading, time
from pathlib import Path
from garage.storage.disk import Disk
from garage.storage.lock import WriterLock

beats = threading.Semaphore(0)

class Told(Disk):
    def touch(self, descriptor):
        super().touch(descriptor)
        beats.release()

def enough():
    return beats.acquire(blocking=False)

def hold():
    ctypes.PyDLL(None).usleep(300_000)

with WriterLock(Path(sys.argv[1]), Told(), interval=0.01) as lock:
    {code}
    for _ in range(3):
        assert beats.acquire(timeout=60)
    lock.check()
"""
    subprocess.run([sys.executable, "-c", script, tmp_path / "lock"], check=True, timeout=120)
    assert not (tmp_path / "lock").exists()


def test_a_heartbeat_that_cannot_be_written_is_told_at_the_next_check(tmp_path):
    disk = BeatingDisk()
    disk.error = OSError(28, "No space left on device")
    with WriterLock(tmp_path / "lock", disk, interval=0.001) as held:
        for _ in range(2):
            assert disk.beaten.acquire(timeout=60)
        with pytest.raises(WriteError, match="lock: No space left on device"):
            held.check()
        disk.error = None
        held.check()


def test_a_lock_that_is_gone_ends_the_heartbeat_and_is_told_at_the_next_check(tmp_path):
    held = WriterLock(tmp_path / "lock", QuickDisk(), interval=0.001)
    (tmp_path / "lock").unlink()
    held._heart.join(timeout=60)
    assert not held._heart.is_alive()
    with pytest.raises(InUseError, match="its lock file was removed, so another process may write there"):
        held.check()
    tmp_path.rename(tmp_path.with_name("elsewhere"))
    with pytest.raises(InUseError, match="is gone: the run's directory was removed or renamed"):
        held.check()
    held.release()


def test_a_fork_neither_holds_nor_releases(tmp_path, others):
    other = others()
    other.takes(tmp_path / "lock")
    assert "from which this one was forked" in other.hears("fork")
    assert other.answer() == "done"
    assert other.hears("check") == "done"
    assert owner_at(tmp_path / "lock").pid == other.process.pid
    assert other.hears("release") == "done"
    assert not (tmp_path / "lock").exists()


# Releases


@pytest.mark.parametrize("disk", [QuickDisk(), DiskWithoutLinks()])
def test_a_release_leaves_nothing(tmp_path, disk):
    with WriterLock(tmp_path / "lock", disk):
        assert left_by_locks(tmp_path) == ["lock"]
    assert left_by_locks(tmp_path) == []


def test_a_release_needs_no_room(tmp_path):
    disk = FaultyDisk(error=lambda: OSError(28, "No space left on device"), only=("write", "sync"))
    held = WriterLock(tmp_path / "lock", disk)
    disk.arm(1)
    held.release()
    assert left_by_locks(tmp_path) == []


def test_a_release_that_was_refused_can_be_repeated(tmp_path):
    disk = FaultyDisk(only=("unlink",))
    held = WriterLock(tmp_path / "lock", disk)
    for n in (1, 2):  # the lock, its claim
        disk.arm(n)
        if (tmp_path / "lock").exists():
            with pytest.raises(WriteError):
                held.release()
    disk.arm(None)
    held.release()
    assert not (tmp_path / "lock").exists()
    WriterLock(tmp_path / "lock", disk).release()
    assert left_by_locks(tmp_path) == []


# Races


@pytest.fixture
def others():
    """Starts processes that want locks; ended afterwards."""
    with contextlib.ExitStack() as stack:

        def start(*words):
            other = Other(*words)
            stack.callback(other.end)
            return other

        yield start


def nothing(path):
    pass


def dead(path):
    put(path, process_started="1")


def silent(path):
    put(path, host="nowhere")
    silence(path, 61)


def unreadable(path):
    path.write_bytes(b"")
    silence(path, 61)


def dead_claim(path):
    put(path, process_started="1", **named("t0"))
    put(path.with_name("claim"), process_started="1", **named("t1"))
    path.with_name("claim").rename(path.with_name(".unfinished-lock-t0-0"))


@pytest.mark.parametrize("words", [(), ("no-links",)])
def test_of_those_that_race_one_wins(tmp_path, others, words):
    racers = [others(*words), others(*words), others("elsewhere", *words)]
    for number in range(25):
        for prepare in (nothing, dead, silent, unreadable, dead_claim):
            path = tmp_path / f"{prepare.__name__}-{number}" / "lock"
            path.parent.mkdir()
            prepare(path)
            said = race(racers[: 2 if prepare in {dead, dead_claim} else 3], path)
            assert said.count("done") == 1, (path, said)
            winner = racers[said.index("done")]
            assert owner_at(path).pid == winner.process.pid
            assert all(" is in use: process" in line or words for line in said if line != "done"), said
            assert winner.hears("check") == "done"
            assert winner.hears("release") == "done"
            assert not path.exists()


class Killed(BaseException):
    """As if by SIGKILL: whatever the taker still tries raises it again."""


SLEEPER = "a holder that was silent for too long"


class Stage:
    """Lets threads that stand for processes take turns, a step at a time, as a schedule says."""

    def __init__(self):
        self.turn, self.done = {}, threading.Semaphore(0)
        self.dead, self.holding, self.ended = set(), set(), set()
        self.n_steps_to_live = {}
        self.failure = None

    def step(self):
        """Called by a taker before each operation: wait for its turn."""
        name = threading.current_thread().name
        if name not in self.turn:
            return
        self.done.release()
        self.turn[name].acquire()
        if self.n_steps_to_live[name] == 0:
            self.dead.add(name)
            self.holding.discard(name)
            raise Killed
        self.n_steps_to_live[name] -= 1

    def play(self, path, lives, schedule, sleeper):
        """Run takers, each of which dies after so many steps, or lives; and one who counts as dead, but lets go."""
        threads = {}
        if sleeper is not None:
            self.turn["sleeper"], self.n_steps_to_live["sleeper"] = threading.Semaphore(0), -1
            threads["sleeper"] = threading.Thread(target=self._wake_up, args=(sleeper,), name="sleeper")
        for index, n_steps in enumerate(lives):
            name = f"taker{index}"
            self.turn[name], self.n_steps_to_live[name] = threading.Semaphore(0), n_steps
            threads[name] = threading.Thread(target=self._take, args=(path,), name=name)
        for thread in threads.values():
            thread.start()
            self.done.acquire()
        choices = iter(schedule)
        while waiting := [name for name in threads if name not in self.ended]:
            name = waiting[next(choices, 0) % len(waiting)]
            self.turn[name].release()
            self.done.acquire()
        for thread in threads.values():
            thread.join()

    def _wake_up(self, sleeper):
        try:
            self.step()
            sleeper.release()
        except BaseException as error:  # noqa: BLE001 - told where the test sees it
            self.failure = error
        finally:
            self.ended.add("sleeper")
            self.done.release()

    def _take(self, path):
        name = threading.current_thread().name
        held = None
        try:
            self.step()
            with contextlib.suppress(InUseError):
                held = WriterLock(path, SteppedDisk(self))
            if held is not None:
                assert not self.holding, f"{name} won while {self.holding} held"
                self.holding.add(name)
                self.step()
                held.check()
                self.holding.discard(name)
                held.release()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - told where the test sees it
            self.failure = error
        finally:
            if held is not None:
                held._released.set()
            self.ended.add(name)
            self.done.release()


class SteppedDisk(QuickDisk):
    def __init__(self, stage):
        self._stage = stage

    def write(self, file, data):
        self._stage.step()
        super().write(file, data)

    def link(self, path, target):
        self._stage.step()
        super().link(path, target)

    def rename(self, path, target):
        self._stage.step()
        super().rename(path, target)

    def unlink(self, path):
        self._stage.step()
        super().unlink(path)

    def touch(self, descriptor):
        self._stage.step()
        super().touch(descriptor)
        self._stage.dead.discard(threading.current_thread().name)


@given(
    found=st.sampled_from([nothing, dead, dead_claim, SLEEPER]),
    lives=st.lists(st.integers(0, 25) | st.just(-1), min_size=2, max_size=4),
    schedule=st.lists(st.integers(0, 3), max_size=120),
)
def test_in_no_order_of_steps_and_deaths_do_two_hold(tmp_path_factory, found, lives, schedule):
    played(tmp_path_factory.mktemp("order") / "lock", found, lives, schedule)


def test_a_holder_that_wakes_up_and_lets_go_does_not_let_go_of_anothers(tmp_path):
    """Every order in which taker and holder interrupt each other at most twice."""
    for first, second, third in itertools.product(range(9), range(6), range(6)):
        path = tmp_path / f"{first}-{second}-{third}" / "lock"
        played(path, SLEEPER, [-1], [1] * first + [0] * second + [1] * third + [0] * 9)


def played(path, found, lives, schedule):
    """With ``found`` a sleeper, a holder that counted as dead wakes up and lets go meanwhile."""
    stage, read, sleeper = Stage(), lock._read, None
    path.parent.mkdir(exist_ok=True)
    if found is not SLEEPER:
        found(path)

    def stepped_read(path):
        stage.step()
        return read(path)

    with pytest.MonkeyPatch.context() as patch:
        n_tokens = iter(range(10**6))
        tokens = {}

        def token():
            name = f"{next(n_tokens):016d}"
            tokens[name] = threading.current_thread().name
            return name

        patch.setattr(lock, "_read", stepped_read)
        patch.setattr(lock, "_new_token", token)
        if found is SLEEPER:
            sleeper = WriterLock(path, SteppedDisk(stage))
            tokens[owner_at(path).token] = "sleeper"
            stage.dead.add("sleeper")
        runs_here = lock._runs_here
        patch.setattr(lock, "_runs_here", lambda owner: runs_here(owner) and tokens.get(owner.token) not in stage.dead)
        stage.play(path, lives, schedule, sleeper)
        if stage.failure is not None:
            raise stage.failure
        # Whatever they left, the next one finds its way.
        held = WriterLock(path, QuickDisk())
        assert not list(path.parent.glob(".unfinished-lock-*"))
        held.release()
    assert not path.exists()


# Holders that wake up


def that_matter(files):
    """Not the lock, whose heart beats meanwhile, and not a pack that was begun and that no manifest will name."""
    return {path: found for path, found in files.items() if path.name != "lock" and path.parts[0] != "packs"}


def n_operations(path):
    disk = FaultyDisk()
    with contextlib.closing(opened(path, disk=disk)) as writer:
        for epoch in range(3):
            writer.commit(capture_of(epoch))
        disk.arm(None)
        writer.commit(capture_of(3))
    return disk.done


def test_a_holder_that_was_stopped_anywhere_in_a_commit_and_taken_over_changes_nothing_more(tmp_path, monkeypatch):
    operations = n_operations(tmp_path / "counted")
    command = [sys.executable, str(Path(__file__).with_name("stopping_writer.py")), str(tmp_path), str(len(operations))]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    try:
        for n, operation in enumerate(operations, start=1):
            path = tmp_path / str(n)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED)
            with pytest.raises(InUseError, match=f"process {process.pid} on .* sign of life came"):
                opened(path, last_epoch=2)
            silence(path / "lock", 61)
            if n % 3 == 0:
                rewind(RunDirectory(path), 2)
            epoch = newest(path)
            with contextlib.closing(opened(path, last_epoch=epoch)) as writer:
                writer.commit(capture_of(epoch + 1, variant=1))
                before = files_of(path)
                process.send_signal(signal.SIGCONT)
                said = [process.stdout.readline(), process.stdout.readline()]
                assert that_matter(files_of(path)) == that_matter(before), (n, operation)
                writer.commit(capture_of(epoch + 2, variant=1))
            # A removal may be the last thing that it does.
            assert said[0].startswith(("InUseError", "committed")[: 1 + (operation == "unlink")]), (n, operation, said)
            assert (
                f"{path} is no longer this process's to write: its lock now names process {os.getpid()} on els"
                in said[1]
            )
            assert row_epochs(path) == list(range(epoch + 3))
            assert SnapshotStore(path).verify() == []
            assert_holds(path, epoch + 2, variant=1)
            assert [event["epoch"] for event in events_named(path, "snapshot")][-2:] == [epoch + 1, epoch + 2]
    finally:
        process.kill()
        process.stdout.close()
        process.wait()
