import json
import shutil
import signal

import pytest

from recording.watching_tensorboard import Watcher

TWO = """
from garage import wrap_experiment
from sample import sample

@wrap_experiment
def first(ctxt, need: int): ...

@wrap_experiment
def second(ctxt=None, gain=0.5): ...
"""


def test_a_run_goes_where_its_name_says_and_is_whole(trained):
    assert sorted(trained.digests()) == [0, 1, 2, 3]
    assert "is whole" in trained("verify", trained.run_path).stdout


def test_parameters_reach_the_experiment(garage):
    garage("run", "code/sample.py:sample", "--seed=7", "--n-epochs", 1, "--batch_size", 100)
    shown = garage("show", garage.run_path).stdout
    assert "seed=7 n_epochs=1 batch_size=100 fails=False" in shown


def test_help_shows_the_parameters(garage):
    (garage.folder / "code" / "two.py").write_text(TWO)
    printed = garage("run", "code/two.py", "--help").stdout
    assert "Usage: garage run FILE[:FUNCTION]" in printed
    assert "Parameters of first:\n  --need int  (required)" in printed
    assert "Parameters of second:\n  --gain float  (default: 0.5)" in printed
    assert "Parameters" not in garage("run", "--help").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Missing argument 'FILE[:FUNCTION]'"),
        (["nowhere.py"], "There is no file nowhere.py"),
        (["--seed", "3", "code/sample.py"], "FILE comes before its parameters"),
        (["code/text.txt"], "expected a name such as trpo.py"),
        (["code/json.py"], "Rename the file, for example to json_experiment.py"),
        (["code/nothing.py"], "defines no experiment. Put @wrap_experiment above"),
        (["code/starts.py"], "Put the call below `if __name__ == '__main__':`"),
        (["code/two.py"], "say which:\n  garage run code/two.py:first\n  garage run code/two.py:second\n"),
        (["code/two.py:third"], "has no experiment 'third'; it has: sample, first, second."),
        (["code/two.py:first"], "--need must be given"),
        (["code/sample.py", "--n-epoch", "3"], "--n-epochs int (default: 4)"),
        (["code/sample.py", "--n-epochs", "0"], "n_epochs must be an integer of at least 1, got 0"),
        (["code/sample.py", "--resume", "maybe"], "'maybe' is not one of 'auto', 'must', 'never'"),
    ],
)
def test_wrong_usage(garage, words, message):
    code = garage.folder / "code"
    (code / "two.py").write_text(TWO)
    (code / "starts.py").write_text("from sample import sample\nsample(n_epochs=1)\n")
    for name in ("text.txt", "json.py", "nothing.py"):
        (code / name).write_text("")
    assert message in garage("run", *words, code=2).stderr
    assert not (garage.run_path / "run.json").exists()


def test_an_error_of_garage_names_the_users_line(garage):
    line = garage.file.read_text().splitlines().index("    trainer.train(n_epochs=n_epochs, batch_size=batch_size)")
    said = garage("run", "code/sample.py", "--batch-size", 0, code=2).stderr
    assert f"line {line + 1} of {garage.file}" in said


def test_an_error_of_the_users_keeps_its_traceback(garage):
    said = garage("run", "code/sample.py", "--n-epochs", 1, "--fails", code=1).stderr
    assert said.startswith("Traceback")
    assert said.endswith("EOFError: the user's own\n")
    garage.file.write_text("1 / 0")
    assert "ZeroDivisionError" in garage("run", "code/sample.py", code=1).stderr


def test_auto_goes_on_after_a_kill_and_must_agrees(garage, six_digests):
    words = ("run", "code/sample.py", "--n-epochs", 6, "--resume", "auto")
    garage("run", "code/sample.py", "--n-epochs", 6, "--resume", "must", code=3)
    started = garage.start(*words)
    garage.wait_for("snapshots/000002.json")
    started.kill()
    started.communicate()
    assert max(garage.digests()) < 5
    garage(*words)
    assert garage.digests() == six_digests
    assert "There is nothing left to do: 6 epochs are finished" in garage(*words).stdout
    assert "nothing left" in garage(*words[:-1], "must", code=4).stderr
    assert garage.digests() == six_digests


def test_other_arguments_are_another_run(trained):
    said = trained("run", "code/sample.py", "--seed", 2, "--resume", "auto", code=2).stderr
    assert "seed: 1 there, 2 here" in said


def test_never_starts_a_new_run(trained):
    trained("run", "code/sample.py")
    other = trained.run_path.with_name("sample_1")
    assert trained.digests(other) == trained.digests()


def test_ctrl_c_exits_with_130_and_loses_nothing(garage):
    words = (
        "run",
        "code/sample.py",
        "--n-epochs",
        100,
        "--resume",
        "auto",
    )  # a second or two, so that the signal comes first
    started = garage.start(*words)
    garage.wait_for("snapshots/000001.json")
    started.send_signal(signal.SIGINT)
    _, said = started.communicate()
    assert started.returncode == 130
    # Where the interrupt lands, the interpreter may add a warning of its own about a file that was open.
    assert said.endswith(
        "Every epoch that was saved is safe: the same command with --resume auto goes on.\nInterrupted.\n"
    )
    assert " stopped " in garage("ls").stdout
    garage(*words)
    garage(*words, "--log-dir", "alone")
    assert garage.digests() == garage.digests(garage.folder / "alone")


def test_classes_of_the_file_are_found_from_elsewhere(trained, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "copy"
    shutil.copytree(trained.run_path, elsewhere)
    trained("resume", elsewhere, "--n-epochs", 5)
    assert max(trained.digests(elsewhere)) == 4


def test_events_for_tensorboard_when_asked_for_and_from_then_on(garage):
    garage("run", "--tensorboard", "code/sample.py", "--n-epochs", 2)
    watcher = Watcher(garage.run_path)
    assert len(watcher.points("Evaluation/AverageReturn")) == 2
    garage("resume", garage.run_path, "--n-epochs", 3)
    rows = [json.loads(line) for line in (garage.run_path / "metrics.jsonl").read_text().splitlines()]
    assert [x for x, _ in watcher.points("Evaluation/AverageReturn")] == [row["TotalEnvSteps"] for row in rows]
