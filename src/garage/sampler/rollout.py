"""How a group runs: start rule, noise, acting at full width, and the segments that come of it."""

import time
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from garage.core.ports import Group, GroupResult, Lanes
from garage.core.types import Array, End, EpisodeBatch, Infos, Transition
from garage.errors import GarageError, MismatchError, NonFiniteError, WorldRaisedError

NOISE_BLOCK_STEPS = 256
"""Noise is drawn in blocks of so many steps, each with an address of its own; a constant of the format."""


def run_group(group: Group, lanes: Lanes) -> GroupResult:
    """Run whole episodes until the group's quota is met.

    Free lanes start an episode, in lane order, while ``steps taken + episodes in flight * mean_length`` is below
    ``n_steps``; episodes that started are finished. The policy always acts at the full width of the lanes, idle
    ones included: a row's last bits depend on how many rows are multiplied with it.

    Raises:
        NonFiniteError: an observation or a reward is NaN or infinite.
        WorldRaisedError: the environment raised.
    """
    rollout = _Rollout(group, lanes)
    clock, seconds = time.perf_counter, {"env": 0.0, "policy": 0.0, "process": 0.0}
    rollout.start(range(lanes.n))
    before = clock()
    while rollout.active.size:
        noise = rollout.noise_of_step()
        prepared = clock()
        actions, memory, agent_infos = group.policy.act(rollout.observations, rollout.memory, noise)
        acted = clock()
        taken, transition = rollout.step(actions)
        stepped = clock()
        rollout.take(taken, memory, agent_infos, transition)
        after = clock()
        seconds["env"] += stepped - acted
        seconds["policy"] += acted - prepared
        seconds["process"] += prepared - before + after - stepped
        before = after
    batch = rollout.batch()
    seconds["process"] += clock() - before
    return GroupResult(batch, {}, seconds)


class _Segment(NamedTuple):
    """How one episode ended."""

    length: int
    end: End
    last_observation: Array


