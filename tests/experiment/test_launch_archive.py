"""The copy of the launcher's repository."""

import contextlib
import os
import random
import subprocess
import tarfile
from pathlib import Path

import pytest

from garage import wrap_experiment
from garage.errors import WriteError
from garage.experiment import launch_archive


@wrap_experiment
def run(ctxt=None):
    return Path(ctxt.snapshot_dir)


def git(*words):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *identity, *words], check=True, capture_output=True)  # noqa: S607 - the git that garage uses


@pytest.fixture
def repository():
    """With a tracked, an untracked, an ignored and a deleted file, and a link that leads nowhere."""
    git("init")
    Path(".gitignore").write_text("ignored*\n")
    Path("code").mkdir()
    for name in ("code/tracked.py", "code/deleted.py"):
        Path(name).write_text("tracked")
    git("add", ".")
    git("commit", "-m", "first")
    Path("code/deleted.py").unlink()
    Path("untracked ünd.txt").write_text("untracked")
    Path("ignored.txt").write_text("ignored")
    Path("link").symlink_to("nowhere")


KEPT = [".gitignore", "code/tracked.py", "untracked ünd.txt"]


def archived(path):
    with tarfile.open(path / "launch_archive.tar.xz") as archive:
        return sorted(archive.getnames())


def test_tracked_and_untracked_files_that_git_does_not_ignore(repository):
    path = run()
    assert archived(path) == KEPT
    with tarfile.open(path / "launch_archive.tar.xz") as archive:
        assert archive.extractfile("code/tracked.py").read() == b"tracked"


def test_from_a_folder_below(repository, monkeypatch):
    monkeypatch.chdir("code")
    assert archived(run()) == KEPT


def test_names_that_are_no_text(repository):
    name = os.fsdecode(b"latin-\xe9.txt")
    Path(name).write_text("x")
    assert archived(run()) == sorted([*KEPT, name])


def test_without_commits():
    git("init")
    Path("file.txt").write_text("x")
    assert archived(run()) == ["file.txt"]


def test_without_a_repository_or_without_git(monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(Path.cwd().parent))
    assert sorted(path.name for path in run().iterdir()) == ["debug.log"]
    git("init")
    monkeypatch.setenv("PATH", "")
    assert sorted(path.name for path in run().iterdir()) == ["debug.log"]


def test_it_can_be_left_out(repository):
    path = run({"archive_launch_repo": False})
    assert not (path / "launch_archive.tar.xz").exists()


def test_submodules_with_what_is_new_in_them_but_no_other_repository(repository, tmp_path_factory, monkeypatch):
    theirs = tmp_path_factory.mktemp("theirs")
    for folder in (theirs, Path("cloned").absolute()):
        folder.mkdir(exist_ok=True)
        with contextlib.chdir(folder):
            git("init")
            Path("module.py").write_text("theirs")
            git("add", ".")
            git("commit", "-m", "first")
    git("-c", "protocol.file.allow=always", "submodule", "add", str(theirs), "sub/theirs")
    Path("sub/theirs/module.py").write_text("changed")
    Path("sub/theirs/new.py").write_text("x")
    path = run()
    assert archived(path) == sorted([*KEPT, ".gitmodules", "sub/theirs/module.py", "sub/theirs/new.py"])
    with tarfile.open(path / "launch_archive.tar.xz") as archive:
        assert archive.extractfile("sub/theirs/module.py").read() == b"changed"
    assert "+changed" in launch_archive.git_state(Path.cwd())["changes"]


def test_a_submodule_that_git_cannot_read_is_left_out_and_said(repository, tmp_path_factory, caplog):
    Path("broken").mkdir()
    git("update-index", "--add", "--cacheinfo", "160000,1234567890123456789012345678901234567890,broken")
    Path("broken/.git").write_text("gitdir: nowhere\n")
    assert archived(run()) == KEPT
    assert "No copy of the submodule" in caplog.text


