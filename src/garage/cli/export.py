"""``garage export``: a snapshot's values as a file for other programs."""

from pathlib import Path

import click

from garage.cli import snapshot_name
from garage.cli.terminal import echo
from garage.errors import ArgumentError
from garage.storage import export as exporting
from garage.storage.disk import Disk
from garage.storage.store import EPISODES, SnapshotStore


@click.command()
@click.argument("run", metavar="RUN[@EPOCH]")
@click.option("--to", "kind", type=click.Choice(tuple(exporting.FORMATS)), required=True, help="The file's format.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="By default NAME@EPOCH.FORMAT.")
@click.option("--only", metavar="PATH-PREFIX", help="Only what lies at or below that path, such as algo/policy.")
def export(run: str, kind: str, output: Path | None, only: str | None) -> None:
    """Write the values of RUN's newest snapshot, or that of EPOCH (or first, last, best), by their paths.

    Arrays stay as they are; the columns of a replay buffer lie below its path. Single numbers, strings and booleans
    are arrays without axes in npz, and JSON in the metadata of both formats. Stored episodes are written with --only
    episodes. A file that is there is replaced.
    """
    path, which = snapshot_name.split(run)
    store = SnapshotStore(path)
    snapshot = store.read("last" if which is None else which, with_recipe=False)
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
    target = output or Path(f"{path.absolute().name}@{manifest.epoch}.{kind}")
    if target.is_dir():
        msg = f"Cannot write {target}: it is a directory. Give the name of a file with -o."
        raise ArgumentError(msg)
    about = {"run": manifest.run, "name": manifest.name, "epoch": str(manifest.epoch), "digest": manifest.digest}
    Disk().write_whole(target, [exporting.FORMATS[kind](leaves, about)])
    for problem in snapshot.problems:
        echo(f"Passed over a damaged snapshot: {problem}", err=True)
    for leaf in manifest.opaque:
        echo(f"Left out `{leaf.path}`: it is a pickle, and holds no values that can be read without it.", err=True)
    echo(f"Wrote {len(leaves)} values of epoch {manifest.epoch} to {target}.")
