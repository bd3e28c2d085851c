"""Learning curves of several runs: which of them are one curve, and what they say together."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from garage.core.types import Array
from garage.errors import ArgumentError
from garage.recording.intervals import bootstrap_interval, interquartile_mean, mean

MOST_POINTS = 1000
"""Of a common grid; a finer one would not be seen."""

Row = Mapping[str, int | float]


@dataclass(frozen=True)
class Series:
    """The curve of one run.

    Attributes:
        name: of the run.
        seed: of the run.
        x: ``[n]`` float64, ascending.
        y: ``[n]`` float64, finite.
    """

    name: str
    seed: int | None
    x: Array
    y: Array


@dataclass(frozen=True)
class Curve:
    """Runs that differ in the seed only.

    Attributes:
        label: what it has and the other curves have not.
        series: its runs, one a seed.
        x: ``[n]`` float64, where all of its runs have a value.
        mean: ``[n]`` float64, over runs.
        interquartile_mean: ``[n]`` float64, over runs.
        interval: ``[2, n]`` float64, of the mean; NaN of one run.
    """

    label: str
    series: tuple[Series, ...]
    x: Array
    mean: Array = field(repr=False)
    interquartile_mean: Array = field(repr=False)
    interval: Array = field(repr=False)


def series(name: str, seed: int | None, rows: Sequence[Row], x: str, y: str) -> Series:
    """The curve of one run; epochs without a finite value are left out, such as one in which no episode ended.

    Where several epochs have the same x, the last one counts.

    Raises:
        ArgumentError: the run has no rows, not these columns, or no finite value.
    """
    if not rows:
        msg = f"{name} has no rows to plot: no epoch of it is finished. Leave it out, or train it first."
        raise ArgumentError(msg)
    for column in (x, y):
        if not any(column in row for row in rows):
            known = ", ".join(sorted({key for row in rows for key in row}))
            msg = f"{name} has no column {column!r}; it has: {known}."
            raise ArgumentError(msg)
    points = np.array([(row.get(x, np.nan), row.get(y, np.nan)) for row in rows], np.float64)
    points = points[np.isfinite(points).all(axis=1)]
    if not len(points):
        msg = f"{name} has no epoch with a finite {y!r} over {x!r}. Choose another column with --y or --x."
        raise ArgumentError(msg)
    found = dict(points.tolist())
    ascending = sorted(found)
    return Series(name, seed, np.array(ascending), np.array([found[each] for each in ascending]))


def curve(label: str, members: Sequence[Series], level: float = 0.95) -> Curve:
    """What several runs say together, on a grid over the x that all of them cover, interpolated linearly.

    The grid is every x at which one of them has a value, or `MOST_POINTS` evenly spaced ones if these are more.

    Args:
        label: of the curve.
        members: its runs.
        level: of the interval.

    Raises:
        ArgumentError: the runs have no x in common.
    """
    low, high = max(each.x[0] for each in members), min(each.x[-1] for each in members)
    if low > high:
        spans = "\n".join(f"  {each.name}: {each.x[0]:g} to {each.x[-1]:g}" for each in members)
        msg = f"These runs are one curve, but have no x in common:\n{spans}\nLeave some out, or train them further."
        raise ArgumentError(msg)
    grid = np.unique(np.concatenate([each.x for each in members]))
    grid = grid[(grid >= low) & (grid <= high)]
    if len(grid) > MOST_POINTS:
        grid = np.linspace(low, high, MOST_POINTS)
    values = np.array([np.interp(grid, each.x, each.y) for each in members])
    interval = bootstrap_interval(values, mean, level)
    return Curve(label, tuple(members), grid, mean(values), interquartile_mean(values), interval)


def labels(settings: Sequence[Mapping[str, Hashable]], names: Sequence[str]) -> list[str]:
    """What each of several groups of runs has and not all others have, such as ``lr=0.001``.

    Args:
        settings: what the runs of each group were trained with.
        names: of the groups, for those that nothing else tells apart.
    """
    keys = list(dict.fromkeys(key for each in settings for key in each))
    telling = [key for key in keys if len({repr(each.get(key)) for each in settings}) > 1]
    found = [", ".join(f"{key}={each[key]}" for key in telling if key in each) for each in settings]
    return [
        text if text and found.count(text) == 1 else f"{text}, {name}".removeprefix(", ")
        for text, name in zip(found, names, strict=True)
    ]
