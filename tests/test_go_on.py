"""A suite that was stopped goes on where it was, until something changes."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
from pathlib import Path

import pytest

@pytest.mark.parametrize("n", range(4))
def test_one(n):
    with open("ran", "a") as file:
        file.write(str(n))
    assert n != 2 or Path("mended").exists()

@pytest.fixture
def broken():
    yield
    assert Path("mended").exists()

def test_whose_end_fails(broken):
    pass
"""


@pytest.fixture
def suite(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path / "tests")
    (tmp_path / "tests" / "test_some.py").write_text(TESTS)

    def run(*words):
        command = [sys.executable, "-m", "pytest", "-q", "-n", "2", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        return {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|error)", done.stdout)}

    run.path = tmp_path
    return run


def test_what_has_passed_is_left_out_until_something_changes(suite):
    assert suite("--go-on") == {"passed": 4, "failed": 1, "error": 1}
    assert suite("--go-on") == {"passed": 1, "failed": 1, "error": 1}
    assert suite() == {"passed": 4, "failed": 1, "error": 1}
    (suite.path / "mended").touch()
    assert suite("--go-on") == {"passed": 2}
    (suite.path / "ran").unlink()
    assert suite("--go-on") == {}
    assert not (suite.path / "ran").exists()
    with (suite.path / "tests" / "test_some.py").open("a") as file:
        file.write("# changed\n")
    assert suite("--go-on") == {"passed": 5}
    assert sorted((suite.path / "ran").read_text()) == list("0123")
