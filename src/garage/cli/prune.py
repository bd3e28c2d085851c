"""``garage prune``: forget snapshots, and give their room back."""

from pathlib import Path

import click
import msgspec

from garage.cli import snapshot_name
from garage.cli.completing import runs_of
from garage.cli.output import print_json, ranges
from garage.cli.terminal import echo
from garage.storage import prune as pruning
from garage.storage.run_directory import RunDirectory
from garage.storage.signing_key import find_key


@click.command()
@click.argument("run", type=click.Path(path_type=Path), callback=snapshot_name.run_alone, shell_complete=runs_of)
@click.option(
    "--keep",
    "words",
    multiple=True,
    metavar="last|all|first|best|EPOCH|gap:N",
    help="Snapshots to keep, besides those that are always kept; several with commas, or by giving it again.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one object, and nothing else.")
def prune(run: Path, words: tuple[str, ...], *, dry_run: bool, as_json: bool) -> None:
    """Forget the snapshots of RUN that are not kept, and give back the room that none needs.

    Without --keep no snapshot is forgotten; only room that was left over is given back. Always kept are the newest
    snapshot that is whole, any newer one, and those that trainer.save asked for. `best` is the snapshot that restore
    would take, gap:N are the epochs divisible by N. Rows of metrics stay.
    """
    keep = pruning.Keep.of(word for option in words or ("all",) for word in option.split(","))
    pruned = pruning.prune(RunDirectory(run), keep, dry_run=dry_run, key=find_key())
    if as_json:
        print_json({"path": str(run), "dry_run": dry_run, **msgspec.to_builtins(pruned)})
        return
    for problem in pruned.problems:
        echo(problem, err=True)
    would = "Would forget" if dry_run else "Forgot"
    echo(f"{would} snapshots of epochs: {ranges(pruned.forgotten)}; kept: {ranges(pruned.kept)}.")
    echo(f"Packs removed: {pruned.packs_removed}, rewritten: {pruned.packs_rewritten}.")
    echo(f"Bytes {'that would be ' if dry_run else ''}freed: {pruned.bytes_freed:,}.")
