"""``garage fork``: a new run that begins with a snapshot of another one."""

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from garage.cli import parameters, snapshot_name
from garage.cli.completing import snapshots_of
from garage.cli.terminal import echo
from garage.errors import ArgumentError
from garage.storage import changed_arguments
from garage.storage import fork as forking
from garage.storage.run_directory import RunDirectory
from garage.storage.signing_key import find_key


@click.command(options_metavar="", context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("run", required=False, metavar="RUN[@EPOCH]", shell_complete=snapshots_of)
@click.argument("new", required=False, metavar="NEW")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[--KEY VALUE]...")
@click.option("--help", "-h", "wants_help", is_flag=True, help="Show this.")
@click.pass_context
def fork(ctx: click.Context, run: str | None, new: str | None, words: tuple[str, ...], *, wants_help: bool) -> None:
    """Make the run NEW, which begins with the newest snapshot of RUN, or that of EPOCH (or first, last, best).

    NEW is a name, beside RUN, or a path; it must not be there yet. Both share the snapshot's packs as hard links, and
    neither needs the other.

    --KEY VALUE changes an argument of the experiment function as NEW records it; a value is taken as what it was in
    RUN. Objects are built with it by the `garage run FILE --resume auto` that is printed. Without one, or with --seed
    alone, `garage resume NEW` goes on with NEW.
    """
    if wants_help:
        click.echo(ctx.get_help())
        return
    if run is None or new is None or run.startswith("--") or new.startswith("--"):
        got = " ".join(word for word in (run, new, *words) if word is not None) or "nothing"
        msg = f"Expected RUN and NEW first, such as: garage fork data/local/experiment/trpo@9 trpo_1; got: {got}."
        raise ArgumentError(msg)
    path, which = snapshot_name.split(run)
    arguments = _arguments(words, RunDirectory(path).info().arguments, path)
    which = "last" if which is None else which
    made = forking.fork(path, which, _place(path, new), arguments=arguments, key=find_key())
    for problem in made.problems:
        echo(f"Passed over a damaged snapshot: {problem}", err=True)
    if made.rows_problem is not None:
        echo(made.rows_problem, err=True)
    copied = f", {made.n_copied} of them copied" if made.n_copied else ""
    echo(f"Forked epoch {made.manifest.epoch} of {path} into {made.path}. Packs: {made.n_packs}{copied}.")
    if changed_arguments.unbuilt(RunDirectory(made.path), made.manifest.epoch):
        command = changed_arguments.building_command(made.path, made.info.arguments)
        echo(f"To go on with it, FILE being the experiment's: {command}")
        n_epochs = made.info.arguments.get("n_epochs")
        if isinstance(n_epochs, int) and n_epochs <= made.manifest.epoch + 1:
            echo(f"All of its {n_epochs} epochs are finished: to train further, fork with more of them by --n-epochs.")
    else:
        echo(f"To go on with it: {shlex.join(['garage', 'resume', str(made.path)])}")


def _place(run: Path, new: str) -> Path:
    """A name is one beside the run."""
    if Path(new).name == new and new not in {os.curdir, os.pardir}:
        return (run if run.name not in {"", os.pardir} else run.absolute()).parent / new
    return Path(new)


def _arguments(words: Sequence[str], recorded: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Changed arguments; each is of the kind that the recorded one is, for no signature is at hand."""

    def refused(reason: str) -> str:
        lines = [f"  --{name} (recorded: {value!r})" for name, value in recorded.items()] or ["  none"]
        return "\n".join([f"Cannot fork {path}: {reason}. Its arguments:", *lines])

    kinds = {name: _kind(value) for name, value in recorded.items()}
    return parameters.read(words, lambda name: kinds.get(name, parameters.UNKNOWN), refused)


def _kind(value: object) -> Any:  # noqa: ANN401 - a type, or a union of types
    """A whole number may have been given for a parameter that takes any; null says nothing."""
    if value is None:
        return Any
    return int | float if type(value) is int else type(value)
