"""``garage du``: what runs take up on the disk."""

from pathlib import Path

import click
import msgspec

from garage.cli.completing import runs_of
from garage.cli.output import print_json, print_table
from garage.cli.run_summary import runs_below, say_unreadable
from garage.cli.terminal import echo
from garage.errors import ArgumentError
from garage.storage.usage import usage

_DATA = Path("data") / "local"


@click.command()
@click.argument(
    "directories", nargs=-1, type=click.Path(path_type=Path), metavar="[DIR|RUN]...", shell_complete=runs_of
)
@click.option("--json", "as_json", is_flag=True, help="Print one object, and nothing else.")
def du(directories: tuple[Path, ...], *, as_json: bool) -> None:
    """Show the bytes that runs take up on the disk: RUN, or all below DIR (default: data/local).

    SNAPSHOTS is the part of manifests and packs. SHARED is what has names elsewhere too, such as the packs that a
    fork has in common with its parent; OWN is what deleting the run would free. The total counts a file once, however
    many of the listed runs share it.
    """
    for directory in directories:
        if not directory.is_dir():
            msg = f"There is no directory {directory} to measure. Give a run, or a directory that has runs below it."
            raise ArgumentError(msg)
    roots = directories or (_DATA,)
    found = {path.resolve(): path for root in roots for path in runs_below(root, say_unreadable)}
    runs, total = usage(sorted(found.values()), say_unreadable)
    if as_json:
        print_json({"runs": msgspec.to_builtins(runs), "total": total})
    elif runs:
        cells = [[run.path, *(f"{n:,}" for n in (run.bytes, run.snapshots, run.shared, run.own))] for run in runs]
        print_table(("RUN", "BYTES", "SNAPSHOTS", "SHARED", "OWN"), [*cells, ["total", f"{total:,}", "", "", ""]])
    else:
        echo(f"There are no runs below {', '.join(map(str, roots))}. `garage run FILE` makes one.", err=True)
