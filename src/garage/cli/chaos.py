"""``garage chaos``: does an experiment of one's own go on where it was killed?"""

import contextlib
import secrets
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from garage.errors import ArgumentError
from garage.experiment.chaos.comparison import Forgotten, Parting, forgotten, parted_with
from garage.experiment.chaos.trial import FailedError, Kill, Trial, WholeRun
from garage.experiment.directories import DATA

DIFFERENT = 7
_WRONG_USAGE = 2
_MOST_LEAVES, _MOST_ATTRIBUTES = 6, 20
_BY_CALL, _BY_RECIPE = "calling the function again", "the recipe"


@click.command(
    options_metavar="[OPTIONS]",
    context_settings={"ignore_unknown_options": True, "help_option_names": ["-h", "--help"]},
)
@click.argument("target", metavar="FILE[:FUNCTION]")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[--KEY VALUE]...")
@click.option("--kills", type=click.IntRange(min=1), default=6, show_default=True, help="How often it is killed.")
@click.option("--recipe", "by_recipe", is_flag=True, help="Go on as `garage resume` does, instead of by FUNCTION.")
@click.option("--chaos-seed", type=click.IntRange(min=0), help="Of the moments; by default another one each time.")
@click.option("--keep", is_flag=True, help="Keep the runs, to look into them.")
@click.pass_context
def chaos(  # noqa: PLR0913 - one parameter an option
    ctx: click.Context,
    target: str,
    words: tuple[str, ...],
    *,
    kills: int,
    by_recipe: bool,
    chaos_seed: int | None,
    keep: bool,
) -> None:
    """Check that an experiment which is killed and resumed ends as if nothing had happened.

    Runs FUNCTION of FILE once whole, and once killed at random moments by SIGKILL, each time resumed in a new process
    with other addresses, another order of sets and other first states of the process's generators. Then it compares
    all epochs: values, metrics, the process's generators.

    The other options are the experiment's own parameters, as for `garage run`; few epochs are enough, but all of
    their snapshots are kept for as long as this takes. Nothing is written to data/local. Exits with 0 if the runs are
    equal, with 7 if not.
    """
    seed = secrets.randbits(31) if chaos_seed is None else chaos_seed
    data_is_there = Path(DATA.parts[0]).exists()
    scratch = Path(tempfile.mkdtemp(prefix="garage-chaos-"))
    try:
        status = _chaos(Trial(target, words, scratch, by_recipe=by_recipe, seed=seed), kills, by_recipe=by_recipe)
    except FailedError as error:  # of the whole run: there is nothing to compare
        click.echo(error.complaint, err=True)
        if error.status != _WRONG_USAGE:
            click.echo("\nThe experiment fails by itself, before anything was killed.", err=True)
        status = error.status if error.status > 0 else 1
    finally:
        if keep:
            click.echo(f"The runs are kept in {scratch}.")
        else:
            shutil.rmtree(scratch, ignore_errors=True)
        if not data_is_there:
            with contextlib.suppress(OSError):  # there is none, or the experiment put something of its own into it
                Path(DATA.parts[0]).rmdir()
    if status == DIFFERENT:
        click.echo(f"The moments again: --chaos-seed {seed}. The runs to look into: --keep.")
    ctx.exit(status)


def _chaos(trial: Trial, kills: int, *, by_recipe: bool) -> int:
    whole = trial.whole()
    click.echo(f"Whole: {whole.n_epochs} epochs in {whole.seconds:.1f} s.")
    if whole.drawn_seed is not None:
        click.echo(
            f"It sets no seed; so that runs can be compared, the others begin with set_seed({whole.drawn_seed})."
        )
    way = _BY_RECIPE if by_recipe else _BY_CALL
    try:
        for number, kill in enumerate(trial.kills(whole, kills), start=1):
            click.echo(f"Killed {number} of {kills}: {_place(kill, max(whole.seen))}")
        killed = trial.finish_killed()
    except FailedError as error:
        click.echo(f"{error.complaint}\n\nDifferent: resumed by {way}, it fails, and it did not fail by itself.")
        if not by_recipe:
            click.echo("If it has to be resumed by its recipe, add --recipe.")
        return DIFFERENT
    click.echo(f"Resumed by {way}, to the end.")
    seen = trial.killed_seen()
    if not any(each and each[0].epoch > min(whole.seen) for each in seen):
        msg = (
            f"None of {kills} kills left a snapshot to go on from before the run had ended, so nothing was tested. "
            "Give it more epochs or larger ones, or more --kills."
        )
        raise ArgumentError(msg)
    parting = trial.parting(whole, killed, seen)
    if parting is None:
        click.echo(f"Equal: {whole.n_epochs} epochs; values, metrics and the process's generators.")
        if any(each.thetas for each in whole.seen.values()):
            click.echo("The algorithm is pickled whole, so of its values only the policies' parameters were compared.")
        _show("Not restored, without a difference in these epochs", forgotten(whole.seen, seen, None))
        return 0
    _explain(trial, whole, parting)
    return DIFFERENT


