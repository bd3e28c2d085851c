"""Films, decoded again."""

import sys
from pathlib import Path

import numpy as np
import pytest

from experiment.painted import frames
from garage.errors import ArgumentError, DependencyError, MismatchError, WriteError
from garage.recording.film import Film, find_ffmpeg


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def grey(level, height=12, width=16):
    return np.full((height, width, 3), level, np.uint8)


def below():
    return sorted(path.name for path in Path().iterdir())


@pytest.mark.parametrize("name", ["a.mp4", "a.gif"])
def test_the_frames_come_back(name):
    with Film(Path(name), 10) as film:
        for level in range(0, 250, 10):
            film.add(grey(level))
        film.hold(0.3)
        assert film.n_frames == 28
        assert name not in below()
    assert below() == [name]
    levels = frames(name).mean(axis=(1, 2, 3))
    assert len(levels) == 28
    assert np.abs(levels - np.append(np.arange(0, 250, 10), [240] * 3)).max() < 3


def test_odd_sizes_are_padded_by_a_row_and_a_column():
    with Film(Path("a.mp4"), 10) as film:
        film.add(grey(200, 13, 15))
    assert frames("a.mp4").shape == (1, 14, 16, 3)
    assert abs(float(frames("a.mp4")[0, :13, :15].mean()) - 200) < 3


def test_a_film_that_is_not_finished_leaves_the_one_before():
    with Film(Path("a.mp4"), 10) as film:
        film.add(grey(0))
    before = Path("a.mp4").read_bytes()

    def fails():
        with Film(Path("a.mp4"), 10) as film:
            film.add(grey(0))
            raise EOFError

    with pytest.raises(EOFError):
        fails()
    assert below() == ["a.mp4"]
    assert Path("a.mp4").read_bytes() == before
    with Film(Path("b.mp4"), 10):
        pass
    assert below() == ["a.mp4"]


@pytest.mark.parametrize("frame", [grey(0, 12, 18), grey(0)[:, :, 0], grey(0).astype(np.float32), grey(0)[:, :, :2]])
def test_frames_are_of_one_shape(frame):
    film = Film(Path("a.mp4"), 10)
    with film:
        film.add(grey(0))
        with pytest.raises(MismatchError, match=r"expected uint8\[12, 16, 3\], as the one before"):
            film.add(frame)


def test_names_and_speeds_that_cannot_be():
    with pytest.raises(ArgumentError, match=r"a\.avi: expected a name that ends in \.mp4 or \.gif"):
        Film(Path("a.avi"), 10)
    for fps in (0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ArgumentError, match=f"fps must be a number above 0, got {fps!r}"):
            Film(Path("a.mp4"), fps)


@pytest.fixture
def ffmpeg(tmp_path, monkeypatch):
    """An ffmpeg of the system, where the package is not installed; what it does is written to it."""
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "bin" / "ffmpeg"


def test_without_ffmpeg_the_error_names_the_extra(ffmpeg):
    with pytest.raises(DependencyError, match=r'pip install "garage\[video\]"'):
        Film(Path("a.mp4"), 10)
    ffmpeg.write_text("#!/bin/sh\n")
    ffmpeg.chmod(0o700)
    assert find_ffmpeg() == str(ffmpeg)


def test_what_ffmpeg_complains_of_is_passed_on(ffmpeg):
    ffmpeg.write_text("#!/bin/sh\necho no room left >&2\nexit 1\n")
    ffmpeg.chmod(0o700)
    with pytest.raises(WriteError, match=r"Cannot write a\.mp4: ffmpeg says: no room left"):
        add_many(Film(Path("a.mp4"), 10))
    assert below() == ["bin"]


def add_many(film):
    with film:
        for _ in range(1000):  # more than a pipe holds
            film.add(grey(0))
