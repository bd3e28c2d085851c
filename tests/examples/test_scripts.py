"""The examples that are scripts run, and the second ones go on where the first ones ended."""

import pytest

from examples.scripts import EXAMPLES, RUNS, SMALL, garage_run, run, small_copy

PORTS = ("np", "torch", "tf")
SCRIPTS = sorted(path for port in PORTS for path in (EXAMPLES / port).glob("*.py"))
TF_FIRST, TF_SECOND = "tf/trpo_gym_tf_cartpole.py", "tf/trpo_gym_tf_cartpole_pretrained.py"
AS_THEY_STAND = {EXAMPLES / TF_FIRST, EXAMPLES / TF_SECOND}
FIRST = [path for path in SCRIPTS if not path.stem.endswith("_pretrained") and path not in AS_THEY_STAND]
PRETRAINED = [path for path in SCRIPTS if path.stem.endswith("_pretrained") and path not in AS_THEY_STAND]


def name_of(path):
    return f"{path.parent.name}/{path.name}"


def mean_returns(printed):
    return [float(line.split()[1]) for line in printed.splitlines() if line.startswith("Evaluation/AverageReturn")]


def test_there_are_examples_of_each_port():
    assert {path.parent.name for path in SCRIPTS} == set(PORTS)
    assert [name_of(path) for path in PRETRAINED] == [
        "np/trpo_cartpole_pretrained.py",
        "torch/trpo_cartpole_pretrained.py",
    ]


@pytest.mark.parametrize("path", FIRST, ids=name_of)
def test_training(path, tmp_path):
    printed = run([small_copy(path, tmp_path)], tmp_path)
    assert f"Writing to {RUNS}/{path.stem}\n" in printed
    assert "epoch #2 | Saved" in printed
    assert len(mean_returns(printed)) == 3


@pytest.mark.parametrize("second", PRETRAINED, ids=name_of)
def test_going_on_where_the_first_ended(second, tmp_path):
    first = second.with_stem(second.stem.removesuffix("_pretrained"))
    garage_run(first, SMALL, tmp_path)
    printed = run([small_copy(second, tmp_path)], tmp_path)
    assert f"Restore from snapshot saved in {RUNS}/trpo_cartpole\n" in printed
    assert "last_epoch           1\n" in printed
    assert f"Writing to {RUNS}/pre_trained_trpo_cartpole\n" in printed
    assert "epoch #1 |" not in printed
    assert "epoch #2 | Saved" in printed


def test_arguments_can_be_given_on_the_command_line(tmp_path):
    garage_run("np/trpo_cartpole.py", SMALL, tmp_path)
    assert f"Writing to {RUNS}/trpo_cartpole_1\n" in garage_run("np/trpo_cartpole.py", SMALL, tmp_path)
    (tmp_path / RUNS / "trpo_cartpole").rename(tmp_path / "elsewhere")
    words = ["--snapshot-dir", "elsewhere", "--n-epochs", "4", "--batch-size", "300"]
    printed = garage_run("np/trpo_cartpole_pretrained.py", words, tmp_path)
    assert "epoch #2 | Saved" in printed
    assert "epoch #3 | Saved" in printed


def test_the_tensorflow_examples_as_they_stand(tmp_path):
    first, second = (run([EXAMPLES / file], tmp_path) for file in (TF_FIRST, TF_SECOND))
    assert f"Writing to {RUNS}/trpo_gym_tf_cartpole\n" in first
    assert "epoch #9 | Saved" in first
    assert "epoch #10 |" not in first
    for line in (
        f"Restore from snapshot saved in {RUNS}/trpo_gym_tf_cartpole",
        "n_epochs             10",
        "last_epoch           9",
        "batch_size           10000",
        "last_itr             10",
        f"Writing to {RUNS}/pre_trained_trpo_cartpole",
        "epoch #10 | Obtaining samples for iteration 10...",
        "epoch #29 | Saved",
    ):
        assert f" | {line}\n" in second
    assert "epoch #9 |" not in second
    assert "epoch #30 |" not in second
    before, after = mean_returns(first), mean_returns(second)
    assert (len(before), len(after)) == (10, 20)
    assert after[0] > 0.5 * before[-1] > 2 * before[0]
    assert max(after) > 450


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.py")), ids=name_of)
def test_examples_are_short(path):
    lines = [line for line in path.read_text().splitlines() if line.strip()]
    assert len(lines) <= (100 if path.stem == "read_a_snapshot" else 60)  # that one is a whole program
