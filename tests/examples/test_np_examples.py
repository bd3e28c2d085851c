import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples" / "np"
SMALL = ["--n-epochs", "2", "--batch-size", "200"]


def run(words, folder):
    done = subprocess.run(
        [sys.executable, "-W", "error", *map(str, words)], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def garage_run(file, words, folder):
    return run(["-m", "garage.cli.main", "run", EXAMPLES / file, *words], folder)


def small_copy(file, folder):
    """The example with small numbers where its arguments have large defaults."""
    text = (EXAMPLES / file).read_text()
    text, n_changed = re.subn(r"n_epochs=\d+, batch_size=\d+", "n_epochs=3, batch_size=200", text, count=1)
    assert n_changed == 1
    path = folder / file
    path.write_text(text)
    return path


@pytest.mark.parametrize("file", ["trpo_cartpole.py", "trpo_pendulum.py"])
def test_training_examples(file, tmp_path):
    printed = garage_run(file, SMALL, tmp_path)
    name = file.removesuffix(".py")
    assert f"Writing to data/local/experiment/{name}\n" in printed
    assert "epoch #1 | Saved" in printed
    assert "Evaluation/AverageReturn" in printed
    assert f"Writing to data/local/experiment/{name}_1\n" in run([small_copy(file, tmp_path)], tmp_path)


def test_the_pretrained_example_goes_on_where_the_first_ended(tmp_path):
    garage_run("trpo_cartpole.py", SMALL, tmp_path)
    printed = run([small_copy("trpo_cartpole_pretrained.py", tmp_path)], tmp_path)
    assert "Restore from snapshot saved in data/local/experiment/trpo_cartpole\n" in printed
    assert "last_epoch           1\n" in printed
    assert "Writing to data/local/experiment/pre_trained_trpo_cartpole\n" in printed
    assert "epoch #1 |" not in printed
    assert "epoch #2 | Saved" in printed


def test_the_pretrained_examples_source_and_goal_can_be_given(tmp_path):
    garage_run("trpo_cartpole.py", SMALL, tmp_path)
    (tmp_path / "data/local/experiment/trpo_cartpole").rename(tmp_path / "elsewhere")
    words = ["--snapshot-dir", "elsewhere", "--n-epochs", "4", "--batch-size", "300"]
    printed = garage_run("trpo_cartpole_pretrained.py", words, tmp_path)
    assert "epoch #2 | Saved" in printed
    assert "epoch #3 | Saved" in printed


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_examples_are_short(path):
    assert len(path.read_text().splitlines()) <= 60