def test_a_repository_that_git_cannot_read_is_said(repository, caplog):
    Path(".git/HEAD").write_text("nonsense")
    path = run()
    assert not (path / "launch_archive.tar.xz").exists()
    assert "No copy of the launcher's repository is kept: git says: fatal: not a git repository" in caplog.text
    assert "not a git repository" in launch_archive.git_state(Path.cwd())["problem"]


def test_a_damaged_index_is_said(repository, caplog):
    Path(".git/index").write_bytes(b"nonsense")
    assert not (run() / "launch_archive.tar.xz").exists()
    assert "git says: " in caplog.text
    assert "problem" in launch_archive.git_state(Path.cwd())


def test_a_missing_git_is_said_where_there_is_a_repository(repository, monkeypatch, caplog):
    monkeypatch.setenv("PATH", "")
    assert not (run() / "launch_archive.tar.xz").exists()
    assert "git cannot be started (No such file or directory): is it installed?" in caplog.text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_left_out_and_said(repository, caplog):
    Path("secret").write_text("x")
    Path("secret").chmod(0)
    assert archived(run()) == KEPT
    assert "goes without" in caplog.text


def test_a_disk_that_refuses(repository):
    Path("data/local/experiment/refused/.unfinished-launch_archive.tar.xz").mkdir(parents=True)
    with pytest.raises(
        WriteError, match=r"Cannot write .*launch_archive\.tar\.xz: Is a directory\..*archive_launch_repo"
    ):
        refused()


@wrap_experiment(use_existing_dir=True)
def refused(ctxt=None):
    pytest.fail("the archive comes first")


@pytest.mark.parametrize("options", [{}, {"log_dir": "runs/mine"}, {"log_dir": "data/local/x"}])
def test_data_of_this_and_earlier_runs_are_left_out(repository, options):
    Path("data").mkdir()
    Path("data/input.csv").write_text("the user's own")
    for _ in range(3):
        path = run(options)
        (path / "run.json").write_text("{}")
        (path / "more").mkdir()
        (path / "more" / "big").write_text("x")
        assert archived(path) == sorted([*KEPT, "data/input.csv"])


def test_large_files_are_left_out_and_a_large_archive_is_said(repository, monkeypatch, caplog):
    monkeypatch.setattr(launch_archive, "_FILE_BYTES", 3000)
    monkeypatch.setattr(launch_archive, "ARCHIVE_BYTES", 4000)
    Path("large").write_bytes(b"x" * 3000)
    Path("small").write_bytes(random.randbytes(2999))
    assert "small" in archived(run())
    assert "large" not in archived(run())
    assert caplog.text == ""
    Path("small too").write_bytes(b"x" * 2000)
    path = run()
    assert "small too" in archived(path)
    assert "wrap_experiment(archive_launch_repo=False) leaves it out" in caplog.text


def test_the_state_of_a_repository(repository):
    changed = launch_archive.git_state(Path.cwd())
    Path("untracked ünd.txt").write_text("of no consequence")
    assert launch_archive.git_state(Path.cwd()) == changed
    Path("code/tracked.py").write_text("other")
    other = launch_archive.git_state(Path.cwd())
    assert other["commit"] == changed["commit"]
    assert len({changed["diff"], other["diff"], ""}) == 3
    assert "+other" in other["changes"]
    assert other["branch"] == changed["branch"]
    Path("code/tracked.py").write_text("x" * launch_archive.ARCHIVE_BYTES)
    assert launch_archive.git_state(Path.cwd())["changes"] is None
    Path("code/tracked.py").write_text("other")
    git("commit", "-a", "-m", "second")
    clean = launch_archive.git_state(Path("code"))
    assert clean["diff"] == ""
    assert clean["commit"] != changed["commit"]


def test_no_repository_or_no_commit_has_no_state():
    assert launch_archive.git_state(Path.cwd()) is None
    git("init")
    assert launch_archive.git_state(Path.cwd()) is None
