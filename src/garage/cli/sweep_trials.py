"""What a sweep consists of: a trial for each combination of values and each seed."""

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from garage.cli import parameters
from garage.errors import ArgumentError
from garage.experiment.context import Experiment, directory_of
from garage.experiment.directories import run_of

SEED = "seed"

_MOST_NAME_BYTES = 240  # of 255, so that there is room for what is put behind it
_ADVICE = "A sweep goes on with equal arguments only. Move that directory away, or --set what it was run with."


@dataclass(frozen=True, eq=False)
class Trial:
    """One run of a sweep.

    Attributes:
        settings: the parameters that were set and their values, as the run records them; without the seed.
        seed: of the run.
        words: its parameters as on the command line of ``garage run``.
        wanted: its directory, which tells all of them.
        recorded: its arguments as the run records them.
        experiment: the qualified name of its function.
    """

    settings: tuple[tuple[str, Any], ...]
    seed: Any
    words: tuple[str, ...]
    wanted: Path
    recorded: Mapping[str, Any]
    experiment: str

    def path(self) -> Path | None:
        """The directory of its run, or None if there is none yet.

        Raises:
            ArgumentError: the run of that name and experiment has other arguments.
        """
        return run_of(self.wanted, self.experiment, self.recorded, _ADVICE)


def split_setting(text: str) -> tuple[str, list[str]]:
    """``NAME=VALUE[,VALUE]...`` as a name and its values; commas within brackets separate nothing.

    Raises:
        ArgumentError: it is none.
    """
    name, equals, values = text.partition("=")
    name = name.strip().removeprefix("--").replace("-", "_")
    if not equals or not name:
        msg = f"--set takes NAME=VALUE[,VALUE]..., such as lr=1e-3,3e-4 or hidden_sizes=(32,32),(64,64); got {text!r}."
        raise ArgumentError(msg)
    found, depth = [""], 0
    for character in values:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            found.append("")
        else:
            found[-1] += character
    return name, [value.strip() for value in found]


def trials_of(experiment: Experiment[Any], settings: Sequence[str], n_seeds: int | None) -> list[Trial]:
    """All trials: seeds within combinations, combinations in the order in which values are given.

    Args:
        experiment: what to run.
        settings: each as `split_setting` takes it.
        n_seeds: the seeds are 1 to this; None if they are among the settings, or else for 1 alone.

    Raises:
        ArgumentError: a parameter is unknown, missing or set twice, a value is not of its type, the experiment has no
            seed, or two trials would have the same name.
    """
    values: dict[str, list[str]] = {}
    for name, texts in map(split_setting, settings):
        if name in values:
            msg = f"--set gives {name} twice; give all its values at once: --set {name}=VALUE,VALUE."
            raise ArgumentError(msg)
        values[name] = texts
    _need_seed(experiment)
    seeds = values.pop(SEED, None)
    if seeds is not None and n_seeds is not None:
        msg = f"--seeds {n_seeds} and --set {SEED}={','.join(seeds)} both say which seeds to run; leave one out."
        raise ArgumentError(msg)
    chosen = seeds or [str(number) for number in range(1, (n_seeds or 1) + 1)]
    trials = [
        _trial(experiment, dict(zip(values, combination, strict=True)), seed)
        for combination in itertools.product(*values.values())
        for seed in chosen
    ]
    _refuse_twins(trials)
    return trials


def _trial(experiment: Experiment[Any], texts: Mapping[str, str], seed: str) -> Trial:
    words = tuple(f"--{name}={text}" for name, text in [*texts.items(), (SEED, seed)])
    arguments = parameters.parsed(words, experiment)
    wanted = _directory(experiment, arguments)
    size = len(os.fsencode(wanted.name))
    if size > _MOST_NAME_BYTES:
        msg = (
            f"The directory of a trial would be named {wanted.name!r}: {size} bytes, and {_MOST_NAME_BYTES} fit. Give "
            "long values as defaults of the function instead."
        )
        raise ArgumentError(msg)
    recorded = experiment.recorded(arguments)
    settings = tuple((name, recorded.get(name, value)) for name, value in arguments.items() if name != SEED)
    return Trial(settings, arguments[SEED], words, wanted, recorded, experiment.qualified_name)


def _directory(experiment: Experiment[Any], arguments: Mapping[str, Any]) -> Path:
    options = experiment.options
    path = directory_of(options.overridden({"log_dir": None}), experiment.name, arguments)
    return path if options.log_dir is None else Path(options.log_dir) / path.name


def _need_seed(experiment: Experiment[Any]) -> None:
    names = [parameter.name for parameter in experiment.parameters]
    if SEED not in names:
        msg = (
            f"Cannot sweep {experiment.name}: it has no parameter `{SEED}`, only {', '.join(names) or 'none'}. Give it "
            f"one, and call set_seed({SEED}) with it."
        )
        raise ArgumentError(msg)


def _refuse_twins(trials: Sequence[Trial]) -> None:
    seen: dict[Path, Trial] = {}
    for trial in trials:
        twin = seen.setdefault(trial.wanted, trial)
        if twin is not trial:
            msg = (
                f"Two trials would be the run {trial.wanted}: {' '.join(twin.words)} and {' '.join(trial.words)}. "
                "Leave one of them out."
            )
            raise ArgumentError(msg)
