"""How a group runs: start rule, noise, acting at full width, and the segments that come of it."""

import time
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from garage.core.ports import Group, GroupResult, Lanes, Rung
from garage.core.streams import Streams
from garage.core.types import Array, End, EpisodeBatch, Infos, State, Transition
from garage.errors import GarageError, MismatchError, NonFiniteError, WorldRaisedError
from garage.sampler.in_flight import InFlight

NOISE_BLOCK_STEPS = 256
"""Noise is drawn in blocks of so many steps, each with an address of its own; a constant of the format."""


def run_group(group: Group, lanes: Lanes) -> GroupResult:
    """Run episodes until the group's quota is met.

    Free lanes start an episode, in lane order, while ``steps taken + episodes in flight * mean_length`` is below
    ``n_steps``; episodes that started are finished. With ``fragments``, all lanes run until ``n_steps`` are taken, and
    episodes that did not end are cut and carried; a world whose rung is `Rung.CUT` cannot be cut, so that its
    episodes are finished all the same. The policy always acts at the full width of the lanes, idle ones included: a
    row's last bits depend on how many rows are multiplied with it.

    Args:
        group: what to run.
        lanes: as many as it asks for; those in ``group.carried`` are where it says.

    Raises:
        NonFiniteError: an observation or a reward is NaN or infinite.
        WorldRaisedError: the environment raised.
    """
    rollout = _Rollout(group, lanes)
    clock, seconds = time.perf_counter, {"env": 0.0, "policy": 0.0, "process": 0.0}
    rollout.begin()
    before = clock()
    while rollout.goes_on:
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
    carried = rollout.cut()
    batch = rollout.batch()
    seconds["process"] += clock() - before
    return GroupResult(batch, carried, seconds)


class _Episode(NamedTuple):
    """Where an episode comes from."""

    streams: Streams
    epoch: int
    call: int
    ordinal: int
    """Among the episodes that the group started in that call."""
    started_at: int
    """On the rollout's clock; negative if it was carried."""

    @property
    def world_seed(self) -> int:
        return self.streams.world_seed(self.ordinal)


