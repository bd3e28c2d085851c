"""What makes a world of MuJoCo's physics: how episodes start and end, what is seen of it, what is rewarded.

Every operation is one that gymnasium does to a single environment, in its order and dtype, or one that rounds alike
whatever the number of lanes.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np

from garage.core.types import Array, Infos

Fields: TypeAlias = Mapping[str, Array]
"""Fields of ``MjData`` by name, each ``[k, ...]``, one row a lane; to be read at once, and not kept."""


class Outcome(NamedTuple):
    """What a step brought k lanes."""

    rewards: Array
    """``[k]`` float64."""
    terminated: Array
    """``[k]`` bool."""
    infos: Infos
    """gymnasium's numbers in ``info``, each ``[k]``; to be copied at once."""


class World(ABC):
    """One world, whatever the number of its lanes.

    Args:
        model: its ``MjModel``.
    """

    model_file: ClassVar[str]
    """Among gymnasium's assets."""
    frame_skip: ClassVar[int]
    """Steps of physics in a step of the world."""
    fields: ClassVar[tuple[str, ...]] = ("qpos", "qvel")
    """Of ``MjData``: what the methods below read."""
    reads_contact_forces: ClassVar[bool] = False
    """Whether ``cfrc_ext`` is read, which takes a computation of its own after the steps of physics."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - mujoco has no types
        self._model = model
        self._seconds = model.opt.timestep * self.frame_skip

    @abstractmethod
    def start(self, generator: np.random.Generator) -> tuple[Array, Array]:
        """Draw where an episode starts: ``qpos`` and ``qvel``."""

    @abstractmethod
    def mark(self, now: Fields) -> Array:
        """What the next step's outcome is measured from, ``[k, m]``."""

    @abstractmethod
    def observe(self, now: Fields) -> Array:
        """Observations ``[k, ...]`` float64, sharing no memory with ``now``."""

    @abstractmethod
    def judge(self, marks: Array, now: Fields, actions: Array) -> Outcome:
        """What a step brought.

        Args:
            marks: of the moment before, ``[k, m]``.
            now: after the step.
            actions: the ones taken, ``[k, A]`` float32.
        """


def uniform_start(generator: np.random.Generator, model: Any, scale: float) -> tuple[Array, Array]:  # noqa: ANN401
    """Positions and velocities, each uniformly within ``scale`` of rest."""
    positions = model.qpos0 + generator.uniform(-scale, scale, model.nq)
    return positions, np.zeros(model.nv) + generator.uniform(-scale, scale, model.nv)


def normal_start(generator: np.random.Generator, model: Any, scale: float) -> tuple[Array, Array]:  # noqa: ANN401
    """Positions uniformly within ``scale`` of rest, velocities normally distributed with that deviation."""
    positions = model.qpos0 + generator.uniform(-scale, scale, model.nq)
    return positions, np.zeros(model.nv) + scale * generator.standard_normal(model.nv)


def sums_of_squares(values: Array) -> Array:
    """Of each row ``[k, ...]``, in its dtype."""
    return np.asarray(np.square(values).reshape(len(values), -1).sum(axis=1))


def norms(vectors: Array) -> Array:
    """Euclidean norm of each row ``[k, m]``, as ``np.linalg.norm`` gives it.

    Row by row, because it rests on a dot product of BLAS, which rounds otherwise than a sum of squares.
    """
    return np.asarray(np.sqrt([vector.dot(vector) for vector in vectors]))


def between(low: float, values: Array, high: float) -> Array:
    """Whether each value lies strictly between two others; NaN does not."""
    return np.asarray((values > low) & (values < high))


def nothing(now: Fields) -> Array:
    """Marks of a world whose outcomes are measured from nothing, ``[k, 0]``."""
    return now["qpos"][:, :0]


def unterminated(n: int) -> Array:
    """Of n lanes whose episodes never terminate."""
    return np.zeros(n, np.bool_)
