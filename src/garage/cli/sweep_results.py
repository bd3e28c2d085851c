"""What came out of a sweep: the final returns, and what they say of each combination of parameters."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from garage.cli.output import print_table
from garage.cli.sweep_trials import Trial
from garage.cli.terminal import echo
from garage.errors import ArgumentError
from garage.recording.intervals import bootstrap_interval, interquartile_mean, mean
from garage.storage.metric_rows import metric_rows

LEVEL = 0.95
N_RESAMPLES = 2000

_SHOWN_COLUMNS = 40


@dataclass(frozen=True)
class Measure:
    """What of a run is compared.

    Attributes:
        column: of the metrics.
        n_last: over how many of the last epochs its mean is taken.
    """

    column: str
    n_last: int

    def of(self, run: Path) -> float:
        """The mean over the last epochs that have a number there; NaN if none has.

        Raises:
            ArgumentError: there is no such column.
        """
        rows = metric_rows(run)
        columns = sorted({column for row in rows for column in row})
        if rows and self.column not in columns:
            shown = ", ".join(columns[:_SHOWN_COLUMNS])
            msg = f"There is no metric {self.column!r} in {run}; --metric takes one of {shown}."
            raise ArgumentError(msg)
        values = [row.get(self.column, math.nan) for row in rows[-self.n_last :]]
        numbers = [value for value in values if not math.isnan(value)]
        return float(np.mean(numbers)) if numbers else math.nan

    def __str__(self) -> str:
        over = "in its last epoch" if self.n_last == 1 else f"over its last {self.n_last} epochs"
        return f"{self.column} of each run, {'' if self.n_last == 1 else 'mean '}{over}"


@dataclass(frozen=True)
class Result:
    """What became of a trial.

    Attributes:
        trial: which.
        path: its directory; None if it has none.
        state: ``finished``, ``failed``, ``stopped``, ``running`` (by another process) or ``waiting``.
        value: of a finished one; NaN where there is none.
    """

    trial: Trial
    path: Path | None
    state: str
    value: float

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        path = None if self.path is None else str(self.path)
        return {"seed": self.trial.seed, "path": path, "state": self.state, "value": _or_none(self.value)}


def as_json(results: Sequence[Result], measure: Measure) -> dict[str, Any]:
    """All of it, for programs; what is no number is null."""
    combinations = []
    for settings, members in _combinations(results):
        values = _values(members)
        ends = _interval(values)
        combinations.append(
            {
                "parameters": settings,
                "n_trials": len(members),
                "n_finished": len([result for result in members if result.state == "finished"]),
                "mean": _or_none(float(mean(values)) if values else math.nan),
                "interquartile_mean": _or_none(float(interquartile_mean(values)) if values else math.nan),
                "interval": [_or_none(end) for end in ends],
                "trials": [result.as_json() for result in members],
            }
        )
    return {
        "metric": measure.column,
        "last_epochs": measure.n_last,
        "level": LEVEL,
        "n_resamples": N_RESAMPLES,
        "combinations": combinations,
    }


def show(results: Sequence[Result], measure: Measure) -> None:
    """Print a table with a line for each combination."""
    echo(
        f"{measure}. IQM: mean of the middle half of the seeds.",
        f"{LEVEL:.0%}: percentile bootstrap of the IQM over seeds, {N_RESAMPLES} resamples.",
    )
    rows = []
    for settings, members in _combinations(results):
        values = _values(members)
        low, high = _interval(values)
        numbers = [float(mean(values)), float(interquartile_mean(values))] if values else [math.nan, math.nan]
        interval = "-" if math.isnan(low) else f"{low:.6g} to {high:.6g}"
        counts = f"{len(values)} of {len(members)}"
        rows.append([*map(str, settings.values()), counts, *map(_shown, numbers), interval])
    names = [name.upper() for name, _ in results[0].trial.settings]
    print_table([*names, "SEEDS", "MEAN", "IQM", f"{LEVEL:.0%}"], rows)


def _combinations(results: Sequence[Result]) -> list[tuple[dict[str, Any], list[Result]]]:
    """Results by combination; those of one stand together."""
    groups = itertools.groupby(results, lambda result: result.trial.settings)
    return [(dict(settings), list(members)) for settings, members in groups]


def _values(members: Sequence[Result]) -> list[float]:
    return [result.value for result in members if result.state == "finished" and not math.isnan(result.value)]


def _interval(values: Sequence[float]) -> Sequence[float]:
    if not values:
        return [math.nan, math.nan]
    return [float(end) for end in bootstrap_interval(values, interquartile_mean, LEVEL, n_resamples=N_RESAMPLES)]


def _shown(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.6g}"


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
