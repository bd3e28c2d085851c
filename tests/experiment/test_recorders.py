"""What is derived from the metrics of a run: its events for TensorBoard and its frame, through whatever befalls it."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from experiment.parts import digests, new_trainer, rows, trained
from garage import wrap_experiment
from garage.errors import ArgumentError, NothingLeftError, OrderError
from garage.experiment import ExperimentContext, Trainer
from garage.process import set_process_seed
from garage.storage.run_directory import RunDirectory
from garage.storage.writer import rewind
from recording.watching_tensorboard import Watcher

WITH_EVENTS = {"snapshot_mode": "all", "tensorboard": True}
RETURN = "Evaluation/AverageReturn"


def restored(path, epoch="last", context=None):
    trainer = Trainer(context)
    trainer.restore(path, epoch)
    return trainer


def expected(path, x="TotalEnvSteps"):
    return [(row[x], np.float32(row[RETURN])) for row in rows(path)]


def test_events_go_on_through_resumes_and_rewinds_and_change_no_numbers():
    watcher = Watcher("run")
    trained("run", 4, context=WITH_EVENTS)
    assert watcher.points(RETURN) == expected("run")
    restored("run").resume(n_epochs=6)
    assert watcher.points(RETURN) == Watcher("run").points(RETURN) == expected("run")
    rewind(RunDirectory(Path("run")), 1)
    restored("run").resume(n_epochs=5, batch_size=100)
    assert len(expected("run")) == 5
    assert watcher.points(RETURN) == Watcher("run").points(RETURN) == expected("run")
    trained("without", 4)
    assert digests("without")[:2] == digests("run")[:2]


def test_a_fork_has_the_points_of_its_parent_too():
    trained("run", 3, context=WITH_EVENTS)
    restored("run", 1).resume(n_epochs=4)
    assert Watcher("run_1").points(RETURN) == expected("run_1")
    assert len(expected("run_1")) == 4


def test_a_run_can_be_given_events_later_and_the_ones_before_are_there():
    trained("run", 3)
    restored("run", context=ExperimentContext("run", tensorboard=True)).resume(n_epochs=4)
    assert Watcher("run").points(RETURN) == expected("run")


def test_events_of_a_run_that_was_killed_when_its_last_epoch_was_finished():
    trained("run", 2, context=WITH_EVENTS)
    next(Path("run").glob("events.out.*")).unlink()
    with pytest.raises(NothingLeftError):
        restored("run").resume()
    assert Watcher("run").points(RETURN) == expected("run")


def test_the_x_axis_is_the_runs(monkeypatch):
    trained("run", 2, context=WITH_EVENTS | {"x_axis": "Evaluation/Iteration"})
    assert Watcher("run").points(RETURN) == expected("run", "Evaluation/Iteration")
    trained("other", 2, context=WITH_EVENTS | {"x_axis": "epoch"})
    assert [x for x, _ in Watcher("other").points(RETURN)] == [0, 1]


def test_an_x_axis_that_is_no_metric_is_said():
    with pytest.raises(ArgumentError, match="There is no metric 'Steps' for the x axis; this experiment has: "):
        trained("run", 2, context=WITH_EVENTS | {"x_axis": "Steps"})


def test_as_an_option_of_an_experiment():
    @wrap_experiment(tensorboard=True, archive_launch_repo=False)
    def with_events(ctxt=None):
        trained(ctxt.snapshot_dir, 1, context={"tensorboard": ctxt.tensorboard})
        return ctxt

    path = with_events().snapshot_dir
    assert RunDirectory(Path(path)).info().tensorboard
    assert Watcher(path).points(RETURN) == expected(path)
    assert not list(Path(with_events({"tensorboard": False}).snapshot_dir).glob("events.out*"))
    with pytest.raises(ArgumentError, match="tensorboard must be True or False, got 'yes'"):
        with_events({"tensorboard": "yes"})


def test_metrics_as_a_frame():
    trainer = new_trainer("run", context={"snapshot_mode": "all"})
    with pytest.raises(OrderError, match=r"to_frame needs epochs: call train\(\.\.\.\) or restore"):
        trainer.to_frame()
    trainer.train(n_epochs=3, batch_size=60)
    set_process_seed(None)
    frame = trainer.to_frame()
    assert list(frame.index) == [0, 1, 2]
    assert frame.index.name == "epoch"
    assert frame.columns[0] == "TotalEnvSteps"
    assert frame[RETURN].tolist() == [row[RETURN] for row in rows("run")]
    assert "digest" not in frame.columns
    older = restored("run", 1)
    assert list(older.to_frame().index) == [0, 1]
    older.resume(n_epochs=4)
    assert older.to_frame()[RETURN].tolist() == [row[RETURN] for row in rows("run_1")]
    assert [a < b for a, b in itertools.pairwise(older.to_frame()["TotalEnvSteps"])] == [True] * 3
