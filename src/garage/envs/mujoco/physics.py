"""MuJoCo's physics of n lanes, stepped by threads that hold no interpreter lock.

Lanes share the model, which nothing writes to, and nothing else: which thread steps a lane, and when, cannot change
its bits.
"""

import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import gymnasium
import mujoco

from garage.core.types import Array
from garage.envs.mujoco.threaded_physics import ThreadedPhysics
from garage.envs.mujoco.world import Fields, World
from garage.errors import ArgumentError
from garage.process import PHYSICS_THREADS, n_usable_cpus

_HAS_BATCHES = find_spec("mujoco.batch") is not None


class Physics(Protocol):
    """The physics of n lanes."""

    @property
    def state_size(self) -> int:
        """How many numbers say where a lane is."""
        ...

    def reset(self, lanes: Array, positions: Array, velocities: Array) -> None:
        """Put ``lanes`` (``[k]`` int, ascending) at ``qpos`` and ``qvel``, with nothing left of what was before."""
        ...

    def step(self, lanes: Array, controls: Array) -> None:
        """Take a step of the world in each of ``lanes`` (``[k]`` int, ascending) by ``controls`` ``[k, A]``."""
        ...

    def fields(self, lanes: Array) -> Fields:
        """The fields that the world reads, each ``[k, ...]``, which the next step may overwrite.

        Args:
            lanes: ``[k]`` int, ascending.
        """
        ...

    def state(self, lanes: Array) -> Array:
        """What MuJoCo integrates (``mjSTATE_INTEGRATION``) of ``lanes`` (``[k]`` int), ``[k, state_size]`` float64."""
        ...

    def load_state(self, lanes: Array, rows: Array) -> None:
        """Put ``lanes`` (``[k]`` int, any ones) where `state` was; the fields are right after the next step."""
        ...

    def close(self) -> None:
        """Let go of the threads."""
        ...


@cache
def compiled(model_file: str) -> Any:  # noqa: ANN401 - mujoco has no types
    """The ``MjModel`` of one of gymnasium's assets; shared, so nobody may write to it."""
    return mujoco.MjModel.from_xml_path(str(Path(gymnasium.__file__).parent / "envs/mujoco/assets" / model_file))


def physics_of(kind: type[World], n: int) -> Physics:
    """The physics of n lanes of a world.

    MuJoCo's own batches (since 4.0) spend 5 µs less a step on the way to the physics, but have no place for what the
    forces on the bodies take.

    Raises:
        ArgumentError: see `n_threads`.
    """
    threads = min(n_threads(), n)
    if kind.reads_contact_forces or not _HAS_BATCHES:
        return ThreadedPhysics(compiled(kind.model_file), kind, n, threads)
    from garage.envs.mujoco.batched_physics import BatchedPhysics  # noqa: PLC0415 - older MuJoCos have no batches

    return BatchedPhysics(compiled(kind.model_file), kind, n, threads)


def n_threads() -> int:
    """How many threads step the physics.

    Raises:
        ArgumentError: ``GARAGE_PHYSICS_THREADS`` is no number of threads.
    """
    text = os.environ.get(PHYSICS_THREADS)
    if text is None:
        return n_usable_cpus()
    if not (text.isascii() and text.isdigit() and int(text)):
        msg = f"{PHYSICS_THREADS} is {text!r}; expected a number of threads of at least 1, such as 4. Mend or unset it."
        raise ArgumentError(msg)
    return int(text)
