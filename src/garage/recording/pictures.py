"""Learning curves as a picture, drawn by matplotlib without a screen."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from garage.errors import ArgumentError, DependencyError, WriteError
from garage.recording.curves import Curve
from garage.recording.whole_files import appearing

FORMATS = (".png", ".svg", ".pdf")

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#000000")
"""Okabe and Ito's, which people who see few colours can tell apart."""
_DASHES = ((0, ()), (0, (5, 2)), (0, (1, 1)), (0, (5, 1, 1, 1)))
_SIZE = (7.2, 4.4)
_DPI = 160


@dataclass(frozen=True)
class Captions:
    """What is written beside the curves.

    Attributes:
        title: above.
        x: below.
        y: at the left.
        level: of the intervals.
    """

    title: str
    x: str
    y: str
    level: float


def need_matplotlib() -> None:
    """Make sure that pictures can be drawn.

    Raises:
        DependencyError: the package matplotlib is not installed.
    """
    try:
        importlib.import_module("matplotlib")
    except ImportError as error:
        msg = "Drawing curves needs the package matplotlib, which is not installed: pip install 'garage[plot]'."
        raise DependencyError(msg) from error


def check_format(path: Path) -> None:
    """Make sure that a picture can be written in the format that its name ends in.

    Raises:
        ArgumentError: it is none of `FORMATS`.
    """
    if path.suffix.lower() not in FORMATS:
        msg = f"Cannot write {path}: expected a name that ends in {', '.join(FORMATS)}, such as curves.png."
        raise ArgumentError(msg)


def draw(curves: Sequence[Curve], captions: Captions, path: Path) -> None:
    """Write a picture; a file that is there is replaced.

    The mean is a solid line in the band of its interval, the interquartile mean a thin dashed one, single runs are
    faint. A curve ends where the shortest of its runs does; the faint lines go on.

    Args:
        curves: what to draw.
        captions: what to write beside it.
        path: of the file, which ends in one of `FORMATS`.

    Raises:
        DependencyError: the package matplotlib is not installed.
        ArgumentError: the name ends in something else.
        WriteError: the disk refused.
    """
    need_matplotlib()
    check_format(path)
    figure = importlib.import_module("matplotlib.figure").Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    for number, each in enumerate(curves):
        _draw_curve(axes, each, _COLOURS[number % len(_COLOURS)], _DASHES[number // len(_COLOURS) % len(_DASHES)])
    axes.set(xlabel=captions.x, ylabel=captions.y)
    axes.set_title(_key(curves, captions.level), fontsize="x-small", color="0.4", loc="left")
    if captions.title:
        figure.suptitle(captions.title)
    axes.grid(visible=True, alpha=0.3, linewidth=0.5)
    axes.margins(x=0.01)
    axes.spines[["top", "right"]].set_visible(False)
    axes.ticklabel_format(axis="x", style="sci", scilimits=(-3, 5))
    axes.legend(frameon=False, fontsize="small", loc="best")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with appearing(path) as unfinished:
            figure.savefig(unfinished, format=path.suffix.lower().removeprefix("."))
    except OSError as error:
        msg = f"Cannot write {path}: {error.strerror or error}. Choose another place with -o."
        raise WriteError(msg) from error


def _draw_curve(axes: Any, curve: Curve, colour: str, dashes: Any) -> None:  # noqa: ANN401 - matplotlib's
    is_several = len(curve.series) > 1
    if is_several:
        for each in curve.series:
            axes.plot(each.x, each.y, color=colour, alpha=0.25, linewidth=0.7)
        axes.fill_between(curve.x, *curve.interval, color=colour, alpha=0.18, linewidth=0)
        axes.plot(curve.x, curve.interquartile_mean, color=colour, linewidth=0.9, linestyle=(0, (4, 2)))
    is_point = np.size(curve.x) == 1
    axes.plot(
        curve.x, curve.mean, color=colour, linewidth=1.6, linestyle=dashes, marker="o" if is_point else None,
        label=f"{curve.label} ({_count(len(curve.series))})",
    )  # fmt: skip


def _key(curves: Sequence[Curve], level: float) -> str:
    if all(len(each.series) == 1 for each in curves):
        return ""
    return f"solid: mean and its {100 * level:g} % bootstrap interval; dashed: interquartile mean; faint: single runs"


def _count(n_runs: int) -> str:
    return "1 seed" if n_runs == 1 else f"{n_runs} seeds"
