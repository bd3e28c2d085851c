"""What a power cut left in events.jsonl is set aside by whoever appends next, and then no longer named."""

import json

import pytest

from garage.storage.pins import pin
from garage.storage.prune import Keep, prune
from garage.storage.run_directory import RunDirectory
from garage.storage.store import SnapshotStore
from garage.storage.writer import rewind
from storage.faulty_disk import FaultyDisk, QuickDisk
from storage.sample_runs import events_named, opened, written

TORN = b'{"event": "sna'
DAMAGE = {
    "zeros": b"\0" * 700 + b"\n",
    "half a line, then a whole one": b'{"event":"sn\n{"event":"start","at":"now"}\n',
    "no object": b"[]\n3\n\n",
    "and a torn end": b"\xff\xfe\n" + TORN,
}
APPENDS = {
    "a writer": lambda directory: opened(directory.path, "all", last_epoch=2).close(),
    "a pruning": lambda directory: prune(directory, Keep.of(["last"])),
    "a rewind": lambda directory: rewind(directory, 1),
}


@pytest.mark.parametrize("append", APPENDS.values(), ids=APPENDS.keys())
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_it_is_set_aside_and_every_whole_event_stays(tmp_path, damage, append):
    directory = RunDirectory(written(tmp_path / "run", range(3)))
    found = directory.events_path.read_bytes() + damage
    directory.events_path.write_bytes(found)
    before = list(directory.events())
    assert "events.jsonl is damaged in line" in SnapshotStore(directory.path).verify()[0]
    append(directory)
    assert SnapshotStore(directory.path).verify() == []
    assert list(directory.events())[: len(before)] == before
    (event,) = events_named(directory.path, "damaged_events")
    assert event["bytes"] == len(found) > event["kept"]
    (aside,) = directory.path.glob("events-damaged-*.jsonl")
    assert aside.read_bytes() == found
    append(directory)
    assert len(events_named(directory.path, "damaged_events")) == 1


def test_a_torn_end_alone_is_cut_and_not_kept(tmp_path):
    directory = RunDirectory(written(tmp_path / "run", range(3)))
    whole = directory.events_path.read_bytes()
    directory.events_path.write_bytes(whole + TORN)
    directory.mend_events(QuickDisk())
    assert directory.events_path.read_bytes() == whole
    assert list(directory.path.glob("events-damaged-*")) == []


def test_whichever_operation_of_the_mending_fails_no_event_is_lost(tmp_path):
    for n in range(1, 20):
        directory = RunDirectory(written(tmp_path / str(n), range(3)))
        pin(directory, 0)
        with directory.events_path.open("ab") as file:
            file.write(DAMAGE["zeros"])
        before = list(directory.events())
        disk = FaultyDisk(n, error=KeyboardInterrupt, torn=True)
        try:
            directory.mend_events(disk)
        except KeyboardInterrupt:
            assert list(directory.events())[: len(before)] == before
            directory.mend_events(QuickDisk())
            assert SnapshotStore(directory.path).verify() == []
            assert list(directory.events())[: len(before)] == before
        else:
            assert n > 6
            assert json.loads(directory.events_path.read_bytes().splitlines()[-1])["event"] == "damaged_events"
            return
    pytest.fail("it has more operations than that")
