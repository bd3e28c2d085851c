"""A pinned snapshot stays, whatever the mode and whoever cleans up, until it is unpinned."""

import contextlib
import json
import os
import time

import msgspec
import pytest

from garage.errors import ArgumentError, DamagedError, NoSnapshotError, WriteError
from garage.storage.fork import fork
from garage.storage.pins import pin, pinned, read_pins, turn_to_remove_or_pin, unpin
from garage.storage.prune import Keep, prune
from garage.storage.run_directory import RunDirectory
from garage.storage.store import SnapshotStore
from garage.storage.writer import rewind
from storage.faulty_disk import FaultyDisk, QuickDisk
from storage.sample_runs import INFO, assert_holds, capture_of, newest, opened, unfinished, written

MODES = [("last", 1), ("gap_and_last", 4), ("gap_overwrite", 2)]


def trained(path, epochs, mode, gap=1):
    """Go on with a run, or begin it."""
    with contextlib.closing(opened(path, mode, gap, last_epoch=newest(path))) as writer:
        for epoch in epochs:
            writer.commit(capture_of(epoch))
    return RunDirectory(path)


@pytest.mark.parametrize(("mode", "gap"), MODES)
def test_it_outlives_its_mode_and_goes_when_it_is_unpinned(tmp_path, mode, gap):
    directory = trained(tmp_path, range(3), mode, gap)
    assert pin(directory, 2).epoch == 2
    trained(tmp_path, range(3, 9), mode, gap)
    kept = SnapshotStore(tmp_path).epochs()
    assert 2 in kept
    assert_holds(tmp_path, 2)
    assert pinned(directory, SnapshotStore(tmp_path).manifests()[0]) == {2}
    unpin(directory, 2)
    assert SnapshotStore(tmp_path).epochs() == kept
    trained(tmp_path, range(9, 13), mode, gap)
    assert 2 not in SnapshotStore(tmp_path).epochs()
    assert SnapshotStore(tmp_path).verify() == []


def test_a_run_is_pinned_while_it_is_written_to(tmp_path):
    with contextlib.closing(opened(tmp_path, "last")) as writer:
        for epoch in range(8):
            writer.commit(capture_of(epoch))
            if epoch in {1, 4}:
                assert pin(writer.directory).epoch == epoch
    assert SnapshotStore(tmp_path).epochs() == [1, 4, 6, 7]
    for epoch in (1, 4):
        assert_holds(tmp_path, epoch)


def test_somebody_who_was_stopped_in_his_turn_is_not_waited_for(tmp_path):
    with contextlib.closing(opened(tmp_path, "last")) as writer:
        for epoch in range(3):
            writer.commit(capture_of(epoch))
        with turn_to_remove_or_pin(writer.directory):
            begun = time.monotonic()
            writer.commit(capture_of(3))
            assert time.monotonic() - begun > 0.5  # he had his time
    assert SnapshotStore(tmp_path).epochs() == [2, 3]


def test_a_process_that_was_forked_meanwhile_does_not_keep_the_turn(tmp_path):
    directory = RunDirectory(written(tmp_path, range(2)))
    reading, writing = os.pipe()
    with turn_to_remove_or_pin(directory):
        child = os.fork()
        if child == 0:
            os.close(writing)
            os.read(reading, 1)  # until the parent has pinned
            os._exit(0)
    pin(directory)
    os.close(writing)
    os.close(reading)
    os.waitpid(child, 0)


class Superseding(QuickDisk):
    """Removes a snapshot when pins are written, as somebody may who has not waited."""

    def __init__(self, path):
        self.path = path

    def write_whole(self, path, parts):
        super().write_whole(path, parts)
        self.path.unlink(missing_ok=True)


def test_what_is_superseded_meanwhile_is_not_pinned(tmp_path):
    directory = RunDirectory(written(tmp_path, range(3)))
    pin(directory, 2)
    with pytest.raises(NoSnapshotError, match=r"Epoch 0 of .* was superseded meanwhile, so it was not pinned"):
        pin(directory, 0, Superseding(directory.manifest_path(0)))
    assert read_pins(directory).keys() == {2}


