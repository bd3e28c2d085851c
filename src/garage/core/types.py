"""The data that flows: what an agent may know of a world, one step of many lanes, segments of episodes."""

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from garage.errors import MismatchError

if TYPE_CHECKING:
    import gymnasium

    from garage.core.scalars import Scalar
    from garage.core.tracked import CapturedGroup, TrackedGroup

Array: TypeAlias = npt.NDArray[Any]
State: TypeAlias = dict[str, "Array | Scalar | TrackedGroup | CapturedGroup | State"]
Metrics: TypeAlias = dict[str, float]
Infos: TypeAlias = Mapping[str, Array]


@dataclass(frozen=True)
class EnvSpec:
    """What an agent may know of a world.

    Attributes:
        observation_space: the space of one observation.
        action_space: the space of one action.
        max_episode_length: the number of steps after which an episode is truncated; None if it never is.
    """

    observation_space: "gymnasium.Space[Any]"
    action_space: "gymnasium.Space[Any]"
    max_episode_length: int | None = None


class End(enum.IntEnum):
    """How a segment ended."""

    TERMINATED = 0
    """The world ended; nothing follows, so nothing is bootstrapped."""
    TRUNCATED = 1
    """A time limit ended the episode; the world would have gone on."""
    CUT = 2
    """The batch ended; the episode goes on in the next one."""


class Transition(NamedTuple):
    """One step of n lanes."""

    observations: Array
    """``[n, ...]``, after the step; the receiver's to keep and to change."""
    rewards: Array
    """``[n]`` float64."""
    terminated: Array
    """``[n]`` bool."""
    truncated: Array
    """``[n]`` bool."""
    infos: Infos = MappingProxyType({})
    """Numeric diagnostics of the world, each ``[n, ...]``."""


class Transitions(NamedTuple):
    """n steps, in no order, each with what followed it: what off-policy algorithms learn from."""

    observations: Array
    """``[n, ...]``, before the step."""
    actions: Array
    """``[n, ...]``."""
    rewards: Array
    """``[n]`` float64."""
    next_observations: Array
    """``[n, ...]``, after the step."""
    terminated: Array
    """``[n]`` bool: whether nothing is bootstrapped from what followed."""


