"""`garage sweep`: real trials in processes of their own, stopped, failing and gone on with."""

import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest

from cli.conftest import Commands
from garage.cli.sweep_trials import split_setting, trials_of
from garage.errors import ArgumentError
from garage.recording.intervals import bootstrap_interval, interquartile_mean
from sampler.ray_clusters import ray_processes, scratch

WORDS = ("sweep", "code/sample.py", "--set", "n_epochs=3", "--set", "batch-size=60,90")

TINY = """
from garage import wrap_experiment

@wrap_experiment
def tiny(ctxt=None, lr: float = 0.1, sizes: tuple = (8,), seed=1, text="a"): ...

@wrap_experiment(log_dir="somewhere/else", name_parameters="all")
def placed(ctxt=None, seed=1): ...

@wrap_experiment
def seedless(ctxt=None, lr=0.1): ...
"""


@pytest.fixture
def tiny():
    namespace = {"__name__": "tiny"}
    exec(TINY, namespace)  # noqa: S102 - a file of a user's
    return namespace


@pytest.fixture(scope="module")
def swept(tmp_path_factory, four_epochs):
    """A folder in which four trials have run, and what the sweep printed."""
    folder = tmp_path_factory.mktemp("swept")
    shutil.copytree(four_epochs / "code", folder / "code")
    garage = Commands(folder)
    return folder, garage(*WORDS, "--seeds", 2)


@pytest.fixture
def garage_swept(swept, tmp_path):
    shutil.copytree(swept[0], tmp_path, dirs_exist_ok=True)
    return Commands(tmp_path)


def run_of(folder, batch_size, seed):
    return folder / "data/local/experiment" / f"sample_n_epochs=3_batch_size={batch_size}_seed={seed}"


def returns(path):
    lines = (path / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["Evaluation/AverageReturn"] for line in lines]


def test_each_trial_is_a_run_like_any_other(swept):
    folder, done = swept
    assert "4 trials of sample: 4 to start" in done.stderr
    garage = Commands(folder)
    for batch_size in (60, 90):
        garage("run", "code/sample.py", "--n-epochs", 3, "--batch-size", batch_size, "--seed", 2, "--log-dir", "alone")
        assert garage.digests(run_of(folder, batch_size, 2)) == garage.digests(folder / "alone")
        shutil.rmtree(folder / "alone")


def test_the_table_is_what_the_runs_say(swept):
    folder, done = swept
    heading, *lines = done.stdout.splitlines()
    assert heading.startswith("Evaluation/AverageReturn of each run, mean over its last 10 epochs. IQM: ")
    assert lines[0] == "95%: percentile bootstrap of the IQM over seeds, 2000 resamples."
    assert re.split(r"\s{2,}", lines[1]) == ["N_EPOCHS", "BATCH_SIZE", "SEEDS", "MEAN", "IQM", "95%"]
    for batch_size, line in zip((60, 90), lines[2:], strict=True):
        values = [sum(returns(run_of(folder, batch_size, seed))) / 3 for seed in (1, 2)]
        low, high = bootstrap_interval(values)
        iqm = f"{interquartile_mean(values):.6g}"
        assert re.split(r"\s{2,}", line) == ["3", str(batch_size), "2 of 2", iqm, iqm, f"{low:.6g} to {high:.6g}"]