class _Rollout:
    """The lanes of one group while it runs.

    The policy sees ``[n_lanes, ...]`` at every step. Logs have one entry a step with a row for each active lane,
    so nothing is copied while all lanes are active; rows are sorted into episodes once, at the end.
    """

    def __init__(self, group: Group, lanes: Lanes) -> None:
        self.group, self.lanes = group, lanes
        space = group.env.spec.observation_space
        self.observations: Array = np.zeros((lanes.n, *(space.shape or ())), space.dtype)
        self.memory = group.policy.initial_memory(lanes.n)
        self.active: Array = np.arange(0)
        self._now = self._n_started = self._n_steps = 0
        self._episodes: dict[int, int] = {}
        self._episode_of_lane = np.full(lanes.n, -1)
        self._active_episodes: Array = self.active
        self._started_at: dict[int, int] = {}
        self._noise: Array = np.zeros((NOISE_BLOCK_STEPS, 0, 0))
        self._refills: dict[int, list[int]] = {}
        self._segments: dict[int, _Segment] = {}
        self._memories: list[Array] = []
        self._log: dict[str, list[Array]] = {"observations": [], "actions": [], "rewards": []}
        self._episode_log: list[Array] = []
        self._env_infos: dict[str, list[Array]] = {}
        self._agent_infos: dict[str, list[Array]] = {}

    def start(self, free: Iterable[int]) -> None:
        """Start an episode in each free lane, in lane order, as long as the quota is open."""
        starting = []
        for lane in free:
            if not self._quota_is_open():
                break
            self._episodes[lane] = self._n_started
            self._started_at[lane] = self._now
            self._n_started += 1
            self._draw_noise(lane, 0)
            starting.append(lane)
        if starting:
            seeds = [self.group.streams.world_seed(self._episodes[lane]) for lane in starting]
            try:
                observations = self.lanes.reset(np.array(starting), seeds)
            except GarageError:
                raise
            except Exception as error:
                raise WorldRaisedError(self._raised_in("reset", starting, error)) from error
            self.observations[starting] = observations
            fresh = self.group.policy.initial_memory(len(starting))
            self._memories.extend(fresh)
            if fresh.size:
                self.memory = self.memory.copy()
                self.memory[starting] = fresh
            self._episode_of_lane[starting] = [self._episodes[lane] for lane in starting]
        self.active = np.flatnonzero(self._episode_of_lane >= 0)
        self._active_episodes = self._episode_of_lane.take(self.active)

    def noise_of_step(self) -> Array:
        """This step's noise ``[n_lanes, K]``; idle lanes get what was left in theirs."""
        for lane in self._refills.pop(self._now, ()):
            self._draw_noise(lane, (self._now - self._started_at[lane]) // NOISE_BLOCK_STEPS)
        # A copy: the ring is written again, and a policy may hand noise on as actions.
        return np.array(self._noise[self._now % NOISE_BLOCK_STEPS])

    def step(self, actions: Array) -> tuple[Array, Transition]:
        """Step the active lanes; returns their actions too."""
        taken = actions if self._is_full else actions.take(self.active, axis=0)
        try:
            return taken, self.lanes.step(self.active, taken)
        except GarageError:
            raise
        except Exception as error:
            raise WorldRaisedError(self._raised_in("step", self.active.tolist(), error)) from error

    def take(self, taken: Array, memory: Array, agent_infos: Infos, transition: Transition) -> None:
        """Log what happened, finish the episodes that ended, start others in their lanes."""
        self._log["actions"].append(taken)
        self._log["rewards"].append(transition.rewards)
        self._episode_log.append(self._active_episodes)
        for key, values in agent_infos.items():
            self._agent_infos.setdefault(key, []).append(values if self._is_full else values[self.active])
        for key, values in transition.infos.items():
            self._env_infos.setdefault(key, []).append(values)
        if self._is_full:
            self._log["observations"].append(self.observations)
            self.observations = transition.observations
        else:
            self._log["observations"].append(self.observations.take(self.active, axis=0))
            self.observations[self.active] = transition.observations
        self.memory = memory
        self._n_steps += self.active.size
        self._now += 1
        ended = transition.terminated | transition.truncated
        if np.count_nonzero(ended):
            self._finish(np.flatnonzero(ended), transition)

    def batch(self) -> EpisodeBatch:
        """The segments in the order in which they started.

        Raises:
            NonFiniteError: an observation or a reward is NaN or infinite.
            MismatchError: an info did not come at every step.
        """
        for key, log in (*self._env_infos.items(), *self._agent_infos.items()):
            if len(log) != self._now:
                msg = (
                    f"Cannot join the info `{key}` of {self.group.env} and `{self.group.policy.name}`: it came at "
                    f"{len(log)} of {self._now} steps, expected at all of them."
                )
                raise MismatchError(msg)
        segments = [self._segments[episode] for episode in range(self._n_started)]
        # Logged step by step, so a stable sort by episode leaves each episode's rows in the order of time.
        rows = np.argsort(np.concatenate(self._episode_log), kind="stable")

        def sorted_by_episode(log: list[Array]) -> Array:
            return np.asarray(np.concatenate(log)[rows])

        batch = EpisodeBatch(
            **{name: sorted_by_episode(log) for name, log in self._log.items()},
            lengths=np.array([segment.length for segment in segments]),
            last_observations=np.array([segment.last_observation for segment in segments]),
            ends=np.array([segment.end for segment in segments], np.int8),
            first_steps=np.zeros(len(segments), np.int64),
            memories=np.array(self._memories),
            env_infos={key: sorted_by_episode(log) for key, log in self._env_infos.items()},
            agent_infos={key: sorted_by_episode(log) for key, log in self._agent_infos.items()},
        )
        self._check_finite(batch)
        return batch

    @property
    def _is_full(self) -> bool:
        return self.active.size == self.lanes.n

    def _quota_is_open(self) -> bool:
        if self.group.n_steps is None:
            return self.group.n_episodes is not None and self._n_started < self.group.n_episodes
        return self._n_steps + len(self._episodes) * self.group.mean_length < self.group.n_steps

    def _draw_noise(self, lane: int, block: int) -> None:
        """Fill the lane's column of the ring: its next steps' noise lies where the clock will be by then."""
        generator = self.group.streams.generator(self._episodes[lane], block)
        noise = self.group.policy.draw_noise(generator, NOISE_BLOCK_STEPS)
        if not self._noise.shape[1]:
            self._noise = np.zeros((NOISE_BLOCK_STEPS, self.lanes.n, noise.shape[1]), noise.dtype)
        position = self._now % NOISE_BLOCK_STEPS
        until_wrap = NOISE_BLOCK_STEPS - position
        self._noise[position:, lane] = noise[:until_wrap]
        self._noise[:position, lane] = noise[until_wrap:]
        self._refills.setdefault(self._now + NOISE_BLOCK_STEPS, []).append(lane)

    def _finish(self, ended: Array, transition: Transition) -> None:
        free = self.active[ended].tolist()
        self.observations = self.observations.copy()  # they may be the lanes' own, and are written to from here on
        for row, lane in zip(ended.tolist(), free, strict=True):
            end = End.TERMINATED if transition.terminated[row] else End.TRUNCATED
            length = self._now - self._started_at[lane]
            last_observation = transition.observations[row].copy()
            self._segments[self._episodes.pop(lane)] = _Segment(length, end, last_observation)
            self._refills[self._now + -length % NOISE_BLOCK_STEPS].remove(lane)
        self._episode_of_lane[free] = -1
        self.start(free)

    def _raised_in(self, call: str, lanes: list[int], error: Exception) -> str:
        episodes = ", ".join(
            f"{self._now - self._started_at[lane]} of seed {self.group.streams.world_seed(self._episodes[lane])}"
            for lane in lanes
        )
        broken = self.active.size and not np.isfinite(self.observations[self.active]).all()
        before = ", after it had returned NaN or infinity as an observation" if broken else ""
        return (
            f"The environment {self.group.env} raised in `{call}`{before}: {type(error).__name__}: {error}. It was at "
            f"one of these steps of episodes: {episodes}. Nothing of this batch is used and every snapshot is intact: "
            "mend the environment and continue the run."
        )

    def _check_finite(self, batch: EpisodeBatch) -> None:
        """Every number that came from the world must be finite; the error names the episode by its seed."""
        last_rows = batch.starts + batch.lengths - 1
        for name, values, rows, later in (
            ("observation", batch.observations, np.arange(batch.n_steps), 0),
            ("observation", batch.last_observations, last_rows, 1),
            ("reward", batch.rewards, np.arange(batch.n_steps), 0),
        ):
            if values.dtype.kind != "f" or np.isfinite(values).all():
                continue
            index = int(np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))[0])
            episode = int(np.searchsorted(batch.starts, rows[index], side="right")) - 1
            msg = (
                f"The environment {self.group.env} returned {values[index]!r} as {name} at step "
                f"{int(batch.steps[rows[index]]) + later} of the episode with the seed "
                f"{self.group.streams.world_seed(episode)}; expected finite numbers. Nothing of this batch is used and "
                "every snapshot is intact. Start that episode by env.reset(seed=...) to see it again."
            )
            raise NonFiniteError(msg)
