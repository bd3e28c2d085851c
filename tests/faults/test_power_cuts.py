"""The power fails after any operation, and whatever was not synced is lost, kept or torn: nothing committed is lost."""

import contextlib
import json
import random
import shutil

import pytest

from faults.power_cut import Device, RecordingDisk, put_down
from garage.storage.background import BackgroundWriter
from garage.storage.fork import fork
from garage.storage.packs import pack_names
from garage.storage.run_directory import RunDirectory
from garage.storage.store import SnapshotStore
from garage.storage.writer import rewind
from storage.sample_runs import assert_holds, capture_of, opened, row_epochs, unfinished, written

LAST = 5


def trains(path, disk, mode="last"):
    """Epochs in the background, two threads at work."""
    with contextlib.closing(opened(path, mode, disk=disk)) as writer, BackgroundWriter(writer) as saver:
        for epoch in range(4):
            saver.submit(capture_of(epoch))


def trains_keeping_all(path, disk):
    trains(path, disk, "all")


def saves_again(path, disk):
    """An epoch that has a snapshot already, as a user's own call of save does."""
    with contextlib.closing(opened(path, disk=disk)) as writer:
        for epoch in (0, 1, 1):
            writer.commit(capture_of(epoch), requested=True)


def goes_on_from_an_older_epoch(path, disk):
    with contextlib.closing(opened(path, "all", last_epoch=1, disk=disk)) as writer:
        writer.commit(capture_of(2))


def rewinds(path, disk):
    rewind(RunDirectory(path), 1, disk)


def with_four_epochs(path):
    written(path, range(4))
    (path / "packs" / "ab").mkdir(exist_ok=True)
    (path / "packs" / "ab" / ("cd" * 31)).touch()
    (path / "snapshots" / ".unfinished-1-ab").touch()


def with_nothing(path):
    """The folder of the run does not exist yet."""


SCENARIOS = {
    "trains": (with_nothing, trains, "last"),
    "trains, all kept": (with_nothing, trains_keeping_all, "all"),
    "saves again": (with_nothing, saves_again, "last"),
    "goes on": (with_four_epochs, goes_on_from_an_older_epoch, "all"),
    "rewinds": (with_four_epochs, rewinds, "all"),
}