def test_the_same_command_again_runs_nothing_and_more_seeds_add_theirs(garage_swept):
    before = {path: path.stat().st_mtime_ns for path in garage_swept.folder.rglob("metrics.jsonl")}
    done = garage_swept(*WORDS, "--seeds", 2, "--json", "--last-epochs", 1, "--metric", "Evaluation/NumEpisodes")
    assert done.stderr == "4 trials of sample: 4 finished before.\n"
    said = json.loads(done.stdout)
    assert (said["metric"], said["last_epochs"]) == ("Evaluation/NumEpisodes", 1)
    assert [each["parameters"] for each in said["combinations"]] == [
        {"n_epochs": 3, "batch_size": 60},
        {"n_epochs": 3, "batch_size": 90},
    ]
    for each in said["combinations"]:
        values = [trial["value"] for trial in each["trials"]]
        assert (each["n_trials"], each["n_finished"], each["mean"]) == (2, 2, sum(values) / 2)
    done = garage_swept("sweep", "code/sample.py", "--set", "n_epochs=3", "--set", "batch-size=90", "--seeds", 3)
    assert "3 trials of sample: 2 finished before, 1 to start." in done.stderr
    assert "3 of 3" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_one_that_fails_does_not_stop_the_others_and_is_tried_again(garage):
    words = ("sweep", "code/sample.py", "--set", "fails=true,false", "--set", "n_epochs=1", "--workers", 1)
    done = garage(*words, code=1)
    assert "[1/2] sample_fails=True_n_epochs=1_seed=1: failed, exit code 1. The end of what it printed:" in done.stderr
    assert "    EOFError: the user's own\n" in done.stderr
    assert "[2/2] sample_fails=False_n_epochs=1_seed=1: finished" in done.stderr
    assert [re.split(r"\s{2,}", line)[2] for line in done.stdout.splitlines()[3:]] == ["0 of 1", "1 of 1"]