class _Segment(NamedTuple):
    """How the steps of one episode ended."""

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
        self._streams = self._streams_of(group.epoch, group.call)
        self._fragments = group.fragments and lanes.rung is not Rung.CUT
        self._now = self._n_steps = self._n_carried = 0
        self._episodes: list[_Episode] = []
        self._number_of_lane = np.full(lanes.n, -1)
        self._active_numbers: Array = self.active
        self._noise: Array = np.zeros((NOISE_BLOCK_STEPS, 0, 0))
        self._refills: dict[int, list[int]] = {}
        self._segments: dict[int, _Segment] = {}
        self._memories: list[Array] = []
        self._log: dict[str, list[Array]] = {"observations": [], "actions": [], "rewards": []}
        self._number_log: list[Array] = []
        self._env_infos: dict[str, list[Array]] = {}
        self._agent_infos: dict[str, list[Array]] = {}

    def begin(self) -> None:
        """Take up the episodes that were carried, and start others in the lanes that are free."""
        if self.group.carried:
            self._take_up(InFlight.from_state(self.group.carried))
        self.start(np.flatnonzero(self._number_of_lane < 0).tolist())

    @property
    def goes_on(self) -> bool:
        """Whether another step is to be taken."""
        return bool(self.active.size) and not (self._fragments and self._is_met)

    def start(self, free: Iterable[int]) -> None:
        """Start an episode in each free lane, in lane order, as long as the quota is open."""
        starting = []
        for lane in free:
            if not self._quota_is_open():
                break
            ordinal = len(self._episodes) - self._n_carried
            self._add(lane, _Episode(self._streams, self.group.epoch, self.group.call, ordinal, self._now))
            starting.append(lane)
        if starting:
            seeds = [self._episode_in(lane).world_seed for lane in starting]
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
        self._find_active()

    def noise_of_step(self) -> Array:
        """This step's noise ``[n_lanes, K]``; idle lanes get what was left in theirs."""
        for lane in self._refills.pop(self._now, ()):
            self._draw_noise(lane, self._now - self._episode_in(lane).started_at)
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
        self._number_log.append(self._active_numbers)
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

    def cut(self) -> State:
        """End the segments of the episodes that are still in flight, and say how to go on with them."""
        lanes = self.active[np.argsort(self._active_numbers)]  # in the order in which their episodes started
        if not lanes.size:
            return {}
        episodes = [self._episode_in(lane) for lane in lanes.tolist()]
        for lane, episode in zip(lanes.tolist(), episodes, strict=True):
            length = self._now - max(0, episode.started_at)
            number = int(self._number_of_lane[lane])
            self._segments[number] = _Segment(length, End.CUT, self.observations[lane].copy())
        return InFlight(
            rung=self.lanes.rung,
            lanes=lanes.astype(np.int64),
            steps=np.array([self._now - episode.started_at for episode in episodes]),
            epochs=np.array([episode.epoch for episode in episodes]),
            calls=np.array([episode.call for episode in episodes]),
            episodes=np.array([episode.ordinal for episode in episodes]),
            observations=self.observations[lanes],
            memory=self.memory[lanes],
            world=self.lanes.state_dict(lanes),
        ).as_state()

    def batch(self) -> EpisodeBatch:
        """The segments in the order in which their episodes started.

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
        segments = [self._segments[number] for number in range(len(self._episodes))]
        # Logged step by step, so a stable sort by episode leaves each episode's rows in the order of time.
        rows = np.argsort(np.concatenate(self._number_log), kind="stable")

        def sorted_by_episode(log: list[Array]) -> Array:
            return np.asarray(np.concatenate(log)[rows])

        batch = EpisodeBatch(
            **{name: sorted_by_episode(log) for name, log in self._log.items()},
            lengths=np.array([segment.length for segment in segments]),
            last_observations=np.array([segment.last_observation for segment in segments]),
            ends=np.array([segment.end for segment in segments], np.int8),
            first_steps=np.array([max(0, -episode.started_at) for episode in self._episodes]),
            memories=np.array(self._memories),
            env_infos={key: sorted_by_episode(log) for key, log in self._env_infos.items()},
            agent_infos={key: sorted_by_episode(log) for key, log in self._agent_infos.items()},
        )
        self._check_finite(batch)
        return batch

    @property
    def _is_full(self) -> bool:
        return self.active.size == self.lanes.n

    @property
    def _is_met(self) -> bool:
        return self.group.n_steps is not None and self._n_steps >= self.group.n_steps

    def _quota_is_open(self) -> bool:
        if self._fragments:
            return not self._is_met
        if self.group.n_steps is None:
            n_started = len(self._episodes) - self._n_carried
            return self.group.n_episodes is not None and n_started < self.group.n_episodes
        n_in_flight = np.count_nonzero(self._number_of_lane >= 0)
        return bool(self._n_steps + n_in_flight * self.group.mean_length < self.group.n_steps)

    def _take_up(self, carried: InFlight) -> None:
        self._n_carried = len(carried.lanes)
        for lane, step, epoch, call, ordinal in zip(*(column.tolist() for column in carried.addresses), strict=True):
            self._add(lane, _Episode(self._streams_of(epoch, call), epoch, call, ordinal, -step))
        self.observations[carried.lanes] = carried.observations
        self._memories.extend(carried.memory)
        if carried.memory.size:
            self.memory = self.memory.copy()
            self.memory[carried.lanes] = carried.memory
        self._find_active()

    def _add(self, lane: int, episode: _Episode) -> None:
        self._number_of_lane[lane] = len(self._episodes)
        self._episodes.append(episode)
        self._draw_noise(lane, self._now - episode.started_at)

    def _episode_in(self, lane: int) -> _Episode:
        return self._episodes[int(self._number_of_lane[lane])]

    def _streams_of(self, epoch: int, call: int) -> Streams:
        return self.group.streams.at(epoch, call, self.group.index)

    def _find_active(self) -> None:
        self.active = np.flatnonzero(self._number_of_lane >= 0)
        self._active_numbers = self._number_of_lane.take(self.active)

    def _draw_noise(self, lane: int, step: int) -> None:
        """Fill the lane's column of the ring from a step of its episode on, to the end of that step's block."""
        episode = self._episode_in(lane)
        block, passed = divmod(step, NOISE_BLOCK_STEPS)
        noise = self.group.policy.draw_noise(episode.streams.generator(episode.ordinal, block), NOISE_BLOCK_STEPS)
        if not self._noise.shape[1]:
            self._noise = np.zeros((NOISE_BLOCK_STEPS, self.lanes.n, noise.shape[1]), noise.dtype)
        # The noise of a step lies where the clock will be by then; what has passed ends up where nobody looks.
        position = (self._now - passed) % NOISE_BLOCK_STEPS
        until_wrap = NOISE_BLOCK_STEPS - position
        self._noise[position:, lane] = noise[:until_wrap]
        self._noise[:position, lane] = noise[until_wrap:]
        self._refills.setdefault(self._now + NOISE_BLOCK_STEPS - passed, []).append(lane)

    def _finish(self, ended: Array, transition: Transition) -> None:
        free = self.active[ended].tolist()
        self.observations = self.observations.copy()  # they may be the lanes' own, and are written to from here on
        for row, lane in zip(ended.tolist(), free, strict=True):
            end = End.TERMINATED if transition.terminated[row] else End.TRUNCATED
            began = self._episode_in(lane).started_at
            last_observation = transition.observations[row].copy()
            number = int(self._number_of_lane[lane])
            self._segments[number] = _Segment(self._now - max(0, began), end, last_observation)
            self._refills[self._now + (began - self._now) % NOISE_BLOCK_STEPS].remove(lane)
        self._number_of_lane[free] = -1
        self.start(free)

    def _raised_in(self, call: str, lanes: list[int], error: Exception) -> str:
        episodes = ", ".join(
            f"{self._now - episode.started_at} of seed {episode.world_seed}" for episode in map(self._episode_in, lanes)
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
                f"{self._episodes[episode].world_seed}; expected finite numbers. Nothing of this batch is used and "
                "every snapshot is intact. Start that episode by env.reset(seed=...) to see it again."
            )
            raise NonFiniteError(msg)
