"""``garage export``: a snapshot's values, or a run's metrics, as files for other programs."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from garage.cli import snapshot_name
from garage.cli.completing import snapshots_of
from garage.cli.terminal import echo
from garage.errors import ArgumentError, WriteError
from garage.recording import metric_tables
from garage.recording.tensorboard import TensorBoardEvents
from garage.storage import export as exporting
from garage.storage.disk import Disk
from garage.storage.metric_rows import metric_rows, save_times
from garage.storage.run_directory import RunDirectory
from garage.storage.store import EPISODES, SnapshotStore

_EVENTS = "tensorboard"
_KINDS = (*exporting.FORMATS, *metric_tables.FORMATS, _EVENTS)


@click.command()
@click.argument("run", metavar="RUN[@EPOCH]", shell_complete=snapshots_of)
@click.option("--to", "kind", type=click.Choice(_KINDS), required=True, help="The file's format.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE",
    help="By default NAME@EPOCH.FORMAT for values, NAME.FORMAT for metrics, the folder NAME-tensorboard for events.",
)  # fmt: skip
@click.option("--only", metavar="PREFIX", help="Only what is named so, or lies below: algo/policy, or Evaluation.")
def export(run: str, kind: str, output: Path | None, only: str | None) -> None:
    """Write values of a snapshot of RUN to npz or safetensors, or its metrics to csv, parquet or events for
    TensorBoard.

    Values are those of the newest snapshot, or of that of EPOCH (or first, last, best), by their paths. Arrays stay as
    they are; the columns of a replay buffer lie below its path. Single numbers, strings and booleans are arrays
    without axes in npz, and JSON in the metadata of both formats. Stored episodes are written with --only episodes.

    Metrics are those of all epochs, or of those up to EPOCH. A file that is there is replaced.
    """  # noqa: D205 - click joins the lines
    path, which = snapshot_name.split(run)
    if kind in exporting.FORMATS:
        _export_values(path, "last" if which is None else which, kind, output, only)
    else:
        _export_metrics(path, which, kind, output, only)


def _export_metrics(path: Path, which: int | str | None, kind: str, output: Path | None, only: str | None) -> None:
    directory = RunDirectory(path)
    if isinstance(which, str):
        which = SnapshotStore(path).read(which, with_recipe=False, only=()).manifest.epoch
    x_axis, rows = directory.info().x_axis, _only(metric_rows(path, which), only, directory)
    name = path.absolute().name
    if kind == _EVENTS:
        target = output or Path(f"{name}-{_EVENTS}")
        if target.exists() and not target.is_dir():
            msg = f"Cannot write events to {target}: it is a file. TensorBoard reads folders; give one with -o."
            raise ArgumentError(msg)
        with _exported(target), contextlib.closing(TensorBoardEvents(target, x_axis, rows, save_times(directory))):
            pass
    else:
        target = _file(output or Path(f"{name}.{kind}"))
        with _exported(target):
            Disk().write_whole(target, [metric_tables.FORMATS[kind](rows, x_axis)])
    echo(f"Wrote the metrics of {len(rows)} epochs to {target}.")


def _only(rows: Sequence[dict[str, Any]], only: str | None, directory: RunDirectory) -> list[dict[str, Any]]:
    """Rows with the metrics that are wanted, and what they are drawn over."""
    if not rows:
        msg = f"There are no metrics in {directory.path}: no epoch of it is finished."
        raise ArgumentError(msg)
    if only is None:
        return list(rows)
    kept = {"epoch", directory.info().x_axis}
    wanted = {name for row in rows for name in row if f"{name}/".startswith(f"{only.strip('/')}/")}
    if not wanted:
        there = ", ".join(sorted({name.split("/")[0] for row in rows for name in row}))
        msg = f"No metric of {directory.path} is named {only!r} or lies below. There is: {there}."
        raise ArgumentError(msg)
    return [{name: value for name, value in row.items() if name in wanted | kept} for row in rows]


def _file(target: Path) -> Path:
    if target.is_dir():
        msg = f"Cannot write {target}: it is a directory. Give the name of a file with -o."
        raise ArgumentError(msg)
    return target


@contextlib.contextmanager
def _exported(target: Path) -> Iterator[None]:
    """A refusal is told as that of a file which is no part of a run."""
    try:
        yield
    except WriteError as error:
        refusal = error.__cause__
        reason = refusal.strerror if isinstance(refusal, OSError) else None
        msg = f"Cannot write {target}: {reason or refusal}. Nothing was exported; give another place with -o."
        raise WriteError(msg) from refusal


def _export_values(path: Path, which: int | str, kind: str, output: Path | None, only: str | None) -> None:
    store = SnapshotStore(path)
    snapshot = store.read(which, with_recipe=False)
    manifest = snapshot.manifest
    everything = leaves = exporting.values(snapshot.state)
    if only is not None:
        if only.split("/")[0] == EPISODES:
            everything = exporting.values(store.read_episodes(manifest) or {})
        leaves = {leaf: value for leaf, value in everything.items() if f"{leaf}/".startswith(f"{only.strip('/')}/")}
        if not leaves:
            there = ", ".join(sorted({"/".join(leaf.split("/")[:2]) for leaf in everything})) or "nothing"
            msg = f"Epoch {manifest.epoch} of {path} has nothing at or below {only!r}. There is: {there}."
            raise ArgumentError(msg)
    target = _file(output or Path(f"{path.absolute().name}@{manifest.epoch}.{kind}"))
    about = {"run": manifest.run, "name": manifest.name, "epoch": str(manifest.epoch), "digest": manifest.digest}
    with _exported(target):
        Disk().write_whole(target, [exporting.FORMATS[kind](leaves, about)])
    for problem in snapshot.problems:
        echo(f"Passed over a damaged snapshot: {problem}", err=True)
    for leaf in manifest.opaque:
        echo(f"Left out `{leaf.path}`: it is a pickle, and holds no values that can be read without it.", err=True)
    echo(f"Wrote {len(leaves)} values of epoch {manifest.epoch} to {target}.")
