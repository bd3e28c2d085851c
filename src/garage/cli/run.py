"""``garage run``: run an experiment of a file."""

import contextlib
import shlex
import traceback
from collections.abc import Iterator
from pathlib import Path

import click

from garage.cli import experiment_files, parameters, samplers
from garage.cli.completing import files
from garage.errors import GarageError, NothingLeftError
from garage.experiment import portable
from garage.experiment.context import RESUME_CHOICES, launch
from garage.experiment.signals import answered
from garage.recording.console import console

_FAILED = 1


@click.command(
    options_metavar="",
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
)
@click.argument("target", required=False, metavar="FILE[:FUNCTION]", shell_complete=files)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[--KEY VALUE]...")
@click.option(
    "--resume",
    type=click.Choice(RESUME_CHOICES),
    default="never",
    show_default=True,
    help="auto: go on with the run of these arguments if there is one; must: there has to be one; never: a new run.",
)
@click.option("--log-dir", type=click.Path(path_type=Path), help="The run's directory, instead of the experiment's.")
@click.option("--tensorboard", is_flag=True, help="Write events for TensorBoard into the run's directory, too.")
@samplers.options
@click.option("--portable", "is_portable", is_flag=True, help="The same last bits on any x86-64-v3 machine; slower.")
@click.option("--quiet", "-q", is_flag=True, help="Print warnings and errors alone; debug.log has the rest.")
@click.option("--help", "-h", "wants_help", is_flag=True, help="Show this and, after FILE, the file's experiments.")
@click.pass_context
def run(  # noqa: PLR0913 - one parameter an option
    ctx: click.Context,
    target: str | None,
    words: tuple[str, ...],
    *,
    resume: str,
    log_dir: Path | None,
    tensorboard: bool,
    workers: int | None,
    ray: str | None,
    is_portable: bool,
    quiet: bool,
    wants_help: bool,
) -> None:
    """Run the experiment that FILE defines with @wrap_experiment; FUNCTION says which, where it defines several.

    The other options are the experiment's own parameters, such as --n-epochs 20 or --n_epochs=20. A parameter that
    is named like an option of `garage run` comes after `--`.
    """
    if wants_help:
        click.echo(ctx.get_help())
        if target is not None:
            _show_parameters(target)
        return
    if target is None:
        msg = "Missing argument 'FILE[:FUNCTION]'."
        raise click.UsageError(msg)
    if is_portable:
        portable.enter()
    path, function = experiment_files.split_target(target)
    try:
        with console(quiet=quiet), samplers.chosen(workers, ray), answered():
            experiments = experiment_files.experiments_of(experiment_files.load(path), function)
            experiment = experiment_files.only(experiments, path)
            arguments, command = parameters.parsed(words, experiment), _going_on(ctx, target, words)
            chosen = {"log_dir": None if log_dir is None else str(log_dir), "tensorboard": tensorboard}
            options = {name: value for name, value in chosen.items() if value}
            with _said_how(resume):
                launch(experiment, arguments, resume=resume, command=command, options=options)
    except GarageError as error:
        _add_place(error, path.resolve())
        raise
    except (EOFError, OSError) as error:
        # click would take these for an end of input or of the pipe that we print to.
        traceback.print_exception(error)
        ctx.exit(_FAILED)


def _going_on(ctx: click.Context, target: str, words: tuple[str, ...]) -> str:
    """The same command with ``--resume auto``."""
    options = [option for option in ctx.command.params if isinstance(option, click.Option)]
    given = []
    for option in options:
        value = ctx.params[str(option.name)]
        if option.is_flag and value:
            given.append(option.opts[0])
        elif not option.is_flag and option.name != "resume" and value is not None:
            given += [option.opts[0], str(value)]
    own = {name for option in options for name in option.opts}
    separator = ["--"] if any(word.partition("=")[0] in own for word in words) else []
    return shlex.join(["garage", "run", "--resume", "auto", *given, target, *separator, *words])


@contextlib.contextmanager
def _said_how(resume: str) -> Iterator[None]:
    """What ends a run without being an error is said, and how to go on."""
    try:
        yield
    except NothingLeftError as error:
        if resume != "auto":
            raise
        click.echo(str(error))
    except KeyboardInterrupt:
        click.echo("Every epoch that was saved is safe: the same command with --resume auto goes on.", err=True)
        raise


def _show_parameters(target: str) -> None:
    path, function = experiment_files.split_target(target)
    experiments = experiment_files.experiments_of(experiment_files.load(path), function)
    for name, experiment in experiments.items():
        click.echo(f"\nParameters of {name}:")
        for option, default in parameters.described(experiment):
            click.echo(f"  {option}  ({default})")


def _add_place(error: GarageError, path: Path) -> None:
    """Say which line of the user's file an error came from."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    if frames:
        error.add_note(f"It came from line {frames[-1].lineno} of {path}; `garage --debug run` shows the traceback.")