def test_prune_keeps_it(tmp_path):
    directory = RunDirectory(written(tmp_path, range(6)))
    pin(directory, 1)
    pin(directory, "first")
    assert prune(directory, Keep.of(["last"]), dry_run=True).kept == [0, 1, 5]
    assert prune(directory, Keep.of(["last"])).kept == [0, 1, 5]
    unpin(directory, 1)
    assert prune(directory, Keep.of(["last"])).kept == [0, 5]
    assert SnapshotStore(tmp_path).verify() == []


def test_a_fork_has_no_pins_and_leaves_those_of_its_parent(tmp_path):
    path = written(tmp_path / "parent", range(3))
    pin(RunDirectory(path), 1)
    fork(path, 1, tmp_path / "child")
    assert read_pins(RunDirectory(tmp_path / "child")) == {}
    trained(path, range(3, 6), "last")
    assert SnapshotStore(path).epochs() == [1, 4, 5]
    info = msgspec.structs.replace(INFO, id="f" * 16)
    with contextlib.closing(opened(tmp_path / "child", "last", info=info, last_epoch=1)) as writer:
        for epoch in range(2, 5):
            writer.commit(capture_of(epoch))
    assert SnapshotStore(tmp_path / "child").epochs() == [3, 4]
    assert_holds(path, 1)


def test_another_state_under_a_pinned_epoch_is_not_pinned(tmp_path):
    directory = RunDirectory(written(tmp_path, range(4)))
    pin(directory, 3)
    rewind(directory, 1)
    with contextlib.closing(opened(tmp_path, "last", last_epoch=1)) as writer:
        for epoch in (2, 3):
            writer.commit(capture_of(epoch, variant=1))
        assert pinned(directory, SnapshotStore(tmp_path).manifests()[0]) == frozenset()
        for epoch in (4, 5):
            writer.commit(capture_of(epoch, variant=1))
    assert SnapshotStore(tmp_path).epochs() == [4, 5]
    assert SnapshotStore(tmp_path).verify() == []


@pytest.mark.parametrize("text", ["{", "[]", '{"x": "y"}', '{"1": 2}', '{"-1": ""}', '{"%s": ""}' % ("9" * 5000), "\0"])
def test_while_pins_cannot_be_read_everything_stays(tmp_path, text):
    directory = RunDirectory(written(tmp_path, range(4)))
    directory.pins_path.write_text(text)
    with contextlib.closing(opened(tmp_path, "last", last_epoch=3)) as writer:
        assert "pins.json is damaged" in writer.problems[0]
        for epoch in (4, 5):
            writer.commit(capture_of(epoch))
    assert SnapshotStore(tmp_path).epochs() == [0, 1, 2, 3, 4, 5]
    for change in (lambda: pin(directory), lambda: unpin(directory, 1), lambda: prune(directory, Keep.of(["last"]))):
        with pytest.raises(DamagedError, match=r"pins\.json is damaged: .*every snapshot counts as pinned"):
            change()
    assert SnapshotStore(tmp_path).epochs() == [0, 1, 2, 3, 4, 5]
    directory.pins_path.unlink()
    assert prune(directory, Keep.of(["last"])).kept == [5]


def test_what_cannot_be_pinned(tmp_path):
    directory = RunDirectory(written(tmp_path, range(2)))
    with pytest.raises(NoSnapshotError, match="There is no snapshot of epoch 9"):
        pin(directory, 9)
    with pytest.raises(ArgumentError, match=r"Epoch 1 of .* is not pinned; pinned are: none"):
        unpin(directory, 1)
    assert not directory.pins_path.exists()


def test_each_operation_of_a_pinning_is_refused(tmp_path):
    directory = RunDirectory(written(tmp_path, range(3)))
    pin(directory, 0)
    for n in range(1, 10):
        disk = FaultyDisk(n)
        try:
            pin(directory, 1, disk)
        except WriteError:
            assert read_pins(directory).keys() in ({0}, {0, 1})
            assert unfinished(tmp_path) == []
        else:
            assert n > 3
            break
    assert json.loads(directory.pins_path.read_bytes()).keys() == {"0", "1"}
