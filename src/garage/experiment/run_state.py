"""The objects of a run and the state tree that they make together."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from garage import process
from garage.core.ports import Algorithm, Env, Stateful, Surroundings
from garage.core.state import copied, differences, take
from garage.core.streams import Streams
from garage.core.tracked import Keeps, keeps_none
from garage.core.types import EpisodeBatch, State
from garage.errors import ArgumentError, MismatchError, RecipeError
from garage.experiment import policy_descriptions, recipes
from garage.experiment.collector import Collector
from garage.storage.store import EPISODES, StoredSnapshot

_ROW_KEYS = frozenset({"epoch", "digest"})
"""What a row of metrics.jsonl holds besides metrics."""


@dataclass
class Run:
    """The objects of one run.

    Attributes:
        algo: what learns.
        env: where.
        collector: how it gets its data.
        surroundings: what algo and env live in.
        seed: of the run's streams.
        recipe: what rebuilds algo and env, or None.
        recipe_problem: why there is no recipe.
        seed_is_drawn: whether nobody chose the seed.
    """

    algo: Algorithm
    env: Env
    collector: Collector
    surroundings: Surroundings
    seed: int
    recipe: bytes | None
    recipe_problem: str | None
    seed_is_drawn: bool = False

    @cached_property
    def described(self) -> dict[str, Any]:
        """What its policies are, as manifests say it; found out when the first state is captured."""
        return policy_descriptions.described(self.algo)


def compute_epoch(run: Run, epoch: int, batch_size: int) -> dict[str, int | float]:
    """Compute one epoch, and return its metrics.

    Args:
        run: the objects, which are brought forward.
        epoch: the one that comes next.
        batch_size: steps of a collect that names no size.
    """
    streams = Streams(run.seed)
    run.collector.begin_epoch(epoch, streams, batch_size)
    learned = run.algo.epoch(run.collector, streams.at("epoch", epoch))
    run.collector.end_epoch()
    return checked_metrics({**learned, **run.collector.metrics()})


def capture_state(
    run: Run, epoch: int, batch: EpisodeBatch | None, keeps: Keeps = keeps_none
) -> tuple[State, dict[str, bytes]]:
    """The state tree after an epoch, sharing no memory with the live objects, and the opaque parts.

    Args:
        run: the objects.
        epoch: the last finished one.
        batch: episodes to keep beside the state, or None.
        keeps: which blocks of tracked groups need not be copied.
    """
    state: State = {
        **run.surroundings.state_dict(),
        "env": copied(run.env.state_dict(), keeps) if isinstance(run.env, Stateful) else {},
        "sampler": run.collector.sampler_state(),
        "counters": {"epoch": epoch, "seed": run.seed, **run.collector.counters_state()},
        "process": process.generators_state(),
    }
    opaque: dict[str, bytes] = {}
    if isinstance(run.algo, Stateful):
        state["algo"] = copied(run.algo.state_dict(), keeps)
    else:
        opaque["algo"] = recipes.dump_opaque("algo", run.algo)
    if batch is not None:
        state[EPISODES] = _batch_state(batch)
    return state, opaque


def load_state(run: Run, snapshot: StoredSnapshot, *, rebuilt: bool) -> list[str]:
    """Put a snapshot's state into a run's objects, all but the process's generators; what had no place, a line each.

    Args:
        run: its objects; an algorithm without a state of its own is replaced.
        snapshot: what to load.
        rebuilt: whether the objects were rebuilt from the recipe, so that opaque parts may be unpickled too.

    Raises:
        MismatchError: the state does not fit the objects.
        RecipeError: there are opaque parts, but the objects are somebody's own.
    """
    state: dict[str, Any] = snapshot.state
    if snapshot.opaque and not rebuilt:
        msg = (
            f"Cannot load {', '.join(f'`{path}`' for path in snapshot.opaque)} into objects of your own: it has no "
            "state_dict(), so it was pickled whole. Restore without calling setup before, or give it "
            "state_dict() and load_state_dict(state)."
        )
        raise RecipeError(msg)
    lost = run.surroundings.load_state_dict(state)
    if "algo" in snapshot.opaque:
        run.algo = recipes.load_opaque(snapshot.opaque["algo"])
    elif isinstance(run.algo, Stateful):
        saved = take(state, "algo", "the run")
        run.algo.load_state_dict(saved)
        lines = differences({"algo": saved}, {"algo": run.algo.state_dict()})
        if lines:
            msg = (
                f"The algorithm did not take all of the snapshot's values; afterwards {'; '.join(lines)}. "
                "Was it built of the same kinds of parts?"
            )
            raise MismatchError(msg)
    else:
        msg = (
            f"Cannot load `algo` into a {type(run.algo).__name__}: it has no load_state_dict(state). Restore without "
            "calling setup before, or set up the kind of algorithm that the run was trained with."
        )
        raise MismatchError(msg)
    if isinstance(run.env, Stateful):
        run.env.load_state_dict(take(state, "env", "the run"))
    counters = take(state, "counters", "the run")
    epoch = take(counters, "epoch", "the counters")
    if epoch != snapshot.manifest.epoch:
        msg = f"Cannot load the counters: their epoch is {epoch!r}, that of the snapshot {snapshot.manifest.epoch}."
        raise MismatchError(msg)
    run.collector.load_state(take(state, "sampler", "the run"), counters)
    return lost


def restored_episodes(state: State | None) -> EpisodeBatch | None:
    """The episodes that were kept beside a snapshot."""
    if state is None:
        return None
    return EpisodeBatch(**state)  # type: ignore[arg-type] # written by _batch_state, checked by EpisodeBatch


def checked_metrics(metrics: Mapping[str, Any]) -> dict[str, int | float]:
    """Metrics as Python numbers.

    Raises:
        ArgumentError: one of them is not a number, or has the name of what rows of metrics.jsonl hold besides.
    """
    taken = sorted(metrics.keys() & _ROW_KEYS)
    if taken:
        msg = (
            f"The algorithm has a metric named {taken[0]!r}, which each row of metrics.jsonl has as its own; call the "
            f"metric another name, such as 'policy/{taken[0]}'."
        )
        raise ArgumentError(msg)
    checked: dict[str, int | float] = {}
    for key, value in metrics.items():
        number = value.item() if isinstance(value, np.generic | np.ndarray) and value.size == 1 else value
        if not isinstance(key, str) or isinstance(number, bool) or not isinstance(number, int | float):
            msg = f"The metric {key!r} is {value!r} of type {type(value).__name__}; expected a number under a str."
            raise ArgumentError(msg)
        checked[key] = number
    return checked


def _batch_state(batch: EpisodeBatch) -> State:
    columns = {column.name: getattr(batch, column.name) for column in fields(batch)}
    return {name: dict(value) if isinstance(value, Mapping) else value for name, value in columns.items()}
