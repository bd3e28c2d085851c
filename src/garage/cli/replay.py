"""``garage replay``: compute a run anew, and hold it against what was recorded."""

import contextlib
from pathlib import Path

import click
import msgspec

from garage.cli import recorded_mode, snapshot_name
from garage.cli.completing import runs_of
from garage.cli.output import print_json
from garage.cli.terminal import echo
from garage.experiment.rerun import Compared, Message, Parted, Plan, Request
from garage.experiment.scratch import rerun_elsewhere
from garage.storage.comparison import apart

_DIFFERENT = 8


@click.command()
@click.argument("run", type=click.Path(path_type=Path), callback=snapshot_name.run_alone, shell_complete=runs_of)
@click.option(
    "--from",
    "which",
    callback=snapshot_name.option,
    metavar="first|last|best|EPOCH",
    help="The snapshot to begin with; by default recipe and seed.",
)
@click.option("--epochs", "n_epochs", type=click.IntRange(min=1), help="How many; by default all that are recorded.")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False, exists=True), help="Where to work.")
@click.option("--trust", is_flag=True, help="Run its code although your key has not signed it.")
@click.option("--json", "as_json", is_flag=True, help="Print one object at the end, and nothing else.")
@click.pass_context
def replay(  # noqa: PLR0913 - one parameter an option
    ctx: click.Context,
    run: Path,
    which: int | str | None,
    *,
    n_epochs: int | None,
    folder: Path | None,
    trust: bool,
    as_json: bool,
) -> None:
    """Compute the epochs of RUN anew, in a process of its own, and compare each one's digest with what RUN recorded.

    It begins with the run's recipe and seed, or with a snapshot, and ends after the last recorded epoch, or after the
    first that is different: then it names the first leaf of the state that differs. Exits with 0 if all are equal,
    with 8 if one is different. RUN is only read. The process works in an empty folder that is removed afterwards, or
    in --folder, if the experiment reads files by relative paths. A run in portable mode is computed in that mode.
    """
    recorded_mode.enter(run, "last")
    request = Request(run.absolute(), which, n_epochs, trust)
    said: list[Message] = []
    with contextlib.closing(rerun_elsewhere(request, folder)) as messages:
        for message in messages:
            said.append(message)
            if not as_json:
                echo(*_lines(message, run))
    parted = next((message for message in said if isinstance(message, Parted)), None)
    n_unknown = sum(isinstance(message, Compared) and message.equal is None for message in said)
    if as_json:
        print_json(_as_json(run, said))
    elif parted is None:
        n_equal = sum(isinstance(message, Compared) for message in said) - n_unknown
        echo(f"Equal: {n_equal} epochs have the digests that were recorded.")
    if parted is not None:
        ctx.exit(_DIFFERENT)


def _lines(message: Message, run: Path) -> list[str]:
    if isinstance(message, Plan):
        begun = f"Replaying epochs {message.first} to {message.last} of {run}, from {message.begins}."
        return [begun, *(f"  {note}" for note in message.notes)]
    if isinstance(message, Compared):
        verdict = {True: "equal", False: "different", None: "not recorded"}[message.equal]
        others = [f"{kind}: {', '.join(names)}" for kind, names in _others(message).items() if names]
        notes = f" ({'; '.join(others)} not as recorded)" if others and message.equal is not False else ""
        return [f"epoch {message.epoch}: {verdict}{notes}"]
    if message.first is None:
        return [f"Different from epoch {message.epoch} on. No snapshot from then on is kept that could say which leaf."]
    where = "" if message.seen_in == message.epoch else f" (seen in epoch {message.seen_in}, the next with a snapshot)"
    return [
        f"Different from epoch {message.epoch} on, first in `{message.first.component}`{where}:",
        f"  {apart(message.first, 'the run', 'the replay')}",
        f"  Leaves that differ: {message.n_leaves}.",
    ]


def _others(message: Compared) -> dict[str, list[str]]:
    return {"metrics": message.metrics, "generators": message.generators}


def _as_json(run: Path, said: list[Message]) -> dict[str, object]:
    plan = next(message for message in said if isinstance(message, Plan))
    parted = next((message for message in said if isinstance(message, Parted)), None)
    return {
        "path": str(run),
        "equal": parted is None,
        "plan": msgspec.to_builtins(plan),
        "epochs": [msgspec.to_builtins(message) for message in said if isinstance(message, Compared)],
        "parted": None if parted is None else msgspec.to_builtins(parted),
    }
