"""What happened at each step of a group's lanes, and how it becomes segments of episodes."""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from garage.core.types import Array, EpisodeBatch, Infos, Transition
from garage.errors import MismatchError


class StepLog:
    """What happened, step by step; rows are sorted into episodes once, at the end.

    What the world says has a row for each active lane. What the policy sees and says has one for every lane, and is
    kept as it is, so that nothing is copied, while at least half of the lanes are active. Episodes are numbered in the
    order in which they start.

    Args:
        n_lanes: of the group.
        names: of the world and the policy, for messages.
    """

    def __init__(self, n_lanes: int, names: str) -> None:
        self._n_lanes, self._names = n_lanes, names
        self._n_steps = 0
        self._active: list[Array] = []
        self._row_of_lane: list[Array] = []
        self._began_at: list[int] = []
        self._keeps_all = True
        self._observations: list[Array] = []
        self._actions: list[Array] = []
        self._rewards: list[Array] = []
        self._env_infos: dict[str, list[Array]] = {}
        self._agent_infos: dict[str, list[Array]] = {}
        self._lanes: list[int] = []
        self._started_at: list[int] = []
        self._memories: list[Array] = []
        self._ended: list[int] = []
        self._ended_at: list[int] = []
        self._ends: list[int] = []
        self._last_observations: list[Array] = []

    def start(self, lanes: Iterable[int], started_at: Sequence[int], memories: Array) -> None:
        """Episodes start, or go on.

        Args:
            lanes: ``[k]``, where.
            started_at: ``[k]``, on a clock that counts steps from 0; negative if they started before.
            memories: ``[k, ...]``, what the policy remembers.
        """
        self._lanes.extend(lanes)
        self._started_at.extend(started_at)
        self._memories.append(memories)

    def activate(self, active: Array, row_of_lane: Array) -> None:
        """From the next step on, other lanes are active.

        Args:
            active: ``[k]`` int, ascending.
            row_of_lane: ``[n_lanes]`` int, where each of them stands in ``active``.
        """
        self._active.append(active)
        self._row_of_lane.append(row_of_lane)
        self._began_at.append(self._n_steps)
        self._keeps_all = _is_wide(active.size, self._n_lanes)

    def add(self, observations: Array, actions: Array, agent_infos: Infos, transition: Transition) -> None:
        """One step.

        Args:
            observations: ``[n_lanes, ...]``, before the step; not to be written to any more, like all the others.
            actions: ``[n_lanes, ...]``.
            agent_infos: each ``[n_lanes, ...]``.
            transition: of the active lanes.
        """
        self._n_steps += 1
        self._rewards.append(transition.rewards)
        for key, values in transition.infos.items():
            self._env_infos.setdefault(key, []).append(values)
        if not self._keeps_all:
            active = self._active[-1]
            observations, actions = observations.take(active, axis=0), actions.take(active, axis=0)
            agent_infos = {key: values.take(active, axis=0) for key, values in agent_infos.items()}
        self._observations.append(observations)
        self._actions.append(actions)
        for key, values in agent_infos.items():
            self._agent_infos.setdefault(key, []).append(values)

    def end(self, episodes: Sequence[int], ends: Sequence[int], last_observations: Array) -> None:
        """The segments of k episodes end with the last step.

        Args:
            episodes: ``[k]``, their numbers.
            ends: ``[k]``, values of `End`.
            last_observations: ``[k, ...]``, what followed.
        """
        self._ended.extend(episodes)
        self._ended_at.extend([self._n_steps] * len(episodes))
        self._ends.extend(ends)
        self._last_observations.append(last_observations)

    def batch(self) -> EpisodeBatch:
        """The segments in the order in which their episodes started; all of them have ended.

        Raises:
            MismatchError: an info did not come at every step.
        """
        for key, log in chain(self._env_infos.items(), self._agent_infos.items()):
            if len(log) != self._n_steps:
                msg = (
                    f"Cannot join the info `{key}` of {self._names}: it came at {len(log)} of {self._n_steps} "
                    "steps, expected at all of them."
                )
                raise MismatchError(msg)
        order = np.empty(len(self._ended), np.int64)
        order[self._ended] = np.arange(len(order))
        started_at = np.array(self._started_at)
        first_steps = np.maximum(0, -started_at)
        first_clocks = started_at + first_steps
        lengths = np.array(self._ended_at)[order] - first_clocks
        of_world, of_policy = self._rows(first_clocks, lengths)
        return EpisodeBatch(
            observations=_joined(self._observations, of_policy),
            actions=_joined(self._actions, of_policy),
            rewards=_joined(self._rewards, of_world),
            lengths=lengths,
            last_observations=_joined(self._last_observations, order),
            ends=np.array(self._ends, np.int8)[order],
            first_steps=first_steps,
            memories=np.concatenate(self._memories),
            env_infos={key: _joined(log, of_world) for key, log in self._env_infos.items()},
            agent_infos={key: _joined(log, of_policy) for key, log in self._agent_infos.items()},
        )

    def _rows(self, first_clocks: Array, lengths: Array) -> tuple[Array, Array]:
        """Rows ``[N]`` of the world's logs and of the policy's, joined, in the order of the batch."""
        # From one change of the active lanes to the next it is one period; rows of the world differ by period and lane.
        n_lanes, began = self._n_lanes, np.array([*self._began_at, self._n_steps])
        periods = np.repeat(np.arange(len(self._active)), np.diff(began))
        n_active = np.array([active.size for active in self._active]).take(periods)
        n_before = np.cumsum(n_active) - n_active
        starts = np.cumsum(lengths) - lengths
        clocks = np.repeat(first_clocks - starts, lengths) + np.arange(lengths.sum())
        lanes = np.repeat(np.array(self._lanes), lengths)
        positions = np.concatenate(self._row_of_lane).take(periods.take(clocks) * n_lanes + lanes)
        of_world = n_before.take(clocks) + positions
        is_wide = _is_wide(n_active, n_lanes)
        if is_wide.all():
            return of_world, clocks * n_lanes + lanes
        widths = np.where(is_wide, n_lanes, n_active)
        of_policy = (np.cumsum(widths) - widths).take(clocks) + np.where(is_wide.take(clocks), lanes, positions)
        return of_world, of_policy


def _is_wide(n_active: Any, n_lanes: int) -> Any:  # noqa: ANN401 - of one step or of many
    """Whether rows of idle lanes are kept, too; where most are idle, that would take more memory than time."""
    return 2 * n_active >= n_lanes


def _joined(log: list[Array], rows: Array) -> Array:
    return np.concatenate(log).take(rows, axis=0)
