"""Trainer.resume and Trainer.save: the same numbers as an uninterrupted run, and where they are written."""

import csv
import random
import sys
import types
from pathlib import Path

import msgspec
import pytest

from experiment.parts import (
    Fuse,
    digests,
    events,
    everything_below,
    kept,
    messages,
    new_trainer,
    opaque,
    rows,
    tiny,
    trained,
)
from garage.errors import ArgumentError, InUseError, NothingLeftError
from garage.experiment import ExperimentContext, Trainer
from garage.experiment.deterministic import set_seed
from garage.process import get_seed, set_process_seed
from garage.storage.run_directory import RunDirectory
from garage.storage.store import SnapshotStore


@pytest.fixture(scope="module")
def six_digests(tmp_path_factory):
    """Of an uninterrupted run of six epochs."""
    path = tmp_path_factory.mktemp("six")
    trained(path, 6)
    return digests(path)


def restored(path, which="last", context=None):
    trainer = Trainer(context)
    trainer.restore(path, which)
    return trainer


def info(path):
    return RunDirectory(Path(path)).info()


def table(path):
    with Path(path, "progress.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_n_epochs_is_the_total_and_what_is_left_out_stays(six_digests):
    trained("run", 2)
    trainer = restored("run")
    trainer.resume(n_epochs=6)
    assert digests("run") == six_digests
    assert [int(row["epoch"]) for row in table("run")] == [0, 1, 2, 3, 4, 5]
    assert SnapshotStore(Path("run")).read().manifest.train_args["batch_size"] == 60


def test_resume_in_the_same_process_again_and_again(six_digests):
    trainer = trained("run", 2)
    for n_epochs in (3, 5, 6):
        trainer.resume(n_epochs=n_epochs)
    assert digests("run") == six_digests
    assert events("run").count("resume") == 3


def test_an_interrupted_run_goes_on_to_its_own_total(six_digests):
    Fuse.blows_at = 4
    with pytest.raises(EOFError):
        trained("run", 6, kind=Fuse)
    Fuse.blows_at = None
    restored("run").resume()
    assert digests("run") == six_digests


def test_another_batch_size_from_there_on():
    trained("run", 3, batch_size=60)
    trainer = restored("run")
    trainer.resume(n_epochs=5, batch_size=300)
    steps = [row["TotalEnvSteps"] for row in rows("run")]
    assert steps[-1] - steps[-2] >= 300
    assert trainer.stats.total_env_steps == steps[-1]
    assert Trainer().restore("run").batch_size == 300


def test_lanes_and_groups_chosen_at_the_first_epoch_stay():
    trained("run", 1, batch_size=600)
    shapes = SnapshotStore(Path("run")).read().state["sampler"]
    restored("run").resume(n_epochs=2, batch_size=60)
    assert SnapshotStore(Path("run")).read().state["sampler"] | {"mean_lengths": {}} == shapes | {"mean_lengths": {}}


def test_elapsed_time_goes_on(capsys):
    trainer = trained("run", 2)
    before = trainer.stats.elapsed_seconds
    assert before > 0
    trainer = restored("run")
    assert trainer.stats.elapsed_seconds == before
    trainer.resume(n_epochs=3)
    assert trainer.stats.elapsed_seconds > before
    assert restored("run").stats.elapsed_seconds == trainer.stats.elapsed_seconds
    last_words = [line.rpartition(" | ")[2].split() for line in capsys.readouterr().out.splitlines()]
    times = [float(words[1]) for words in last_words if words[:1] == ["Time"]]
    assert len(times) == 3
    assert times == sorted(times)
    assert all(0 <= time < 60 for time in times)


def test_into_the_contexts_directory(six_digests):
    trained("parent", 3)
    before = everything_below("parent")
    trainer = restored("parent", context=ExperimentContext("child", snapshot_mode="all"))
    assert not Path("child").exists()
    trainer.resume(n_epochs=6)
    assert everything_below("parent") == before
    assert trainer.snapshot_dir == Path("child")
    assert digests("child") == six_digests
    assert kept("child") == [2, 3, 4, 5]
    parent = info("child").parent
    assert (parent.run, parent.epoch, parent.digest) == (info("parent").id, 2, digests("parent")[2])
    assert Path(parent.path) == Path("parent").absolute()
    assert len(table("child")) == 6
    assert info("child").id != info("parent").id


@pytest.mark.parametrize("which", ["last", 2])
def test_in_place_from_the_newest(which, six_digests):
    trained("run", 3)
    trainer = restored("run", which)
    trainer.resume(n_epochs=6)
    assert trainer.snapshot_dir == Path("run")
    assert digests("run") == six_digests
    assert kept("run") == [4, 5]
    assert [path.name for path in Path().iterdir()] == ["run"]


def test_from_an_older_one_beside_it(six_digests):
    trained("run", 4, context={"snapshot_mode": "all", "x_axis": "policy/Entropy"})
    before = everything_below("run")
    trainer = restored("run", 1)
    trainer.resume(n_epochs=6)
    assert trainer.snapshot_dir == Path("run_1")
    assert everything_below("run") == before
    assert digests("run_1") == six_digests
    assert kept("run_1") == [1, 2, 3, 4, 5]
    fork = info("run_1")
    assert (fork.parent.run, fork.parent.epoch, fork.parent.digest) == (info("run").id, 1, six_digests[1])
    assert (fork.name, fork.snapshot_mode, fork.x_axis, fork.seed) == ("run_1", "all", "policy/Entropy", 1)
    restored("run", 0).resume(n_epochs=2)
    assert digests("run_2") == six_digests[:2]


def test_the_snapshot_mode_of_a_run_is_kept_without_a_context(six_digests):
    trained("run", 3, context={"snapshot_mode": "gap", "snapshot_gap": 2, "x_axis": "Evaluation/Iteration"})
    assert kept("run") == [0, 2]
    restored("run").resume(n_epochs=6)
    assert kept("run") == [0, 2, 4]
    assert digests("run") == six_digests
    assert list(table("run")[0])[:2] == ["epoch", "Evaluation/Iteration"]


def test_a_contexts_snapshot_mode_and_axis_hold_in_place_too():
    trained("run", 2)
    context = ExperimentContext("run", snapshot_mode="all", x_axis="Evaluation/Iteration")
    restored("run", context=context).resume(n_epochs=5)
    assert kept("run") == [0, 1, 2, 3, 4]
    assert info("run").snapshot_mode == "all"
    assert list(table("run")[0])[:2] == ["epoch", "Evaluation/Iteration"]


def test_in_place_from_an_older_one_sets_the_later_ones_aside(six_digests):
    trained("run", 4, context={"snapshot_mode": "all"})
    restored("run", 1, ExperimentContext("run", snapshot_mode="all")).resume(n_epochs=6)
    assert digests("run") == six_digests
    assert kept("run") == [0, 1, 2, 3, 4, 5]
    assert sorted(path.name[:6] for path in Path("run/snapshots/abandoned").iterdir()) == ["000002", "000003"]


def test_another_seed_is_a_fork(capsys, six_digests):
    trained("run", 3)
    set_seed(7)
    capsys.readouterr()
    trainer = restored("run")
    assert "seed 1 -> 7: differs from its parent from here" in messages(capsys.readouterr().out)
    trainer.resume(n_epochs=6)
    assert trainer.snapshot_dir == Path("run_1")
    assert digests("run_1")[:3] == six_digests[:3] == digests("run")
    assert not set(digests("run_1")[3:]) & set(six_digests)
    assert info("run_1").seed == 7
    set_process_seed(None)
    capsys.readouterr()
    again = restored("run_1")
    assert "differs" not in capsys.readouterr().out
    again.resume(n_epochs=7)
    assert again.snapshot_dir == Path("run_1")
    set_seed(7)
    other = restored("run")
    other.resume(n_epochs=7)
    assert other.snapshot_dir == Path("run_2")
    assert digests("run_2") == digests("run_1")


def test_another_seed_never_in_place():
    trained("run", 3)
    before = everything_below("run")
    set_seed(7)
    with pytest.raises(ArgumentError, match=r"another seed differs from its parent.*Leave set_seed out"):
        restored("run", context=ExperimentContext("run")).resume(n_epochs=4)
    assert everything_below("run") == before
    trainer = restored("run", context=ExperimentContext("child"))
    trainer.resume(n_epochs=4)
    assert trainer.snapshot_dir == Path("child")


def test_the_same_seed_is_exact(capsys, six_digests):
    trained("run", 3)
    set_seed(1)
    trainer = restored("run")
    assert "differs" not in capsys.readouterr().out
    trainer.resume(n_epochs=6)
    assert digests("run") == six_digests
    assert get_seed() == 1


def test_without_a_context_the_place_is_named_after_the_script(monkeypatch):
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    trained(None, 1)
    trained(None, 1)
    assert sorted(path.name for path in Path("data/local/experiment").iterdir()) == ["session", "session_1"]
    main.__file__ = "somewhere/my_script.py"
    trainer = trained(None, 1)
    assert trainer.snapshot_dir == Path("data/local/experiment/my_script")


def test_nothing_left_tidies_the_table(six_digests):
    trained("run", 6)
    Path("run/progress.csv").unlink()
    with pytest.raises(NothingLeftError, match=r"6 epochs are finished and n_epochs=6"):
        restored("run").resume()
    assert [int(row["epoch"]) for row in table("run")] == [0, 1, 2, 3, 4, 5]


def test_nothing_left_of_an_older_snapshot_makes_no_fork():
    trained("run", 4, context={"snapshot_mode": "all"})
    with pytest.raises(NothingLeftError, match=r"2 epochs are finished and n_epochs=2"):
        restored("run", 1).resume(n_epochs=2)
    assert [path.name for path in Path().iterdir()] == ["run"]


def test_save_is_for_the_epoch_in_memory():
    trainer = trained("run", 2)
    for epoch in (0, 2, -1, True, 1.0, "1"):
        with pytest.raises(ArgumentError, match="expected 1, the epoch of the state in memory"):
            trainer.save(epoch)
    before = SnapshotStore(Path("run")).read().manifest
    trainer.save(1)
    after = SnapshotStore(Path("run")).read().manifest
    assert (before.requested, after.requested) == (False, True)
    apart = {"signature": None, "checksum": "", "written_at": "", "requested": False}
    assert msgspec.structs.replace(after, **apart) == msgspec.structs.replace(before, **apart)
    assert len(rows("run")) == 2
    assert "replaced" in events("run")
    for epoch in (1, -1, True, 1.0, "1"):
        with pytest.raises(ArgumentError, match="expected 0 before training"):
            new_trainer("other").save(epoch)


def test_save_in_the_mode_none_is_the_only_one(six_digests):
    trainer = trained("run", 3, context={"snapshot_mode": "none"})
    assert kept("run") == []
    trainer.save(2)
    trainer.resume(n_epochs=5)
    trainer.save(4)
    assert kept("run") == [2, 4]
    restored("run").resume(n_epochs=6)
    assert digests("run") == six_digests
    restored("run").resume(n_epochs=6)
    assert digests("run") == six_digests


def test_save_before_training_and_after_restoring():
    trainer = new_trainer("run")
    trainer.save(0)
    assert kept("run") == [0]
    assert rows("run") == []
    trainer.train(n_epochs=3, batch_size=60)
    trained("undisturbed", 3)
    assert digests("run") == digests("undisturbed")
    other = restored("run", context=ExperimentContext("copy"))
    other.save(2)
    assert kept("copy") == [2]
    assert digests("copy") == digests("run")
    again = restored("copy")
    again.resume(n_epochs=4)
    trained("longer", 4)
    assert digests("copy") == digests("longer")


def test_what_another_trainer_wrote_meanwhile_is_not_overwritten():
    trainer = trained("run", 2)
    restored("run").resume(n_epochs=4)
    before = digests("run")
    with pytest.raises(InUseError, match=r"changed by another process.*Restore from it with a new Trainer"):
        trainer.resume(n_epochs=3)
    assert digests("run") == before


def test_an_opaque_run_goes_on_in_the_same_process():
    set_seed(1)
    trainer = Trainer(ExperimentContext("run"))
    trainer.setup(*opaque())
    trainer.train(n_epochs=2, batch_size=60)
    trainer.resume(n_epochs=4)
    once = Trainer(ExperimentContext("once"))
    once.setup(*opaque())
    once.train(n_epochs=4, batch_size=60)
    assert digests("run") == digests("once")


def test_own_objects_leave_their_recipe_beside_the_first():
    trained("run", 2)
    trainer = Trainer()
    trainer.setup(*tiny(max_kl_step=0.5))
    trainer.restore("run")
    trainer.resume(n_epochs=3)
    assert len(list(Path("run").glob("recipe-*"))) == 1
    assert restored("run").algo.max_kl_step == 0.5
    assert restored("run", 1).algo.max_kl_step == 0.01


def test_a_seed_that_is_set_after_restoring_forks_too():
    trained("run", 2)
    trainer = restored("run")
    set_seed(7)
    trainer.resume(n_epochs=4)
    assert kept("run") == [0, 1]
    assert digests("run_1")[:2] == digests("run")
    trained("undisturbed", 4)
    assert digests("run_1")[2:] != digests("undisturbed")[2:]


def test_a_seed_that_comes_too_late_changes_no_number_and_is_said(capsys, six_digests):
    late = r"The seed 7 was set too late for this run, which goes on with 1: call set_seed before setup"
    trainer = new_trainer("run")
    set_seed(7)
    for go_on in (lambda: trainer.train(3, 60), lambda: trainer.resume(n_epochs=6)):
        capsys.readouterr()
        go_on()
        assert capsys.readouterr().out.count(late) == 1
    assert digests("run") == six_digests
    set_seed(1)
    trainer.resume(n_epochs=7)
    assert "too late" not in capsys.readouterr().out


def test_a_snapshot_of_before_training_asks_how_much_there_is_to_be(six_digests):
    new_trainer("run").save(0)
    for given in ({}, {"n_epochs": 6}, {"batch_size": 60}):
        trainer = restored("run")
        with pytest.raises(ArgumentError, match=r"saved before any training.*resume\(n_epochs=\.\.\., batch_size="):
            trainer.resume(**given)
    trainer.resume(n_epochs=5, batch_size=60)
    trainer.resume(n_epochs=6)
    assert digests("run") == six_digests


def test_damaged_stored_episodes_leave_the_state_whole():
    trained("run", 2, store_episodes=True)
    manifest = SnapshotStore(Path("run")).read().manifest
    of_episodes = {
        piece.chunk for leaf in manifest.leaves if leaf.path.startswith("episodes/") for piece in leaf.pieces
    }
    of_state = {
        piece.chunk for leaf in manifest.leaves if not leaf.path.startswith("episodes/") for piece in leaf.pieces
    }
    assert of_episodes
    assert not of_episodes & of_state


def test_a_refused_resume_from_an_older_snapshot_changes_nothing():
    trained("run", 5, context={"snapshot_mode": "all"})
    before = rows("run")
    trainer = Trainer(ExperimentContext("run", snapshot_mode="all"))
    trainer.restore("run", 1)
    with pytest.raises(NothingLeftError):
        trainer.resume(n_epochs=2)
    assert rows("run") == before
    assert kept("run") == [0, 1, 2, 3, 4]


def test_a_context_that_goes_on_in_place_from_an_older_snapshot_rewinds():
    trained("run", 5, context={"snapshot_mode": "all"})
    expected = digests("run")
    trainer = Trainer(ExperimentContext("run", snapshot_mode="all"))
    trainer.restore("run", 1)
    trainer.resume(n_epochs=4)
    assert digests("run") == expected[:4]
    assert "rewind" in events("run")
    assert len(list(Path("run").glob("metrics-abandoned-*.jsonl"))) == 1
    assert len(list(Path("run/snapshots/abandoned").glob("*.json"))) == 3


def test_what_was_saved_before_training_is_no_finished_epoch(six_digests):
    new_trainer("run").save(0)
    set_process_seed(None)
    trainer = restored("run")
    assert trainer.stats.last_itr == 0
    assert trainer.restore("run").start_epoch == 0
    trainer.resume(n_epochs=6, batch_size=60)
    assert digests("run") == six_digests


def test_an_equal_seed_set_after_restoring_leaves_the_process_generators_as_they_were():
    trained("run", 2)
    trainer = restored("run")
    expected = random.getstate()
    set_seed(1)
    random.random()
    trainer.resume(n_epochs=3)
    assert random.getstate() == expected


def test_threads_are_those_that_the_run_was_trained_with():
    trainer = Trainer(ExperimentContext("run"), n_threads=2)
    trainer.setup(*tiny("CartPole-v1"))
    trainer.train(n_epochs=1, batch_size=60)
    saved = SnapshotStore(Path("run")).read().manifest.fingerprint["threads"]
    restored("run").resume(n_epochs=2)
    assert SnapshotStore(Path("run")).read().manifest.fingerprint["threads"] == saved