def _place(kill: Kill, end: int) -> str:
    """Where a kill hit, and what the process had begun with."""
    line = kill.line
    where = "before its first epoch" if line.epoch < 0 else f"in epoch {line.epoch}"
    after = f', after "{line.text}"' if line.text else ""
    if line.epoch >= end:
        where, after = "after the last epoch", ""
    if kill.began_at is None:
        return where + after
    return f"{where}{after}; it had {'gone on' if kill.resumed else 'begun'} at epoch {kill.began_at}"


def _explain(trial: Trial, whole: WholeRun, parting: Parting) -> None:
    """Say where the runs part, and look for what made them."""
    click.echo(f"Different: epoch {parting.epoch} is the first that is not the same.")
    _say(parting.others)
    if parting.generators:
        click.echo("The process's generators:")
        _say(parting.generators)
    if parting.metrics and parting.leaves_epoch > parting.epoch:
        click.echo(f"Its values are the same; these metrics are not: {', '.join(parting.metrics)}.")
        click.echo(f"Values after epoch {parting.leaves_epoch}:")
    elif parting.metrics and not parting.leaves and not parting.others:
        click.echo(f"All values are the same to the end; these metrics are not: {', '.join(parting.metrics)}.")
    _say(parting.leaves)
    if parting.leaves and parting.leaves_epoch == parting.epoch:
        what = "Its episodes differ" if parting.sampled else "Its episodes are the same; they part in learning"
        click.echo(f"{what}.")
    if not _differs_from_itself(trial, whole):
        seen = trial.killed_seen()
        lost = forgotten(whole.seen, seen, parting.epoch)
        _show("A whole run again is equal, so it is resuming that loses something. Not restored", lost)
        if not lost:
            click.echo("A whole run again is equal, so it is resuming that loses something; no attribute shows it.")
            _show("Attributes that differ after that epoch", parted_with(whole.seen, seen, parting.epoch))
        click.echo("What has to survive belongs into state_dict(), see docs/your-own-algorithm.md.")


def _differs_from_itself(trial: Trial, whole: WholeRun) -> bool:
    """Whether the experiment needs no kill to end elsewhere; if so, say it."""
    try:
        again = trial.whole("again")
        parted = trial.parting(whole, again.path, [list(again.seen.values())])
        if parted is None:
            return False
        same = trial.whole("same-sets", same_hash_seed=True)
        by_sets = trial.parting(whole, same.path, [list(same.seen.values())]) is None
    except FailedError as error:
        click.echo(f"{error.complaint}\n\nA whole run again fails, although the first one did not.")
        return True
    click.echo(f"It needs no kill for that: a whole run again differs too, from epoch {parted.epoch} on.")
    _say([*parted.others, *parted.leaves, *parted.generators])
    if by_sets:
        click.echo(
            "With the same PYTHONHASHSEED it is equal, so it depends on the order of a set or on hash(): sort first."
        )
    elif parted.metrics and not (parted.leaves or parted.generators or parted.others):
        click.echo(
            f"Only metrics do: {', '.join(parted.metrics)}. What a clock measures is left out if its name ends in Time."
        )
    else:
        click.echo(
            "Something in it follows from no seed: a clock, a generator of its own without a seed, id(), a thread, a "
            "file that changes. Draw from `streams`, and call set_seed first."
        )
    return True


def _show(title: str, lost: Sequence[Forgotten]) -> None:
    if lost:
        click.echo(f"{title}:")
        lines = [f"`{each.path}` at epoch {each.epoch}: {each.whole} whole, {each.resumed} resumed" for each in lost]
        _say(lines, _MOST_ATTRIBUTES)


def _say(lines: Sequence[str], most: int = _MOST_LEAVES) -> None:
    for line in lines[:most]:
        click.echo(f"  {line}")
    if len(lines) > most:
        click.echo(f"  and {len(lines) - most} more")
