"""``garage resume``: go on with a run."""

import contextlib
import logging
from pathlib import Path

import click

from garage.cli import recorded_mode, samplers, snapshot_name
from garage.cli.completing import runs_of
from garage.errors import NothingLeftError
from garage.experiment import portable
from garage.experiment.recipes import surroundings_of
from garage.experiment.signals import answered
from garage.experiment.tf_trainer import trainer_for
from garage.experiment.trainer import Trainer
from garage.experiment.trust import need_trust
from garage.recording.console import console
from garage.storage.run_directory import RunDirectory
from garage.storage.signing_key import find_key
from garage.storage.store import SnapshotStore
from garage.storage.writer import rewind as abandon_after


@click.command()
@click.argument("run", type=click.Path(path_type=Path), callback=snapshot_name.run_alone, shell_complete=runs_of)
@click.option(
    "--from",
    "which",
    callback=snapshot_name.option,
    default="last",
    show_default=True,
    metavar="first|last|best|EPOCH",
    help="The snapshot to go on from.",
)
@click.option("--rewind", is_flag=True, help="With --from EPOCH: abandon the epochs after it, and stay in RUN.")
@click.option("--n-epochs", type=int, help="In all, not in addition; by default as before.")
@click.option("--batch-size", type=int, help="Steps of an epoch; by default as before.")
@samplers.options
@click.option("--trust", is_flag=True, help="Run its code although your key has not signed it.")
@click.option("--portable/--no-portable", "is_portable", default=None, help="See `garage run`; by default as before.")
@click.option("--quiet", "-q", is_flag=True, help="Print warnings and errors alone; debug.log has the rest.")
def resume(  # noqa: PLR0913 - one parameter an option
    run: Path,
    which: int | str,
    *,
    rewind: bool,
    n_epochs: int | None,
    batch_size: int | None,
    workers: int | None,
    ray: str | None,
    trust: bool,
    is_portable: bool | None,
    quiet: bool,
) -> None:
    """Go on with RUN, a run's directory.

    From its newest snapshot the run goes on in place; from an older one in a new directory beside it, unless
    --rewind is given. Rebuilding the experiment runs the code that the run's recipe names.
    """
    if rewind and not isinstance(which, int):
        msg = "--rewind needs --from EPOCH, the epoch after which all are abandoned."
        raise click.UsageError(msg)
    if is_portable is None:
        recorded_mode.enter(run, which)
    elif is_portable:
        portable.enter()
    with console(quiet=quiet), samplers.chosen(workers, ray), answered():
        if rewind and isinstance(which, int):
            _rewind(run, which, n_epochs, batch_size, trust=trust)
        with _trainer(run, which, trust=trust) as trainer:
            trainer.restore(run, "last" if rewind else which, trust=trust)
            trainer.resume(n_epochs=n_epochs, batch_size=batch_size)


def _trainer(run: Path, which: int | str, *, trust: bool) -> contextlib.AbstractContextManager[Trainer]:
    """One that can rebuild the run's objects."""
    key = None if trust else find_key()
    snapshot = SnapshotStore(run, key).read(which)
    if snapshot.recipe is None:
        return contextlib.nullcontext(Trainer())
    if not trust:
        need_trust(snapshot, run, key)
    return trainer_for(surroundings_of(snapshot.recipe))


def _rewind(run: Path, epoch: int, n_epochs: int | None, batch_size: int | None, *, trust: bool) -> None:
    """Abandon the epochs after ``epoch``, once it is certain that training can go on from there."""
    logging.disable(logging.WARNING)  # the restore that counts says it all again
    try:
        with _trainer(run, epoch, trust=trust) as trainer:
            args = trainer.restore(run, epoch, trust=trust).changed(n_epochs=n_epochs, batch_size=batch_size)
    finally:
        logging.disable(logging.NOTSET)
    if args.start_epoch >= args.n_epochs:
        msg = (
            f"Nothing was rewound: {args.start_epoch} epochs would be finished and n_epochs={args.n_epochs} is the "
            f"total. Give --n-epochs {args.start_epoch + 1} or more."
        )
        raise NothingLeftError(msg)
    abandoned = abandon_after(RunDirectory(run), epoch)
    listed = ", ".join(map(str, abandoned)) or "none"
    click.echo(f"Rewound {run} to epoch {epoch}; abandoned the snapshots of epochs: {listed}.")
