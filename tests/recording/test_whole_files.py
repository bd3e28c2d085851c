"""A file is there whole, or as it was."""

import resource
import subprocess
import sys

import pytest

from garage.recording.whole_files import appearing, unfinished_path

KILLED = """
import os, signal, sys
from pathlib import Path
from garage.recording.whole_files import appearing
with appearing(Path(sys.argv[1])) as unfinished:
    unfinished.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_it_gets_its_name_when_it_is_whole(tmp_path):
    path = tmp_path / "table.csv"
    for text in ("first", "second"):
        before = path.read_text() if path.exists() else None
        with appearing(path) as unfinished:
            unfinished.write_text(text)
            assert (path.read_text() if path.exists() else None) == before
        assert path.read_text() == text
        assert list(tmp_path.iterdir()) == [path]


def test_what_the_system_refuses_leaves_nothing(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("first")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"), appearing(path) as unfinished:
            unfinished.write_bytes(b"x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_after_a_kill_the_next_one_takes_its_place(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("first")
    assert subprocess.run([sys.executable, "-c", KILLED, path], check=False).returncode == -9
    assert path.read_text() == "first"
    assert unfinished_path(path).read_text() == "half"
    with appearing(path) as unfinished:
        unfinished.write_text("second")
    assert path.read_text() == "second"
    assert list(tmp_path.iterdir()) == [path]
