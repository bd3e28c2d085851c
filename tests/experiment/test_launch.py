"""launch: what `garage run --resume` does."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiment.parts import Fuse, digests, kept, messages, tiny, trained
from garage import wrap_experiment
from garage.errors import ArgumentError, NoSnapshotError, NothingLeftError
from garage.experiment import Trainer, recipes
from garage.experiment.context import launch
from garage.experiment.deterministic import set_seed
from garage.experiment.directories import DATA

EXPERIMENTS = DATA / "experiment"


@wrap_experiment(archive_launch_repo=False)
def run(ctxt=None, seed=1, n_epochs=3, option=None):
    set_seed(seed)
    trainer = Trainer(ctxt)
    trainer.setup(*tiny(kind=Fuse))
    trainer.train(n_epochs=n_epochs, batch_size=60)
    return trainer


@wrap_experiment(archive_launch_repo=False)
def run_2(ctxt=None, seed=1, n_epochs=3, option=None):
    set_seed(seed)
    trainer = Trainer(ctxt)
    trainer.setup(*tiny())
    trainer.train(n_epochs=n_epochs, batch_size=40)
    return trainer


@wrap_experiment(archive_launch_repo=False)
def fine_tune(ctxt=None, seed=1, parent="parent", n_epochs=5):
    set_seed(seed)
    trainer = Trainer(ctxt)
    trainer.restore(parent, 1)
    trainer.resume(n_epochs=n_epochs)
    return trainer


@pytest.fixture(scope="module")
def three_digests(tmp_path_factory):
    path = tmp_path_factory.mktemp("three")
    trained(path, 3)
    return digests(path)


def blown_at(epoch, **arguments):
    """A run that stops in that epoch."""
    Fuse.blows_at = epoch
    with pytest.raises(EOFError):
        launch(run, arguments, resume="auto")
    Fuse.blows_at = None


def directories():
    return sorted(path.name for path in EXPERIMENTS.iterdir())


def test_never_starts_anew_each_time():
    for _ in range(2):
        launch(run, {"n_epochs": 1}, resume="never")
    assert directories() == ["run", "run_1"]


@pytest.mark.parametrize("resume", ["auto", "must"])
def test_goes_on_by_values_alone(resume, three_digests, monkeypatch, capsys):
    blown_at(2)
    assert kept(EXPERIMENTS / "run") == [0, 1]

    def refuse(recipe):
        pytest.fail("unpickled")

    monkeypatch.setattr(recipes, "make", lambda algo, env, surroundings: b"{}\n")
    monkeypatch.setattr(recipes, "load", refuse)
    capsys.readouterr()
    trainer = launch(run, {}, resume=resume)
    assert "Restore from snapshot saved in data/local/experiment/run" in messages(capsys.readouterr().out)
    assert trainer.stats.last_itr == 3
    assert directories() == ["run"]
    assert digests(EXPERIMENTS / "run") == three_digests


def test_auto_starts_what_is_not_there_and_must_does_not():
    with pytest.raises(
        NoSnapshotError, match=r"No run of data/local/experiment/run with these arguments has a snapshot.*--resume auto"
    ):
        launch(run, {}, resume="must")
    assert not DATA.exists()
    launch(run, {}, resume="auto")
    assert directories() == ["run"]


def test_killed_before_the_first_snapshot(three_digests):
    blown_at(0)
    assert kept(EXPERIMENTS / "run") == []
    with pytest.raises(NoSnapshotError, match="No run of"):
        launch(run, {}, resume="must")
    launch(run, {}, resume="auto")
    assert directories() == ["run"]
    assert digests(EXPERIMENTS / "run") == three_digests


def test_nothing_left_says_both_numbers():
    launch(run, {}, resume="auto")
    with pytest.raises(NothingLeftError, match=r"3 epochs are finished and n_epochs=3"):
        launch(run, {}, resume="auto")


def test_other_arguments_are_listed():
    launch(run, {"seed": 1, "option": [1, (2, {"x": float("inf")})]}, resume="auto")
    for resume in ("auto", "must"):
        with pytest.raises(ArgumentError) as caught:
            launch(run, {"seed": 2}, resume=resume)
        assert str(caught.value).splitlines() == [
            "There is a run of that name, data/local/experiment/run, but with other arguments:",
            "  option: [1, [2, {'x': 'inf'}]] there, None here",
            "  seed: 1 there, 2 here",
            "Give the same arguments to go on with it, or --resume never (or another name) to start a new one.",
        ]
    with pytest.raises(NothingLeftError):
        launch(run, {"option": (1, [2, {"x": float("inf")}])}, resume="auto")
    assert directories() == ["run"]


def test_the_newest_with_equal_arguments_that_has_a_snapshot():
    blown_at(1)
    for _ in range(2):
        launch(run, {"seed": 2}, resume="never")
    Fuse.blows_at = 0
    with pytest.raises(EOFError):
        launch(run, {}, resume="never")
    Fuse.blows_at = None
    shutil.copytree(EXPERIMENTS / "run", EXPERIMENTS / "run_old")  # no number, so no run of that name
    Path(EXPERIMENTS, "run_9").mkdir()  # no run.json, so no run
    assert launch(run, {}, resume="auto").snapshot_dir == EXPERIMENTS / "run"
    assert launch(run, {"seed": 2}, resume="never").snapshot_dir == EXPERIMENTS / "run_4"


def test_another_experiments_run_is_no_run_of_that_name(three_digests):
    launch(run_2, {}, resume="auto")
    with pytest.raises(NoSnapshotError, match="No run of data/local/experiment/run "):
        launch(run, {}, resume="must")
    launch(run, {}, resume="auto")
    assert directories() == ["run", "run_2"]
    assert digests(EXPERIMENTS / "run") == three_digests != digests(EXPERIMENTS / "run_2")
    launch(run_2, {"seed": 2, "n_epochs": 1}, resume="never")
    assert directories() == ["run", "run_2", "run_2_1"]
    with pytest.raises(NothingLeftError):  # and the other arguments of run_2_1 are none of its
        launch(run, {}, resume="auto")


def test_the_run_of_a_script_is_found_under_its_modules_name():
    blown_at(2)
    info_path = EXPERIMENTS / "run" / "run.json"
    info_path.write_text(info_path.read_text().replace(f"{__name__}:run", "__main__:run"))
    assert launch(run, {}, resume="auto").snapshot_dir == EXPERIMENTS / "run"


def test_a_fork_without_a_function_of_its_own_is_no_run_of_that_name():
    launch(run, {}, resume="auto")
    fork = Trainer()
    fork.restore(EXPERIMENTS / "run", 1)
    fork.resume(n_epochs=4)
    assert fork.snapshot_dir == EXPERIMENTS / "run_1"
    with pytest.raises(NothingLeftError, match="3 epochs are finished"):
        launch(run, {}, resume="auto")


def test_a_function_that_restores_goes_on_from_its_own_snapshots(monkeypatch, capsys):
    trained("parent", 3, context={"snapshot_mode": "all"}, kind=Fuse)
    trained("undisturbed", 5)
    Fuse.blows_at = 4
    with pytest.raises(EOFError):
        launch(fine_tune, {}, resume="auto")
    Fuse.blows_at = None
    path = EXPERIMENTS / "fine_tune"
    assert kept(path) == [2, 3]
    capsys.readouterr()
    trainer = launch(fine_tune, {}, resume="auto")
    assert "This run has snapshots of its own: going on from them instead of from parent" in capsys.readouterr().out
    assert trainer.stats.last_itr == 5
    assert digests(path) == digests("undisturbed")
    assert digests("parent") == digests(path)[:3]
    with pytest.raises(NothingLeftError):
        launch(fine_tune, {}, resume="auto")


def test_a_fork_with_another_seed_goes_on_from_its_own_snapshots(capsys):
    trained("parent", 3, context={"snapshot_mode": "all"}, kind=Fuse)
    arguments = {"seed": 7}
    Fuse.blows_at = 2
    for epoch in (2, 3, 4):  # killed before its first snapshot, and later
        Fuse.blows_at = epoch
        with pytest.raises(EOFError):
            launch(fine_tune, arguments, resume="auto")
    Fuse.blows_at = None
    launch(fine_tune, arguments, resume="auto")
    launch(fine_tune, arguments | {"parent": Path("parent").absolute().as_posix()}, resume="never")
    assert digests(EXPERIMENTS / "fine_tune") == digests(EXPERIMENTS / "fine_tune_1")
    assert digests(EXPERIMENTS / "fine_tune")[2:] != digests("parent")[2:]
    assert capsys.readouterr().out.count("seed 1 -> 7: differs from its parent from here") == 2  # once a new run


def test_a_choice_that_is_none():
    with pytest.raises(ArgumentError, match="resume must be one of auto, must, never; got 'yes'"):
        launch(run, {}, resume="yes")


def test_experiments_that_it_starts_itself_are_new_ones():
    @wrap_experiment(archive_launch_repo=False)
    def outer(ctxt=None):
        return run(n_epochs=1).snapshot_dir

    assert [launch(outer, {}, resume="never").name for _ in range(2)] == ["run", "run_1"]


def test_a_start_that_trains_nothing_is_none_that_the_run_went_on_with():
    launch(run, {}, resume="auto")
    provenance = EXPERIMENTS / "run" / "provenance.json"
    as_written = provenance.read_bytes()
    with pytest.raises(NothingLeftError):
        launch(run, {}, resume="auto")
    assert provenance.read_bytes() == as_written
    trainer = Trainer()
    trainer.restore(EXPERIMENTS / "run")
    trainer.resume(n_epochs=4)
    assert len(json.loads(provenance.read_bytes())["earlier"]) == 1


def test_a_start_that_fails_takes_no_name():
    for resume in ("never", "auto", "never"):
        with pytest.raises(NoSnapshotError):
            launch(fine_tune, {"parent": "nowhere"}, resume=resume)
        assert not list(EXPERIMENTS.iterdir())
    trained("nowhere", 2, context={"snapshot_mode": "all"})
    assert launch(fine_tune, {"parent": "nowhere", "n_epochs": 3}, resume="auto").snapshot_dir.name == "fine_tune"


@wrap_experiment(archive_launch_repo=False)
def interrupted(ctxt=None, seed=1):
    (Path(ctxt.snapshot_dir) / "mine.txt").write_text("what the function wrote")
    raise EOFError


def test_what_a_function_wrote_before_it_failed_stays():
    with pytest.raises(EOFError):
        launch(interrupted, {}, resume="auto")
    assert (EXPERIMENTS / "interrupted" / "mine.txt").exists()
    with pytest.raises(EOFError):
        launch(interrupted, {"seed": 2}, resume="auto")  # no run of other arguments: that one never began
    assert sorted(path.name for path in EXPERIMENTS.iterdir()) == ["interrupted", "interrupted_1"]


CHOOSING = """
import sys
from garage import wrap_experiment
from garage.experiment.context import launch

@wrap_experiment(archive_launch_repo=False)
def chosen(ctxt=None):
    print(ctxt.snapshot_dir, ctxt.resumes)

print("ready", flush=True)
sys.stdin.readline()
launch(chosen, {}, resume="auto")
"""


def test_those_who_start_a_run_at_once_choose_one_directory():
    command = [sys.executable, "-c", CHOOSING]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(4)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    found = sorted(process.communicate()[0].split() for process in processes)
    assert [process.returncode for process in processes] == [0] * 4
    assert found == [[str(EXPERIMENTS / "chosen"), str(resumes)] for resumes in (False, True, True, True)]
