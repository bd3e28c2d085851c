"""A run with a replay buffer: the same numbers however often it is stopped, in every snapshot mode."""

import copy
from pathlib import Path

import pytest

from experiment.parts import digests, new_trainer, rows, tiny, trained
from experiment.remembering import Remembering
from garage.experiment import Trainer
from garage.storage.run_directory import RunDirectory
from garage.storage.store import SnapshotStore


@pytest.fixture(scope="module")
def nine_digests(tmp_path_factory):
    """Of an uninterrupted run of nine epochs; its buffer has gone round by then."""
    path = tmp_path_factory.mktemp("nine")
    trained(path, 9, kind=Remembering)
    assert rows(path)[-1]["Drawn"] != rows(path)[-2]["Drawn"]
    return digests(path)


@pytest.mark.parametrize(
    "context",
    [
        {},
        {"snapshot_mode": "all"},
        {"snapshot_mode": "gap", "snapshot_gap": 2},
        {"snapshot_mode": "gap_overwrite", "snapshot_gap": 3},
    ],
)
def test_a_run_that_is_stopped_twice_is_the_same(context, nine_digests):
    trained("run", 4, kind=Remembering, context=context)
    for n_epochs in (7, 9):
        trainer = Trainer()
        trainer.restore("run")
        trainer.resume(n_epochs=n_epochs)
    assert digests("run") == nine_digests
    assert SnapshotStore(Path("run")).verify() == []


def test_values_go_into_objects_that_were_set_up(nine_digests):
    trained("run", 4, kind=Remembering)
    trainer = Trainer()
    trainer.setup(*tiny(kind=Remembering))
    trainer.restore("run")
    trainer.resume(n_epochs=9)
    assert digests("run") == nine_digests


def test_a_run_without_snapshots_can_be_saved_at_its_end(nine_digests):
    trainer = trained("run", 9, kind=Remembering, context={"snapshot_mode": "none"})
    trainer.save(8)
    assert digests("run") == nine_digests
    buffer = SnapshotStore(Path("run")).read().state["algo"]["buffer"]
    assert buffer["transitions"].captured().text() == trainer.algo.buffer.state_dict()["transitions"].captured().text()


def test_going_on_from_an_older_epoch_in_another_directory(nine_digests):
    trained("run", 6, kind=Remembering, context={"snapshot_mode": "all"})
    trainer = Trainer()
    trainer.restore("run", 2)
    trainer.resume(n_epochs=9)
    assert trainer.snapshot_dir.name == "run_1"
    assert digests(trainer.snapshot_dir) == nine_digests
    assert SnapshotStore(trainer.snapshot_dir).verify() == []


def test_saving_costs_what_is_new():
    trainer = new_trainer("run", kind=Remembering, capacity=40_000)
    trainer.train(n_epochs=12, batch_size=1000)
    written = [event["bytes"] for event in RunDirectory(Path("run")).events() if event["event"] == "snapshot"]
    assert len(trainer.algo.buffer) > 12_000
    assert max(written) < 4 * 3000 * 49  # at most what three epochs add, of 49 bytes a row, and the rest of the state


def test_an_algorithm_with_a_buffer_is_copied_with_it():
    trainer = trained("run", 2, kind=Remembering)
    other = copy.deepcopy(trainer.algo)
    assert other.buffer.n_added == trainer.algo.buffer.n_added > 0
    assert len(other.buffer) == len(trainer.algo.buffer)
