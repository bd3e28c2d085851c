"""What a trainer holds, and how far it got."""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from garage import process
from garage.core.ports import Sampler, Surroundings
from garage.errors import OrderError
from garage.experiment.arguments import Stats, TrainArgs
from garage.experiment.context import ExperimentContext
from garage.experiment.destination import Origin
from garage.experiment.fingerprint import fingerprint
from garage.experiment.run_state import Run
from garage.experiment.settings import settings
from garage.experiment.surroundings import ProcessAlone
from garage.storage.writer import RunWriter


@dataclass
class Progress:
    """What a trainer holds, and how far it got.

    Attributes:
        config: where to write and which snapshots to keep, or None.
        n_threads: of BLAS and of each framework; None if nobody chose.
        sampler: who runs groups; None if nobody chose.
        evaluation: ``eval_every`` and ``eval_episodes`` of `TrainArgs`; each None if nobody chose.
        surroundings: what the run's objects live in.
        run: the objects that were set up or restored, or None.
        is_set_up: whether they are the user's own, and not rebuilt.
        is_whole: whether the state in memory is that of a finished epoch.
        args: what training was asked for; None before the first ``train`` or ``restore``.
        stats: how far it got.
        metrics: of the last finished epoch, or None.
        origin: the snapshot that was restored, or None.
        generators: the states of the process's generators in it, or None.
        changes: what the objects are otherwise than those that it was saved with, one line each.
        writer: of the run, if anything has been written since the last ``restore``.
        has_provenance: whether what this process was started with is written for that writer.
        saved_at: when the last epoch was saved, on the clock of ``time.perf_counter``.
    """

    config: ExperimentContext | None = None
    n_threads: int | None = None
    sampler: Sampler | None = None
    evaluation: Mapping[str, int | None] = field(default_factory=dict)
    surroundings: Surroundings = field(default_factory=ProcessAlone)
    run: Run | None = None
    is_set_up: bool = False
    is_whole: bool = True
    args: TrainArgs | None = None
    stats: Stats = field(default_factory=Stats)
    metrics: dict[str, Any] | None = None
    origin: Origin | None = None
    generators: dict[str, Any] | None = None
    changes: tuple[str, ...] = ()
    writer: RunWriter | None = None
    has_provenance: bool = False
    saved_at: float = -math.inf

    def need_run(self, call: str) -> Run:
        """The run's objects.

        Raises:
            OrderError: there are none yet.
        """
        if self.run is None:
            msg = f"{call} needs an experiment: call trainer.setup(algo, env) or trainer.restore(directory) first."
            raise OrderError(msg)
        return self.run

    def need_whole_state(self) -> None:
        """Make sure that the state in memory is that of a finished epoch.

        Raises:
            OrderError: it is not.
        """
        if not self.is_whole:
            msg = (
                "Training was interrupted in the middle of an epoch, or a restore in the middle of loading, so the "
                "state in memory is of no epoch. Every snapshot is safe: call restore(directory), then resume."
            )
            raise OrderError(msg)

    def threads(self) -> AbstractContextManager[None]:
        """While it lasts, BLAS and the frameworks compute in as many threads as were chosen."""
        return process.computing(self.n_threads or 1)

    def fingerprint(self) -> dict[str, Any]:
        """What decides over numbers, at present: versions and machine, and the objects' settings and code."""
        run = self.need_run("restore")
        policies = run.algo.policies()
        kinds = {name: f"{type(policy).__module__}.{type(policy).__qualname__}" for name, policy in policies.items()}
        return {**fingerprint(), "policies": kinds, **settings(run.algo, run.env)}
