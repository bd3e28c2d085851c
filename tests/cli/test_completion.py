"""What shells get to complete, asked as they ask; in bash, by bash itself."""

import contextlib
import shlex
import shutil
import subprocess
import sys

import pytest
from click.shell_completion import ZshComplete

from garage.cli import main

RUN = "data/local/experiment/sample"


def completed(garage, text):
    """What ``garage`` answers a shell in which ``text`` has been typed, as (kind, word)."""
    words = ["garage", *shlex.split(text)] + ([""] if text.endswith(" ") or not text else [])
    asked = {"COMP_WORDS": shlex.join(words), "COMP_CWORD": str(len(words) - 1)}
    with contextlib.chdir(garage.folder), pytest.MonkeyPatch.context() as patched:
        for name, value in asked.items():
            patched.setenv(name, value)
        lines = ZshComplete(main.garage, {}, "garage", "_GARAGE_COMPLETE").complete().splitlines()
    return [tuple(lines[index : index + 2]) for index in range(0, len(lines), 3)]


def names(garage, text):
    return [value for kind, value in completed(garage, text) if kind == "plain"]


def test_commands_and_options(trained):
    assert {"run", "resume", "plot", "doctor"} <= set(names(trained, ""))
    assert names(trained, "pl") == ["plot"]
    assert names(trained, "export data --t") == ["--to"]
    assert names(trained, "export data --to p") == ["parquet"]


def test_names_of_runs_by_path_and_by_name(trained):
    shutil.copytree(trained.run_path, trained.run_path.with_name("sample_1"))
    for text in ("data/lo", "sam", ""):
        assert names(trained, f"show {text}" if text else "show ") == [RUN, f"{RUN}_1"]
    assert names(trained, "resume sample_") == [f"{RUN}_1"]
    assert names(trained, f"plot {RUN} {RUN}_") == [f"{RUN}_1"]


@pytest.mark.parametrize(
    "command", ["verify", "replay", "fork", "pin", "prune", "du", "diff", "trust", "eval", "render"]
)
def test_every_command_that_takes_a_run(command):
    arguments = [each for each in main.garage.get_command(None, command).params if each.param_type_name == "argument"]
    assert {item.type for item in arguments[0].shell_complete(None, "nowhere/at/all")} == {"dir"}


def test_snapshots_of_a_run(trained):
    assert names(trained, f"show {RUN}@") == [f"{RUN}@{which}" for which in ("first", "last", "best", 0, 1, 2, 3)]
    assert names(trained, f"export {RUN}@l") == [f"{RUN}@last"]
    assert completed(trained, "show nothing@") == [("dir", "nothing@")]


def test_files_to_run(trained):
    assert completed(trained, "run code/sa") == [("file", "code/sa")]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_and_where_to_put_it(garage, shell):
    done = garage("completion", shell)
    assert "_GARAGE_COMPLETE" in done.stdout
    assert f"Put it where {shell} looks: garage completion {shell} > " in done.stderr


def test_a_shell_that_is_unknown(garage):
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in garage("completion", "tcsh", code=2).stderr


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_in_bash(trained):
    script = trained.folder / "completion.bash"
    script.write_text(trained("completion", "bash").stdout)
    (trained.folder / "garage").write_text(f'#!/bin/sh\nexec {sys.executable} -m garage.cli.main "$@"\n')
    (trained.folder / "garage").chmod(0o755)
    asked = """
PATH="$PWD:$PATH"
source completion.bash
COMP_WORDS=(garage show sam)
COMP_CWORD=2
_garage_completion garage
echo "${COMPREPLY[@]}"
"""
    done = subprocess.run(
        [shutil.which("bash"), "-c", asked],
        cwd=trained.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{RUN}\n"
