"""The examples, and how they are run: each as a process of its own, with warnings as errors."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
RUNS = Path("data/local/experiment")
"""Where examples write to, seen from the folder that they are run in."""
SMALL = ["--n-epochs", "2", "--batch-size", "200"]


def run(words, folder):
    """What a process says that is run in ``folder``."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *map(str, words)], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def garage_run(file, words, folder):
    """What ``garage run`` says of an example."""
    return run(["-m", "garage.cli.main", "run", EXAMPLES / file, *words], folder)


def small(text):
    """An example's text with small numbers where its arguments have large defaults."""
    text, n_changed = re.subn(r"n_epochs=\d+, batch_size=\d+", "n_epochs=3, batch_size=200", text, count=1)
    assert n_changed == 1
    return text


def small_copy(file, folder):
    """The example with small numbers, as a file in ``folder``."""
    path = folder / Path(file).name
    path.write_text(small((EXAMPLES / file).read_text()))
    return path


def module_of(path):
    """An example as a module, to call its functions."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
