"""``garage plot``: learning curves of runs as a picture."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np

from garage.cli.completing import runs_of
from garage.cli.output import print_json, print_table
from garage.cli.run_summary import RETURN, runs_below, say_unreadable
from garage.cli.terminal import echo
from garage.errors import ArgumentError
from garage.recording import curves, pictures
from garage.recording.curves import Curve, Series
from garage.storage.changed_arguments import unbuilt
from garage.storage.metric_rows import metric_rows
from garage.storage.run_directory import RunDirectory, RunInfo

_SEED, _EXPERIMENT = "seed", "experiment"


@dataclass
class _Group:
    """Runs that differ in the seed only, as far as they recorded what they were trained with."""

    settings: dict[str, Hashable]
    members: dict[int | None, Series] = field(default_factory=dict)


@click.command()
@click.argument(
    "runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN|DIR...", shell_complete=runs_of
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path("curves.png"), show_default=True, metavar="FILE",
    help="The picture: .png, .svg or .pdf.",
)  # fmt: skip
@click.option("--y", default=RETURN, show_default=True, metavar="COLUMN", help="What is drawn.")
@click.option("--x", metavar="COLUMN", help="Over what; by default the x_axis that the first run recorded.")
@click.option("--level", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.95, show_default=True,
              help="Of the interval.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print what was drawn as one object, and nothing else.")
def plot(  # noqa: PLR0913 - one parameter an option
    runs: tuple[Path, ...], output: Path, *, y: str, x: str | None, level: float, as_json: bool
) -> None:
    """Draw learning curves of RUNs, or of all runs below DIRs.

    Runs that differ in the seed only are one curve: their mean, in the band of its bootstrap interval over seeds, and
    their interquartile mean. The legend names what tells the curves apart. Runs that have their values at different
    x are interpolated linearly; a curve is drawn where all of its runs have values. The table printed is of its end.
    """
    pictures.check_format(output)
    pictures.need_matplotlib()
    infos = _with_rows({path: RunDirectory(path).info() for path in _paths(runs)})
    x = x or next(iter(infos.values())).x_axis
    groups = _groups(infos, x, y)
    drawn = [
        curves.curve(label, list(group.members.values()), level)
        for label, group in zip(_labels(groups), groups, strict=True)
    ]
    title = _common_name(groups) if len(groups) > 1 else ""
    pictures.draw(drawn, pictures.Captions(title, x, y, level), output)
    if as_json:
        print_json({"picture": str(output), "x": x, "y": y, "level": level, "curves": [_json(each) for each in drawn]})
        return
    percent = f"{100 * level:g}%"
    print_table(("CURVE", "SEEDS", x, "MEAN", percent, "IQM"), [_cells(each) for each in drawn])
    echo(f"Drawn: {output}.")


def _paths(given: Sequence[Path]) -> list[Path]:
    """The runs that were named, and those below directories that were, each once."""
    found: dict[Path, Path] = {}
    for root in given:
        below = [root] if (root / "run.json").is_file() else sorted(runs_below(root, say_unreadable))
        if not below:
            msg = f"There is no run at or below {root}. `garage ls` lists the runs below a directory."
            raise ArgumentError(msg)
        found |= {path.resolve(): path for path in below if path.resolve() not in found}
    return list(found.values())


def _with_rows(infos: Mapping[Path, RunInfo]) -> Mapping[Path, RunInfo]:
    """Those that have rows of their own; of several runs, the others are left out, and this is said."""
    reasons = {path: _why_not(path) for path in infos}
    begun = {path: info for path, info in infos.items() if reasons[path] is None}
    for path, reason in reasons.items():
        if begun and reason is not None:
            echo(f"Left out: {path} {reason}.", err=True)
    return begun or infos


def _why_not(path: Path) -> str | None:
    rows = metric_rows(path)
    if not rows:
        return "has no rows, for no epoch of it is finished"
    if unbuilt(RunDirectory(path), int(rows[-1]["epoch"])):
        return "was forked with other arguments and has not been trained with them; its rows are its parent's"
    return None


def _groups(infos: Mapping[Path, RunInfo], x: str, y: str) -> list[_Group]:
    groups: dict[str, _Group] = {}
    for path, info in infos.items():
        own = curves.series(str(path), info.seed, metric_rows(path), x, y)
        experiment = (info.target or "").rpartition(":")[2]
        settings: dict[str, Hashable] = {k: repr(v) for k, v in info.arguments.items() if k != _SEED}
        if experiment:
            settings = {_EXPERIMENT: experiment, **settings}
        # Who recorded no arguments may differ in anything.
        key = repr(sorted(settings.items())) if experiment else own.name
        group = groups.setdefault(key, _Group(settings))
        other = group.members.get(info.seed)
        if other is None:
            group.members[info.seed] = own
        elif _agree(own, other):
            shorter, longer = sorted((own, other), key=lambda each: len(each.x))
            echo(f"Left out: {shorter.name} is the same run as {longer.name}, as far as it goes.", err=True)
            group.members[info.seed] = longer
        else:
            echo(
                f"{own.name} and {other.name} have the same arguments and seed, and yet other numbers: two curves. "
                f"`garage diff {other.name} {own.name}` says what differs.",
                err=True,
            )
            groups[own.name] = _Group({**settings, "run": own.name}, {info.seed: own})
    return list(groups.values())


def _agree(a: Series, b: Series) -> bool:
    """Whether one is the beginning of the other."""
    n_points = min(len(a.x), len(b.x))
    return bool(np.array_equal(a.x[:n_points], b.x[:n_points]) and np.array_equal(a.y[:n_points], b.y[:n_points]))


def _labels(groups: Sequence[_Group]) -> list[str]:
    names = [next(iter(group.members.values())).name for group in groups]
    if len(groups) == 1:
        return [_common_name(groups) or names[0]]
    return curves.labels([group.settings for group in groups], names)


def _common_name(groups: Sequence[_Group]) -> str:
    """What all curves are of, if they are of one experiment."""
    found = {str(group.settings.get(_EXPERIMENT, "")) for group in groups}
    return found.pop() if len(found) == 1 else ""


def _cells(curve: Curve) -> list[str]:
    end = _end(curve)
    low, high = end["interval"]
    interval = "-" if len(curve.series) == 1 else f"{low:.6g} to {high:.6g}"
    numbers = (f"{end[name]:.6g}" for name in ("x", "mean"))
    return [curve.label, str(len(curve.series)), *numbers, interval, f"{end['interquartile_mean']:.6g}"]


def _end(curve: Curve) -> dict[str, Any]:
    return {
        "x": float(curve.x[-1]),
        "mean": float(curve.mean[-1]),
        "interquartile_mean": float(curve.interquartile_mean[-1]),
        "interval": [float(end) for end in curve.interval[:, -1]],
    }


def _json(curve: Curve) -> dict[str, Any]:
    runs = [{"path": each.name, "seed": each.seed} for each in curve.series]
    return {"label": curve.label, "runs": runs, "end": _end(curve)}
