"""What a few runs say of all runs: the interquartile mean, and the bootstrap's interval.

Source: Agarwal, Schwarzer, Castro, Courville and Bellemare 2021, "Deep reinforcement learning at the edge of the
statistical precipice", section 4: percentile bootstrap, stratified over tasks, of the interquartile mean.

Runs are the first axis of all arrays; other axes, such as the points of a curve, are computed each for itself.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from garage.core.streams import Streams
from garage.core.types import Array
from garage.errors import ArgumentError

Statistic = Callable[[Array], Array]
"""From ``[n_runs, ...]`` to ``[...]``."""

_MOST_NUMBERS = 1 << 22
"""Of the resamples that are held at once, 32 MB."""


def mean(values: ArrayLike) -> Array:
    """Mean over runs: from ``[n_runs, ...]`` to ``[...]`` float64.

    Raises:
        ArgumentError: there is no run.
    """
    return np.asarray(np.mean(_runs(values), axis=0))


def interquartile_mean(values: ArrayLike) -> Array:
    """Mean of the middle half of the runs: from ``[n_runs, ...]`` to ``[...]`` float64.

    A quarter of the runs, rounded down, is left out at either end, so that of fewer than four none is. Where a run is
    NaN, the result is NaN.

    Raises:
        ArgumentError: there is no run.
    """
    runs = _runs(values)
    n_out = len(runs) // 4
    middle = np.sort(runs, axis=0)[n_out : len(runs) - n_out]
    return np.where(np.isnan(runs).any(axis=0), np.nan, np.mean(middle, axis=0))


def bootstrap_interval(
    values: ArrayLike,
    statistic: Statistic = interquartile_mean,
    level: float = 0.95,
    *,
    strata: Sequence[object] | None = None,
    n_resamples: int = 2000,
) -> Array:
    """The percentile bootstrap's interval of a statistic over runs.

    The runs that are drawn depend on ``n_resamples`` and on the numbers of runs alone, so the same values have the
    same interval at any time, and all points of a curve are resampled together.

    Args:
        values: ``[n_runs, ...]``.
        statistic: of resampled runs, `mean` or `interquartile_mean`; called with more axes than ``values`` has.
        level: of confidence, between 0 and 1.
        strata: the task of each run; runs are drawn anew within each task. None: all are of one.
        n_resamples: how often they are drawn.

    Returns:
        ``[2, ...]`` float64, lower and upper end; NaN where a run is NaN, and of one run, which says nothing of others.

    Raises:
        ArgumentError: there is no run, or an argument is out of range.
    """
    runs = _runs(values)
    if not 0.0 < level < 1.0:
        msg = f"level must be between 0 and 1, such as 0.95; got {level!r}."
        raise ArgumentError(msg)
    if n_resamples < 1:
        msg = f"n_resamples must be at least 1, such as 2000; got {n_resamples!r}."
        raise ArgumentError(msg)
    if strata is not None and len(strata) != len(runs):
        msg = f"strata must name the task of each of {len(runs)} runs, got {len(strata)} names."
        raise ArgumentError(msg)
    points = runs.reshape(len(runs), -1)
    ends = np.full((2, points.shape[1]), np.nan)
    if len(runs) > 1:
        drawn = _drawn(len(runs), strata, n_resamples)
        tails = ((1.0 - level) / 2.0, (1.0 + level) / 2.0)
        # Of one point all resamples are needed at once, of many points not all points are.
        width = max(1, _MOST_NUMBERS // drawn.size)
        for first in range(0, points.shape[1], width):
            columns = slice(first, first + width)
            ends[:, columns] = np.quantile(statistic(points[:, columns][drawn]), tails, axis=0)
    ends[:, np.isnan(points).any(axis=0)] = np.nan
    return ends.reshape(2, *runs.shape[1:])


def _drawn(n_runs: int, strata: Sequence[object] | None, n_resamples: int) -> Array:
    """Which runs each resample consists of, ``[n_runs, n_resamples]`` int."""
    tasks = [0] * n_runs if strata is None else list(strata)
    drawn = np.empty((n_runs, n_resamples), np.intp)
    for number, task in enumerate(dict.fromkeys(tasks)):
        members = np.flatnonzero([each == task for each in tasks])
        generator = Streams(0).generator("bootstrap", number)
        drawn[members] = members[generator.integers(members.size, size=(members.size, n_resamples))]
    return drawn


def _runs(values: ArrayLike) -> Array:
    runs = np.asarray(values, np.float64)
    if runs.ndim == 0 or not len(runs):
        msg = f"Expected the values of at least one run along the first axis, got shape {runs.shape}."
        raise ArgumentError(msg)
    return runs
