import subprocess
import sys
from pathlib import Path

import pytest

from garage import errors
from garage.cli.main import exit_code

RUN = "data/local/experiment/sample"
LOADED = """
import sys
from garage.cli.main import garage
garage(sys.argv[1:], standalone_mode=False)
loaded = {name.partition(".")[0] for name in sys.modules}
print(*sorted(loaded & {"numpy", "gymnasium", "mujoco", "ray", "rich", "tensorflow", "torch"}), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.GarageError, 1),
        (errors.RecipeError, 1),
        (errors.WriteError, 1),
        (errors.FormatVersionError, 1),
        (errors.WorldRaisedError, 1),
        (errors.ArgumentError, 2),
        (errors.NoSnapshotError, 3),
        (errors.DamagedError, 3),
        (errors.NothingLeftError, 4),
        (errors.InUseError, 5),
    ],
)
def test_each_error_has_its_exit_code(error, code):
    assert exit_code(error("so it is")) == code


def test_help_names_every_command_and_exit_code(garage):
    printed = garage("--help").stdout
    for word in ("run", "resume", "ls", "show", "verify", "replay", "diff", "tree", "fork", "prune", "du", "export"):
        assert f"\n  {word} " in printed
    for code in (0, 1, 2, 3, 4, 5, 6, 7, 8, 130):
        assert f"\n    {code} " in printed


@pytest.mark.parametrize("words", [["--help"], ["ls"], ["ls", "--json"], ["ls", "--help"], ["du"], ["du", "--json"]])
def test_what_needs_no_numbers_loads_no_numpy(trained, words):
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *words], cwd=trained.folder, capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == ""
    assert done.stdout


@pytest.mark.parametrize(
    "words",
    [["fly"], ["ls", "--fly"], ["show"], ["resume", RUN, "--from", "soon"], ["resume", RUN, "--n-epochs", "many"]],
)
def test_wrong_usage_exits_with_2(trained, words):
    assert "Error:" in trained(*words, code=2).stderr


def test_an_error_is_one_message_and_with_debug_a_traceback(garage):
    message = "There is no run in nowhere: it has no run.json. `garage ls` lists the runs below a directory."
    assert garage("show", "nowhere", code=3).stderr == f"Error: {message}\n"
    done = subprocess.run(
        [sys.executable, "-m", "garage.cli.main", "--debug", "show", "nowhere"],
        cwd=garage.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert done.stderr.startswith("Traceback")
    assert message in done.stderr


@pytest.mark.parametrize("command", ["show", "verify", "resume"])
def test_what_is_no_run_is_said_with_the_next_step(garage, command):
    (garage.folder / "empty").mkdir()
    for path in ("nowhere", "empty"):
        done = garage(command, path, code=3)
        assert path in done.stderr
        assert "garage ls" in done.stderr or "Was it stopped before its first epoch ended" in done.stderr


def test_the_console_script_is_this(garage):
    script = Path(sys.executable).with_name("garage")
    if not script.exists():
        pytest.skip("garage is not installed with its scripts")
    done = subprocess.run([script, "--version"], cwd=garage.folder, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("garage, version ")
