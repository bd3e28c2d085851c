"""``garage sweep``: run an experiment with many parameters and seeds, and say what came out."""

import importlib
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import click

from garage.cli import experiment_files
from garage.cli.main import exit_code
from garage.cli.output import print_json
from garage.cli.run_summary import RETURN, summarise
from garage.cli.sweep_processes import STOPPED, LocalProcess, TrialProcess, run_all
from garage.cli.sweep_results import Measure, Result, as_json, show
from garage.cli.sweep_trials import Trial, trials_of
from garage.cli.terminal import echo
from garage.errors import InUseError
from garage.experiment.signals import answered
from garage.process import n_usable_cpus

_FAILED = 1
_IN_USE = exit_code(InUseError())
_STATES = {0: "finished", STOPPED: "stopped", _IN_USE: "running"}
_INDENT = "    "
_PLACES = ("local", "ray")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("target", metavar="FILE[:FUNCTION]")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE[,VALUE]...",
    help="Values of a parameter; all combinations are run. Commas within brackets separate nothing.",
)
@click.option("--seeds", "n_seeds", type=click.IntRange(min=1), help="Run seeds 1 to this, or those of --set seed=3,7.")
@click.option("--on", type=click.Choice(_PLACES), default="local", show_default=True, help="Where trials run.")
@click.option("--ray", metavar="ADDRESS|local", help="With --on ray: its address (default: RAY_ADDRESS, or local).")
@click.option("--workers", type=click.IntRange(min=1), help="Trials at once; by default one a CPU.")
@click.option("--metric", default=RETURN, show_default=True, help="The column of the table of metrics to compare.")
@click.option(
    "--last-epochs",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="Compare each run's mean over so many of its last epochs.",
)
@click.option("--portable", "is_portable", is_flag=True, help="See `garage run`.")
@click.option("--json", "is_json", is_flag=True, help="Print one object, and nothing else on the standard output.")
@click.pass_context
def sweep(  # noqa: PLR0913 - one parameter an option
    ctx: click.Context,
    target: str,
    settings: tuple[str, ...],
    *,
    n_seeds: int | None,
    on: str,
    ray: str | None,
    workers: int | None,
    metric: str,
    last_epochs: int,
    is_portable: bool,
    is_json: bool,
) -> None:
    """Run the experiment that FILE defines with each combination of values and each seed.

    Every trial is a run of its own, named by its parameters, in a process of its own. The same command again skips
    the finished ones, goes on with those that were interrupted or failed, and starts those that are missing; with
    more values or seeds it adds those. At the end it prints, for each combination, mean, interquartile mean and a
    bootstrap interval over the seeds. Exits with 1 if a trial did not finish.
    """
    path, function = experiment_files.split_target(target)
    experiment = experiment_files.only(experiment_files.experiments_of(experiment_files.load(path), function), path)
    trials = trials_of(experiment, settings, n_seeds)
    measure = Measure(metric, last_epochs)
    states = {trial: _state(trial.path()) for trial in trials}
    todo = [trial for trial, state in states.items() if state not in {"finished", "running"}]
    place = _place(on, ray, workers or n_usable_cpus()) if todo else None
    n_at_once = min(workers or (n_usable_cpus() if place is None else place.n_cpus), len(todo))
    _announce(experiment.name, list(states.values()), n_at_once)

    def start(trial: Trial) -> TrialProcess:
        words = _words(target, trial, is_portable=is_portable)
        return LocalProcess(words) if place is None else place.start(words)

    def ended(trial: Trial, status: int, process: TrialProcess) -> None:
        states[trial] = _STATES.get(status, "failed")
        _report(trial, states, status, process)

    try:
        with answered():
            run_all(todo, start, n_at_once, ended)
    except (KeyboardInterrupt, SystemExit):
        echo(f"Interrupted. To go on: {shlex.join(['garage', *sys.argv[1:]])}", err=True)
        raise
    finally:
        if place is not None:
            place.close()
    results = [_result(trial, state, measure) for trial, state in states.items()]
    if is_json:
        print_json(as_json(results, measure))
    else:
        show(results, measure)
    if any(result.state != "finished" for result in results):
        ctx.exit(_FAILED)


class _Remote(Protocol):
    """Where trials run that do not run here."""

    @property
    def n_cpus(self) -> int:
        """How many can run at once."""
        ...

    def start(self, words: Sequence[str]) -> TrialProcess:
        """Start ``garage`` with these words."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


def _place(on: str, address: str | None, n_cpus: int) -> _Remote | None:
    """The cluster, or None for this machine."""
    if on == "local":
        if address is not None:
            msg = f"--ray {address} says which cluster --on ray means; --on local, the default, runs trials here."
            raise click.UsageError(msg)
        return None
    trials: _Remote = importlib.import_module("garage.cli.sweep_actors").RayTrials(address, n_cpus)  # loads Ray
    return trials


def _words(target: str, trial: Trial, *, is_portable: bool) -> list[str]:
    flags = ["--portable"] if is_portable else []
    return ["run", "--resume", "auto", "--log-dir", str(trial.wanted), *flags, target, "--", *trial.words]


def _state(path: Path | None) -> str:
    """``finished``, ``running``, ``begun`` or ``new``."""
    if path is None:
        return "new"
    state = summarise(path).state
    return state if state in {"finished", "running"} else "begun"


def _announce(name: str, states: Sequence[str], n_at_once: int) -> None:
    said = {"finished": "finished before", "running": "running already", "begun": "to go on with", "new": "to start"}
    counts = [f"{states.count(state)} {words}" for state, words in said.items() if state in states]
    at_once = f", {n_at_once} at once" if n_at_once > 1 else ""
    echo(f"{len(states)} trials of {name}: {', '.join(counts)}{at_once}.", err=True)


def _report(trial: Trial, states: dict[Trial, str], status: int, process: TrialProcess) -> None:
    """Say what became of a trial, and if it failed, what it said last."""
    n_ended = len([state for state in states.values() if state not in {"new", "begun"}])
    place = f"[{n_ended}/{len(states)}] {trial.wanted.name}"
    if states[trial] != "failed":
        echo(f"{place}: {states[trial]}", err=True)
        return
    how = f"killed by signal {-status}" if status < 0 else f"exit code {status}"
    echo(f"{place}: failed, {how}. The end of what it printed:", err=True)
    echo(*(_INDENT + line for line in process.complaint().splitlines()), err=True)


def _result(trial: Trial, state: str, measure: Measure) -> Result:
    path = trial.path()
    value = measure.of(path) if path is not None and state == "finished" else float("nan")
    return Result(trial, path, state, value)