class Recording:
    """A scenario that has been played, and every state that a power cut during it may leave."""

    def __init__(self, root, prepare, play):
        self.run = root / "run"
        prepare(self.run)
        self.disk = RecordingDisk(root)
        play(self.run, self.disk)

    def states(self):
        """How far it was, which epochs must be there, and what is found; each combination once."""
        device, seen = Device.of(self.disk), set()
        for n, operation in enumerate([None, *self.disk.operations]):
            if operation is not None:
                device.take(operation)
            certain = self._certain(device)
            for entries, contents in device.states():
                found = frozenset((path, number, contents.get(number)) for path, number in entries.items())
                if (found, certain) not in seen:
                    seen.add((found, certain))
                    yield n, certain, (entries, contents)

    def _certain(self, device):
        """Epochs whose manifest has a name that is synced, and that nobody has begun to remove or to replace."""
        doubtful = {path for operation in device.pending if operation[0] == "names" for path, _ in operation[1]}
        return frozenset(
            int(path.stem)
            for path in device.entries
            if path.parent == self.run / "snapshots" and path.stem.isdecimal() and path not in doubtful
        )


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The rows of a run that nothing happened to."""
    path = written(tmp_path_factory.mktemp("reference") / "run", range(LAST + 1), "last")
    return (path / "metrics.jsonl").read_bytes()


def check(path, certain, mode, reference, where):
    """What was committed is whole; a writer goes on from it, and ends as if nothing had happened."""
    store = SnapshotStore(path)
    whole, problems = store.manifests()
    assert problems == [], where
    epochs = [manifest.epoch for manifest in whole]
    abandoned = any(event["event"] == "rewind" for event in store.directory.events())
    assert {epoch for epoch in certain if not (abandoned and epoch > 1)} <= set(epochs), where
    for epoch in epochs:
        assert_holds(path, epoch)
    assert [line for line in store.verify() if "is damaged in line" not in line and "no run.json" not in line] == [], (
        where
    )
    start_the_machine_anew(path)
    last = max(epochs, default=None)
    with contextlib.closing(opened(path, mode, last_epoch=last)) as writer:
        assert unfinished(path) == [], where
        assert row_epochs(path) == list(range(0 if last is None else last + 1)), where
        for epoch in range(0 if last is None else last + 1, LAST + 1):
            writer.commit(capture_of(epoch))
    assert store.verify() == [], where
    assert_holds(path, LAST)
    needed = {pack for manifest in store.manifests()[0] for pack in manifest.packs()}
    aside = {
        chunk["pack"]
        for file in path.glob("snapshots/abandoned/*")
        for chunk in json.loads(file.read_bytes())["chunks"]
    }
    assert set(pack_names(store.directory)) <= needed | aside, where
    assert (path / "metrics.jsonl").read_bytes() == reference, where


def start_the_machine_anew(path):
    """The lock, and a claim on it, are of the boot before."""
    for lock in (*path.glob("lock"), *path.glob(".unfinished-lock-*")):
        lock.write_text(json.dumps(json.loads(lock.read_bytes()) | {"boot": "the one before"}))


def check_states(tmp_path, name, reference, sample=None):
    prepare, play, mode = SCENARIOS[name]
    recording = Recording(tmp_path, prepare, play)
    states = list(recording.states())
    assert len(states) > 10
    if sample is not None and len(states) > sample:
        states = random.Random(1).sample(states, sample)
    for index, (n, certain, state) in enumerate(states):
        target = tmp_path / f"after-{index}"
        target.mkdir()
        put_down(state, tmp_path, target)
        done = recording.disk.operations[n - 1][:2] if n else "nothing"
        check(target / "run", certain, mode, reference, f"after operation {n}, {done}")
        shutil.rmtree(target)


@pytest.mark.parametrize("name", SCENARIOS)
def test_some_states(tmp_path, name, reference):
    check_states(tmp_path, name, reference, sample=15)


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_state(tmp_path, name, reference):
    check_states(tmp_path, name, reference)


def test_a_fork_is_whole_or_not_there(tmp_path):
    def fork_it(path, disk):
        fork(path, "last", path.with_name("child"), disk=disk)

    recording = Recording(tmp_path, with_four_epochs, fork_it)
    states = list(recording.states())
    n_whole = 0
    for index, (n, _, state) in enumerate(random.Random(1).sample(states, min(60, len(states)))):
        target = tmp_path / f"after-{index}"
        target.mkdir()
        put_down(state, tmp_path, target)
        assert SnapshotStore(target / "run").verify() == []
        if (target / "child").exists():
            assert SnapshotStore(target / "child").verify() == [], n
            assert_holds(target / "child", 3)
            n_whole += 1
        shutil.rmtree(target)
    assert n_whole > 0


def test_the_model_finds_a_missing_sync(tmp_path):
    """A disk that forgets to sync folders, files or both is found out, so the tests above can fail."""

    class Careless(RecordingDisk):
        def note(self, *operation):
            if operation[0] != forgotten:
                super().note(*operation)

    for forgotten in ("sync", "sync_folder"):
        root = tmp_path / forgotten
        root.mkdir()
        disk = Careless(root)
        written(root / "run", range(3), "last", disk=disk)
        device = Device.of(disk)
        for operation in disk.operations:
            device.take(operation)
        found = []
        for index, state in enumerate(device.states()):
            target = root / f"after-{index}"
            target.mkdir()
            put_down(state, root, target)
            found.append(SnapshotStore(target / "run").verify())
            found[-1] += [] if (target / "run" / "snapshots" / "000002.json").is_file() else ["the newest is gone"]
            if index > 40:
                break
        assert any(found), forgotten
