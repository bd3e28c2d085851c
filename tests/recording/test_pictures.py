"""Pictures are drawn, and hold what they should: looked at by a person once, and here by their pixels and words."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from garage.errors import ArgumentError, DependencyError, WriteError
from garage.recording.curves import Series, curve
from garage.recording.pictures import Captions, draw

CAPTIONS = Captions("a title", "TotalEnvSteps", "Evaluation/AverageReturn", 0.9)
BLUE, ORANGE = (0, 114, 178), (213, 94, 0)


def some_curve(label, n_runs, offset=0.0):
    x = np.arange(20.0) * 1000
    return curve(label, [Series(f"{seed}", seed, x, offset + np.sqrt(x) + 9 * seed) for seed in range(n_runs)])


def has(image, colour):
    return (np.abs(np.asarray(image.convert("RGB"), int) - colour).sum(axis=-1) <= 6).any()


def test_png():
    draw([some_curve("one", 5), some_curve("other", 1, 99)], CAPTIONS, Path("deep/curves.png"))
    with Image.open("deep/curves.png") as image:
        assert image.size == (1152, 704)
        assert has(image, BLUE)
        assert has(image, ORANGE)
    assert [path.name for path in Path("deep").iterdir()] == ["curves.png"]


def test_svg_with_words(monkeypatch):
    import matplotlib as mpl  # noqa: PLC0415 - for this alone

    monkeypatch.setitem(mpl.rcParams, "svg.fonttype", "none")
    draw([some_curve("lr=1", 5), some_curve("lr=2", 1)], CAPTIONS, Path("curves.svg"))
    text = Path("curves.svg").read_text()
    for words in ("a title", "TotalEnvSteps", "lr=1 (5 seeds)", "lr=2 (1 seed)", "90 % bootstrap interval"):
        assert words in text


def test_a_single_point_and_single_runs():
    draw([curve("one", [Series("a", 1, np.array([1.0]), np.array([2.0]))])], CAPTIONS, Path("curves.png"))
    with Image.open("curves.png") as image:
        assert has(image, BLUE)


def test_more_curves_than_colours():
    draw([some_curve(f"{n}", 1, n) for n in range(12)], CAPTIONS, Path("curves.pdf"))
    assert Path("curves.pdf").read_bytes().startswith(b"%PDF")


def test_no_screen_is_needed_and_none_is_opened(tmp_path):
    script = f"""
import os
import subprocess
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from recording.test_pictures import CAPTIONS, draw, some_curve
draw([some_curve("one", 1)], CAPTIONS, Path("curves.png"))
assert "matplotlib.pyplot" not in sys.modules
"""
    environment = {name: value for name, value in os.environ.items() if name not in {"DISPLAY", "WAYLAND_DISPLAY"}}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "curves.png").stat().st_size > 1000


@pytest.mark.parametrize("name", ["curves", "curves.gif"])
def test_a_format_that_is_none(name):
    with pytest.raises(ArgumentError, match=r"expected a name that ends in \.png, \.svg, \.pdf"):
        draw([some_curve("one", 1)], CAPTIONS, Path(name))


def test_a_disk_that_refuses():
    Path("curves.png").mkdir()
    with pytest.raises(WriteError, match=r"Cannot write curves\.png: Is a directory"):
        draw([some_curve("one", 1)], CAPTIONS, Path("curves.png"))


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(DependencyError, match=r"pip install 'garage\[plot\]'"):
        draw([some_curve("one", 1)], CAPTIONS, Path("curves.png"))
