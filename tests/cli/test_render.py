"""``garage render``: films of what policies of runs do."""

import re
import secrets

import pytest

from experiment.painted import frames

pytest.importorskip("pygame")


def test_a_film_of_a_snapshot(trained):
    run = trained.run_path
    words = ["--episodes", 2, "--seed", 3, "--max-steps", 30]
    said = trained("render", f"{run}@2", "-o", "a.mp4", *words).stdout
    assert said.startswith("Wrote a.mp4: ")
    assert "of epoch 2. Returns: " in said
    assert trained("render", f"{run}@2", "-o", "b.mp4", *words).stdout == said.replace("a.", "b.")
    first, second = map(int, re.findall(r"in (\d+) steps", said))
    shown = frames(trained.folder / "a.mp4")
    assert len(shown) == first + second + 2 * (1 + 25)  # the beginnings, and half a second for each end
    assert shown.shape[1:] == (400, 600, 3)
    assert len({picture.tobytes() for picture in shown[:10]}) > 5
    assert sorted(path.name for path in trained.folder.glob("*.mp4")) == ["a.mp4", "b.mp4"]


def test_a_world_that_is_named_runs_nothing_of_the_run(trained, monkeypatch):
    run = trained.run_path
    monkeypatch.setenv("GARAGE_SIGNING_KEY", secrets.token_hex(32))
    assert "garage trust" in trained("render", run, code=6).stderr
    assert not list(trained.folder.glob("*.mp4"))
    (run / "recipe").write_bytes(b"no recipe")
    said = trained(
        "render", run, "--env", "CartPole-v1", "--stochastic", "--fps", 10, "--max-steps", 5, "-o", "a.gif"
    ).stdout
    assert said.startswith("Wrote a.gif: ")


def test_by_default_it_is_named_for_the_snapshot(trained):
    assert "Wrote sample@3.mp4" in trained("render", trained.run_path, "--max-steps", 5).stdout
    assert (trained.folder / "sample@3.mp4").stat().st_size


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["-o", "a.avi"], 2, "expected a name that ends in .mp4 or .gif"),
        (["-o", "nowhere/a.mp4"], 2, "there is no folder nowhere"),
        (["--fps", "0"], 2, "--fps must be a number above 0, got 0.0"),
        (["--fps", "nan"], 2, "--fps must be a number above 0, got nan"),
        (["--episodes", "0"], 2, "'--episodes'"),
        (["--env", "Pendulum-v1"], 1, "does not fit the environment"),
        (["--env", "CartPoel-v1"], 1, "Did you mean 'CartPole-v1'"),
        (["--env", "FrozenLake-v1"], 1, "does not fit the environment"),
    ],
)
def test_what_is_refused(trained, words, code, said):
    assert said in " ".join(trained("render", trained.run_path, *words, code=code).stderr.split())
    assert not list(trained.folder.glob("*.mp4"))


def test_runs_and_epochs_that_are_not_there(trained):
    assert "no snapshot of epoch 17" in trained("render", f"{trained.run_path}@17", code=3).stderr
    trained("render", "nowhere", code=3)


def test_without_ffmpeg_the_extra_is_named(trained, monkeypatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/nowhere/ffmpeg")
    assert 'pip install "garage[video]"' in trained("render", trained.run_path, code=1).stderr
