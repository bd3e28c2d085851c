"""``garage ls``: the runs below a directory."""

from pathlib import Path

import click
import msgspec

from garage.cli.output import age, print_json, print_table
from garage.cli.run_summary import RunSummary, runs_below, say_unreadable, summarise
from garage.cli.terminal import echo
from garage.errors import ArgumentError

_DATA = Path("data") / "local"


@click.command()
@click.argument("directory", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects, and nothing else.")
def ls(directory: Path | None, *, as_json: bool) -> None:
    """List the runs below DIR (default: data/local), at any depth.

    EPOCH is the newest one, of N_EPOCHS in all. STATE is running, finished, stopped (it can go on), failed, empty
    (no snapshot yet) or damaged (see `garage verify`).
    """
    root = directory or _DATA
    if directory is not None and not directory.is_dir():
        msg = f"There is no directory {directory} to list. Without one, `garage ls` lists {_DATA}."
        raise ArgumentError(msg)
    runs = [summarise(path) for path in sorted(runs_below(root, say_unreadable))]
    if as_json:
        print_json([msgspec.to_builtins(run) for run in runs])
    elif runs:
        columns = ("RUN", "STATE", "EPOCH", "N_EPOCHS", "AVERAGE_RETURN", "AGE")
        print_table(columns, [_cells(run) for run in runs])
    else:
        echo(f"There are no runs below {root}. `garage run FILE` makes one.", err=True)


def _cells(run: RunSummary) -> list[str]:
    average = "-" if run.average_return is None else f"{run.average_return:.6g}"
    epoch, n_epochs = ("-" if value is None else str(value) for value in (run.epoch, run.n_epochs))
    return [run.path, run.state, epoch, n_epochs, average, age(run.updated_at)]
