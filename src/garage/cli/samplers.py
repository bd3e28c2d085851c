"""The options that say who samples."""

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import click

from garage.errors import ArgumentError
from garage.experiment.executors import sampling_by
from garage.sampler import LocalSampler, ProcessSampler

C = TypeVar("C", bound=Callable[..., Any])


def options(command: C) -> C:
    """Add them to a command."""
    workers = click.option(
        "--workers",
        type=click.IntRange(min=0),
        metavar="N",
        help="Sample in N processes, 0: in this one; by default as the script says. It changes no number.",
    )
    ray = click.option(
        "--ray",
        metavar="ADDRESS|local",
        help="Sample on that Ray cluster (host:port or auto), or on one started here; --workers says by how many.",
    )
    return workers(ray(command))


def chosen(workers: int | None, ray: str | None) -> AbstractContextManager[None]:
    """While it lasts, runs are sampled as the options say.

    Raises:
        ArgumentError: they contradict each other.
        DependencyError: Ray is asked for, and not installed.
    """
    if ray is not None:
        if workers == 0:
            msg = f"--workers 0 samples in this process, and --ray {ray} on a cluster; leave one out."
            raise ArgumentError(msg)
        remote = importlib.import_module("garage.sampler.ray")  # which loads Ray
        return sampling_by(remote.RaySampler(ray, workers))
    if workers is None:
        return sampling_by(None)
    return sampling_by(ProcessSampler(workers) if workers else LocalSampler())
