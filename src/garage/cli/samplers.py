"""The options that say who samples."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import click

from garage.experiment.executors import sampling_by
from garage.sampler import LocalSampler, ProcessSampler

C = TypeVar("C", bound=Callable[..., Any])


def options(command: C) -> C:
    """Add them to a command."""
    return click.option(
        "--workers",
        type=click.IntRange(min=0),
        metavar="N",
        help="Sample in N processes, 0: in this one; by default as the script says. It changes no number.",
    )(command)


def chosen(workers: int | None) -> AbstractContextManager[None]:
    """While it lasts, runs are sampled as the options say."""
    if workers is None:
        return sampling_by(None)
    return sampling_by(ProcessSampler(workers) if workers else LocalSampler())
