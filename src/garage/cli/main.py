"""The ``garage`` command: its commands, its exit codes, and how errors are shown."""

import importlib
import traceback
from typing import Any

import click
from click.shell_completion import CompletionItem

from garage import __version__
from garage.cli.terminal import echo_error
from garage.errors import (
    ArgumentError,
    DamagedError,
    GarageError,
    InUseError,
    NoSnapshotError,
    NothingLeftError,
    UntrustedError,
)

_COMMANDS = {
    "check-env": "Say whether an environment keeps what exactness rests on.",
    "run": "Run an experiment of a file, or go on with it.",
    "sweep": "Run an experiment with many parameters and seeds.",
    "resume": "Go on with a run from one of its snapshots.",
    "ls": "List the runs below a directory.",
    "show": "Show who a run is and what a snapshot of it holds.",
    "verify": "Read everything of a run and name what is damaged.",
    "replay": "Compute a run anew, and compare it with what was recorded.",
    "diff": "Compare two runs: arguments, versions, code, metrics, state.",
    "tree": "Draw which runs went on from which.",
    "chaos": "Kill and resume an experiment of yours, and see what is lost.",
    "trust": "Let the code of somebody else's run be run as your own.",
    "fork": "Make a run that begins with a snapshot of another one.",
    "pin": "Keep a snapshot of a run whatever its mode.",
    "prune": "Forget snapshots of a run, and give their room back.",
    "du": "Show what runs take up on the disk.",
    "export": "Write a snapshot's values, or metrics, to a file for other programs.",
    "plot": "Draw learning curves of runs as a picture.",
    "eval": "Play episodes with a run's policy, and say what it returns.",
    "render": "Film how a run's policy acts.",
    "doctor": "Say whether packages, disk and machine are fit for runs.",
    "completion": "Print what makes a shell complete commands and runs.",
}
"""Each is a function of that name (_ for -) in the module of that name; the help is here so that listing loads none."""

_EXIT_CODES: tuple[tuple[type[GarageError], int], ...] = (
    (ArgumentError, 2),
    (NoSnapshotError, 3),
    (DamagedError, 3),
    (NothingLeftError, 4),
    (InUseError, 5),
    (UntrustedError, 6),
)
_FAILED = 1
_INTERRUPTED = 130

_EPILOG = """
\b
Exit codes:
  0    fine
  1    an error of garage, or of your own code; diff: the runs are not equal
  2    wrong usage, or an argument out of range
  3    no snapshot, or a damaged one
  4    nothing left to do
  5    the run is in use by another process
  6    the run's code is not signed by your key
  7    chaos: the run that was killed ended elsewhere
  8    replay: the run is not as it was recorded
  9    check-env: runs of the environment are not exact
  10   doctor: there is a problem
  75   stopped early by a signal, to be started again; another code by GARAGE_PREEMPTED_EXIT_CODE
  130  interrupted by Ctrl-C
"""


class Commands(click.Group):
    """Loads a command when it is used, and turns errors into messages and exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Names, in the order of a run's life."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - see above
        """The command of that name, loaded."""
        if cmd_name not in _COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(importlib.import_module(f"garage.cli.{name}"), name)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands, without loading them, and options."""
        options = click.Command.shell_complete(self, ctx, incomplete)
        commands = [CompletionItem(name, help=text) for name, text in _COMMANDS.items() if name.startswith(incomplete)]
        return [*commands, *options]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - see above
        """List the commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's signature
        """Run the command; errors of garage become one message, others keep their traceback."""
        try:
            return super().invoke(ctx)
        except GarageError as error:
            if ctx.obj:
                traceback.print_exception(error)
            else:
                echo_error(*"\n".join([str(error), *getattr(error, "__notes__", ())]).split("\n"))
            ctx.exit(exit_code(error))
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(_INTERRUPTED)


def exit_code(error: GarageError) -> int:
    """What the process exits with after ``error``."""
    return next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), _FAILED)


@click.group(cls=Commands, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of every error.")
@click.version_option(__version__, prog_name="garage")
@click.pass_context
def garage(ctx: click.Context, *, debug: bool) -> None:
    """Experiments that can be stopped anywhere, continued anywhere, and end at the same numbers."""
    ctx.obj = debug


def main() -> None:
    """The entry point of ``garage``."""
    garage(prog_name="garage")


if __name__ == "__main__":
    main()
