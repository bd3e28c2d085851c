"""``garage pin``: keep a snapshot whatever the mode."""

import click

from garage.cli import snapshot_name
from garage.cli.completing import snapshots_of
from garage.cli.terminal import echo
from garage.errors import ArgumentError
from garage.storage import pins
from garage.storage.run_directory import RunDirectory


@click.command()
@click.argument("run", metavar="RUN[@EPOCH]", shell_complete=snapshots_of)
@click.option("--remove", is_flag=True, help="Let the snapshot of EPOCH go again when its mode lets it go.")
def pin(run: str, *, remove: bool) -> None:
    """Keep RUN's newest snapshot, or that of EPOCH (or first, last, best), until it is unpinned.

    Neither the run's snapshot mode nor `garage prune` removes it. The run may be training meanwhile.
    """
    path, which = snapshot_name.split(run)
    directory = RunDirectory(path)
    directory.info()
    if not remove:
        manifest = pins.pin(directory, "last" if which is None else which)
        echo(f"Pinned epoch {manifest.epoch} of {path}.")
        return
    if not isinstance(which, int):
        msg = f"--remove needs the epoch, such as: garage pin {path}@17 --remove; `garage show {path}` lists the pins."
        raise ArgumentError(msg)
    pins.unpin(directory, which)
    echo(f"Epoch {which} of {path} is no longer pinned.")