def trial_processes(folder):
    """Of all processes, the trials that run in a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if b"sweep_child" in (path / "cmdline").read_bytes() and (path / "cwd").resolve() == folder.resolve():
                found.append(int(path.name))
        except OSError:  # it has just ended
            continue
    return found


def wait_until(hold, process=None):
    end = time.monotonic() + 60
    while not all(hold()):
        assert time.monotonic() < end
        assert process is None or process.poll() is None, process.stderr.read()
        time.sleep(0.01)


def n_rows(path):
    return (path / "metrics.jsonl").read_bytes().count(b"\n") if (path / "metrics.jsonl").exists() else 0


def test_stopped_in_any_way_the_same_command_goes_on_to_the_same_end(garage):
    words = ("sweep", "code/sample.py", "--set", "n_epochs=100", "--set", "batch-size=6000,9000", "--workers", 2)
    names = [f"sample_n_epochs=100_batch_size={size}_seed=1" for size in (6000, 9000)]
    paths = [garage.folder / "data/local/experiment" / name for name in names]
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGKILL, -9)):
        before = list(map(n_rows, paths))
        process = garage.start(*words)
        wait_until(lambda before=before: [n_rows(path) > n + 1 for path, n in zip(paths, before, strict=True)], process)
        if number != signal.SIGKILL:  # a batch system sends it to all processes of a job
            for trial in trial_processes(garage.folder):
                os.kill(trial, number)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
        assert process.returncode == code, said
        wait_until(lambda: [not trial_processes(garage.folder)])
        if number != signal.SIGKILL:
            assert said.count(": stopped\n") == 2
            assert f"Interrupted. To go on: garage {' '.join(map(str, words))}\n" in said
    for path in paths:
        events = [json.loads(line) for line in (path / "events.jsonl").read_text().splitlines()]
        dropped = [event["dropped"] for event in events if event["event"] == "preempted"]
        assert dropped == [None] * 3  # one signal each time, so that each epoch was finished
    assert "2 to go on with, 2 at once" in garage(*words).stderr
    garage("run", "code/sample.py", "--n-epochs", 100, "--batch-size", 9000, "--log-dir", "alone")
    assert garage.digests(paths[1]) == garage.digests(garage.folder / "alone")


@pytest.mark.long
def test_trials_on_ray_go_on_here(garage):
    pytest.importorskip("ray")
    words = ("sweep", "code/sample.py", "--set", "n_epochs=400", "--seeds", 3, "--workers", 2)
    paths = [garage.folder / "data/local/experiment" / f"sample_n_epochs=400_seed={seed}" for seed in (1, 2, 3)]
    with scratch() as folder:
        process = garage.start(*words, "--on", "ray", "--ray", "local")
        wait_until(lambda: [n_rows(path) > 1 for path in paths[:2]], process)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=100)
        assert process.returncode == 75, said
        assert said.count(": stopped\n") == 2
        assert ray_processes(folder) == []
    assert not trial_processes(garage.folder)
    assert not paths[2].exists()
    assert "3 trials of sample: 2 to go on with, 1 to start, 2 at once." in garage(*words).stderr
    garage("run", "code/sample.py", "--n-epochs", 400, "--seed", 2, "--log-dir", "alone")
    assert garage.digests(paths[1]) == garage.digests(garage.folder / "alone")


def test_a_file_that_has_changed_since(garage_swept):
    text = garage_swept.file.read_text()
    garage_swept.file.write_text(text.replace("fails=False", "fails=None"))
    said = garage_swept(*WORDS, "--seeds", 2, code=2).stderr
    assert "but with other arguments:\n  fails: False there, None here\nA sweep goes on with equal arguments" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "lrr=1"], "there is no parameter --lrr"),
        (["--set", "n_epochs=3,many"], "--n_epochs must be int, got 'many'"),
        (["--set", "n_epochs"], "--set takes NAME=VALUE[,VALUE]..., such as"),
        (["--set", "n_epochs=3", "--set", "n-epochs=4"], "--set gives n_epochs twice"),
        (["--set", "n_epochs=3,03"], "Two trials would be the run"),
        (["--set", "seed=1,2", "--seeds", "2"], "leave one out"),
        (["--ray", "auto"], "--ray auto says which cluster --on ray means"),
        (["--seeds", "0"], "0 is not in the range x>=1"),
        (["--metric", "Evaluation/Average", "--set", "n_epochs=3", "--set", "batch_size=60"], "--metric takes one of"),
    ],
)
def test_wrong_usage(garage_swept, words, message):
    assert message in garage_swept("sweep", "code/sample.py", *words, code=2).stderr


def test_values_and_names(tiny):
    trials = trials_of(tiny["tiny"], ["lr=1e-3,3e-4", "sizes=(8, 8),[4]", "text=a/b"], 2)
    assert len(trials) == 8
    assert str(trials[1].wanted) == "data/local/experiment/tiny_lr=0.001_sizes=(8, 8)_text=a_b_seed=2"
    assert trials[2].recorded == {"lr": 0.001, "sizes": [4], "seed": 1, "text": "a/b"}
    assert trials[2].settings == (("lr", 0.001), ("sizes", [4]), ("text", "a/b"))
    assert [trial.seed for trial in trials_of(tiny["tiny"], ["seed=7,3"], None)] == [7, 3]
    assert str(trials_of(tiny["placed"], [], 1)[0].wanted) == "somewhere/else/placed_seed=1"


def test_what_no_sweep_can_be_made_of(tiny):
    with pytest.raises(ArgumentError, match=r"it has no parameter `seed`, only lr\. Give it one"):
        trials_of(tiny["seedless"], [], None)
    with pytest.raises(ArgumentError, match=r"Two trials would be .*: --text=a/b --seed=1 and --text=a_b --seed=1\."):
        trials_of(tiny["tiny"], ["text=a/b,a_b"], None)
    with pytest.raises(ArgumentError, match="bytes, and 240 fit"):
        trials_of(tiny["tiny"], ["text=" + "a" * 300], None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lr=1", ("lr", ["1"])),
        ("--learning-rate = 1, 2", ("learning_rate", ["1", "2"])),
        ("sizes=(3,4),[5,{6,7}],8", ("sizes", ["(3,4)", "[5,{6,7}]", "8"])),
        ("text=a=b", ("text", ["a=b"])),
        ("text=", ("text", [""])),
    ],
)
def test_settings(text, expected):
    assert split_setting(text) == expected