@dataclass(frozen=True)
class EpisodeBatch:
    """Segments of episodes, flat over time: the only data that flows from worlds to algorithms.

    N is the number of steps, E the number of segments; a segment's steps are neighbours.

    Attributes:
        observations: ``[N, ...]``, what the policy saw before each action.
        actions: ``[N, ...]``.
        rewards: ``[N]`` float64.
        lengths: ``[E]`` int64, steps of each segment, at least 1.
        last_observations: ``[E, ...]``, what followed each segment's last action.
        ends: ``[E]`` int8, values of `End`.
        first_steps: ``[E]`` int64, index of the segment's first step in its episode.
        memories: ``[E, ...]``, the policy's memory before each segment's first step.
        env_infos: diagnostics of the world, each ``[N, ...]``.
        agent_infos: diagnostics of the policy, each ``[N, ...]``.
    """

    observations: Array
    actions: Array
    rewards: Array
    lengths: Array
    last_observations: Array
    ends: Array
    first_steps: Array
    memories: Array
    env_infos: Infos = field(default_factory=dict)
    agent_infos: Infos = field(default_factory=dict)

    def __post_init__(self) -> None:
        per_step = {"observations": self.observations, "actions": self.actions}
        per_step |= {f"env_infos/{key}": value for key, value in self.env_infos.items()}
        per_step |= {f"agent_infos/{key}": value for key, value in self.agent_infos.items()}
        per_segment = {name: getattr(self, name) for name in ("last_observations", "ends", "first_steps", "memories")}
        for expected, columns in ((self.n_steps, per_step), (self.n_segments, per_segment)):
            for name, column in columns.items():
                if len(column) != expected:
                    msg = f"Cannot make an EpisodeBatch: `{name}` has {len(column)} rows, expected {expected}."
                    raise MismatchError(msg)
        if int(self.lengths.sum()) != self.n_steps or (self.lengths < 1).any():
            msg = (
                f"Cannot make an EpisodeBatch: `lengths` sum to {int(self.lengths.sum())} over {self.n_steps} steps; "
                "expected the same number, and each at least 1."
            )
            raise MismatchError(msg)

    @property
    def n_steps(self) -> int:
        """N."""
        return len(self.rewards)

    @property
    def n_segments(self) -> int:
        """E."""
        return len(self.lengths)

    @property
    def starts(self) -> Array:
        """Row of each segment's first step, ``[E]``."""
        return np.cumsum(self.lengths) - self.lengths

    @property
    def steps(self) -> Array:
        """Index of each row in its episode, ``[N]``."""
        return np.asarray(np.arange(self.n_steps) + np.repeat(self.first_steps - self.starts, self.lengths))

    @property
    def episode_ended(self) -> Array:
        """Whether each segment ended its episode, ``[E]`` bool."""
        return np.asarray(self.ends != End.CUT)

    def after(self) -> Self:
        """What followed each segment, as E segments of one step: where values are bootstrapped.

        Its actions repeat the segments' last ones and its rewards are zero; neither was ever taken. Its memories are
        those from before the segments, for what came after them is not kept.
        """
        last = self.starts + self.lengths - 1
        return type(self)(
            observations=self.last_observations,
            actions=self.actions[last],
            rewards=np.zeros(self.n_segments),
            lengths=np.ones(self.n_segments, np.int64),
            last_observations=self.last_observations,
            ends=np.full(self.n_segments, End.CUT, np.int8),
            first_steps=self.first_steps + self.lengths,
            memories=self.memories,
        )

    def rows(self, index: Array) -> Self:
        """Some of the steps, ``[k]`` int rows in any order, as k segments of one step each; without infos.

        Raises:
            MismatchError: the policy has a memory, which is known at the beginning of segments only.
        """
        if self.memories.size:
            msg = (
                "Cannot take single steps out of an EpisodeBatch whose policy has a memory, here of shape "
                f"{self.memories.shape[1:]}: it is known at the beginning of segments only."
            )
            raise MismatchError(msg)
        starts = self.starts
        segments = np.searchsorted(starts, index, side="right") - 1
        in_segment = index - starts[segments]
        ended = in_segment == self.lengths[segments] - 1
        following = self.observations[np.minimum(index + 1, self.n_steps - 1)]
        following[ended] = self.last_observations[segments[ended]]
        return type(self)(
            observations=self.observations[index],
            actions=self.actions[index],
            rewards=self.rewards[index],
            lengths=np.ones(len(index), np.int64),
            last_observations=following,
            ends=np.where(ended, self.ends[segments], End.CUT).astype(np.int8),
            first_steps=self.first_steps[segments] + in_segment,
            memories=self.memories[segments],
        )

    def segments(self) -> Iterator[slice]:
        """The rows of each segment."""
        for start, length in zip(self.starts.tolist(), self.lengths.tolist(), strict=True):
            yield slice(start, start + length)

    @classmethod
    def concatenate(cls, batches: Sequence[Self]) -> Self:
        """The segments of all batches, in order.

        Raises:
            MismatchError: there is no batch, or their infos have different entries.
        """
        if not batches:
            msg = "Cannot concatenate EpisodeBatches: got none, expected at least one."
            raise MismatchError(msg)
        if len(batches) == 1:
            return batches[0]
        columns = {column.name: _joined([getattr(batch, column.name) for batch in batches]) for column in fields(cls)}
        return cls(**columns)


def _joined(values: list[Any]) -> Any:  # noqa: ANN401 - a column is an array or a mapping of arrays
    if isinstance(values[0], Mapping):
        if any(value.keys() != values[0].keys() for value in values):
            keys = sorted({tuple(sorted(value)) for value in values})
            msg = f"Cannot concatenate EpisodeBatches: their infos have different entries: {keys}."
            raise MismatchError(msg)
        return {key: np.concatenate([value[key] for value in values]) for key in values[0]}
    return np.concatenate(values)
