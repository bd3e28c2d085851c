"""How a group runs: start rule, noise, acting at full width, and the segments that come of it."""

import time

import numpy as np

from garage.core.ports import Group, GroupResult, Lanes, Rung, compiled_rollout_of
from garage.core.types import Array, End, EpisodeBatch, Infos, State, Transition
from garage.errors import GarageError, WorldRaisedError
from garage.sampler.compiled_rollout import CompiledRollout
from garage.sampler.episodes import Episodes
from garage.sampler.in_flight import InFlight
from garage.sampler.noise_ahead import NoiseAhead
from garage.sampler.patience import Patience
from garage.sampler.step_log import StepLog

_TERMINATED, _TRUNCATED, _CUT = (int(end) for end in (End.TERMINATED, End.TRUNCATED, End.CUT))


def run_group(group: Group, lanes: Lanes) -> GroupResult:
    """Run episodes until the group's quota is met.

    Free lanes start an episode, in lane order, while ``steps taken + episodes in flight * mean_length`` is below
    ``n_steps``; episodes that started are finished. With ``fragments``, all lanes run until ``n_steps`` are taken, and
    episodes that did not end are cut and carried; a world whose rung is `Rung.CUT` cannot be cut, so that its
    episodes are finished all the same.

    A policy acts at the full width of the lanes, idle ones included: a row's last bits may depend on how many rows are
    multiplied with it. A policy and lanes that are kernels, whose bits do not, are run by a kernel.

    Args:
        group: what to run.
        lanes: as many as it asks for; those in ``group.carried`` are where it says.

    Raises:
        NonFiniteError: an observation or a reward is NaN or infinite.
        WorldRaisedError: the environment raised.
    """
    kernels = compiled_rollout_of(group.policy, lanes)
    return _run(group, lanes) if kernels is None else _run_compiled(CompiledRollout(group, lanes, kernels))


def _run_compiled(rollout: CompiledRollout) -> GroupResult:
    before = time.perf_counter()
    rollout.run()
    batch, carried = rollout.results()
    env, acting = rollout.seconds
    process = time.perf_counter() - before - env - acting
    return GroupResult(batch, carried, {"env": env, "policy": acting, "process": process})


def _run(group: Group, lanes: Lanes) -> GroupResult:
    rollout = _Rollout(group, lanes)
    clock, env, acting, process = time.perf_counter, 0.0, 0.0, 0.0
    act = group.policy.act
    rollout.begin()
    before = clock()
    while rollout.goes_on:
        noise = rollout.noise_of_step()
        prepared = clock()
        actions, memory, agent_infos = act(rollout.observations, rollout.memory, noise)
        acted = clock()
        transition = rollout.step(actions)
        stepped = clock()
        rollout.take(actions, memory, agent_infos, transition)
        after = clock()
        env += stepped - acted
        acting += acted - prepared
        process += prepared - before + after - stepped
        before = after
    carried = rollout.cut()
    batch = rollout.batch()
    process += clock() - before
    return GroupResult(batch, carried, {"env": env, "policy": acting, "process": process})


class _Rollout:
    """The lanes of one group while it runs.

    The policy sees ``[n_lanes, ...]`` at every step, and what it has seen is not written to again: it may hand it on.
    """

    def __init__(self, group: Group, lanes: Lanes) -> None:
        self.group, self.lanes = group, lanes
        space = group.env.spec.observation_space
        self.observations: Array = np.zeros((lanes.n, *(space.shape or ())), space.dtype)
        self.memory = group.policy.initial_memory(lanes.n)
        self.active: Array = np.arange(0)
        self._is_full = False
        self._row_of_lane: Array = np.zeros(lanes.n, np.int64)
        self._fragments = group.fragments and lanes.rung is not Rung.CUT
        self._clock = self._n_steps = 0
        self._episodes = Episodes(group)
        self._began_at: list[int] = []
        """On the clock, for each episode."""
        self._running: dict[int, int] = {}
        """Numbers of episodes, by lane."""
        self._noise = NoiseAhead(group.policy, lanes.n)
        self._patience = Patience(group)
        self._silent_until = self._patience.ends_at
        self._log = StepLog(lanes.n, f"{group.env} and `{group.policy.name}`")

    def begin(self) -> None:
        """Take up the episodes that were carried, and start others in the lanes that are free."""
        if self.group.carried:
            self._take_up(InFlight.from_state(self.group.carried))
        self._start([lane for lane in range(self.lanes.n) if lane not in self._running])
        self._find_active()

    @property
    def goes_on(self) -> bool:
        """Whether another step is to be taken."""
        return bool(self._running) and not (self._fragments and self._is_met)

    def noise_of_step(self) -> Array:
        """This step's noise ``[n_lanes, K]``."""
        return self._noise.of_step(self._clock)

    def step(self, actions: Array) -> Transition:
        """Step the active lanes."""
        try:
            return self.lanes.step(self.active, actions if self._is_full else actions.take(self.active, axis=0))
        except GarageError:
            raise
        except Exception as error:
            raise WorldRaisedError(self._raised_in("step", self.active.tolist(), error)) from error

    def take(self, actions: Array, memory: Array, agent_infos: Infos, transition: Transition) -> None:
        """Log what happened, finish the episodes that ended, start others in their lanes."""
        self._log.add(self.observations, actions, agent_infos, transition)
        observations, _, terminated, truncated, _ = transition
        if not self._is_full:
            if observations.dtype != self.observations.dtype:
                observations = observations.astype(self.observations.dtype)
            observations = observations.take(self._row_of_lane, axis=0)
        self.observations = observations
        self.memory = memory
        self._n_steps += self.active.size
        self._clock += 1
        if self._n_steps >= self._silent_until:
            self._patience.lose(self._n_steps)
            self._silent_until = self._patience.ends_at
        (ended,) = (terminated | truncated).nonzero()
        if ended.size:
            self._finish(ended, transition)

    def cut(self) -> State:
        """End the segments of the episodes that are still in flight, and say how to go on with them."""
        if not self._running:
            return {}
        numbers = np.array(sorted(self._running.values()))
        lane_of = {number: lane for lane, number in self._running.items()}
        lanes = np.array([lane_of[number] for number in numbers.tolist()], np.int64)
        lengths = self._clock - np.array(self._began_at)[numbers]
        shown = self.observations[lanes], self.memory[lanes]
        self._log.end(numbers.tolist(), [_CUT] * len(numbers), shown[0])
        return self._episodes.in_flight(numbers, lanes, lengths, shown, self.lanes)

    def batch(self) -> EpisodeBatch:
        """The segments in the order in which their episodes started.

        Raises:
            NonFiniteError: an observation or a reward is NaN or infinite.
            MismatchError: an info did not come at every step.
        """
        batch = self._log.batch()
        self._episodes.check_finite(batch)
        return batch

    @property
    def _is_met(self) -> bool:
        return self.group.n_steps is not None and self._n_steps >= self.group.n_steps

    def _n_starting(self, n_free: int) -> int:
        """How many episodes start in so many free lanes: as long as the quota is open."""
        if self._fragments:
            return 0 if self._is_met else n_free
        quota, mean_length = self.group.n_steps, self.group.mean_length
        if quota is None:
            n_started, n_episodes = self._episodes.n_started, self.group.n_episodes
            return 0 if n_episodes is None else min(n_free, n_episodes - n_started)
        n_starting, n_in_flight = 0, len(self._running)
        while n_starting < n_free and self._n_steps + (n_in_flight + n_starting) * mean_length < quota:
            n_starting += 1
        return n_starting

    def _start(self, free: list[int]) -> bool:
        """Start an episode in each free lane, in lane order, as long as the quota is open; whether all have one."""
        starting = free[: self._n_starting(len(free))]
        if not starting:
            return not free
        clock, episodes = self._clock, self._episodes
        self._noise.start(starting, episodes.streams, episodes.n_started, clock)
        self._running |= zip(starting, range(len(episodes), len(episodes) + len(starting)), strict=True)
        self._began_at += [clock] * len(starting)
        seeds = [episode.world_seed for episode in episodes.start(len(starting))]
        chosen = np.array(starting)
        try:
            observations = self.lanes.reset(chosen, seeds)
        except GarageError:
            raise
        except Exception as error:
            raise WorldRaisedError(self._raised_in("reset", starting, error)) from error
        self.observations = self.observations.copy()
        self.observations[chosen] = observations
        fresh = self.group.policy.initial_memory(len(starting))
        if fresh.size:
            self.memory = self.memory.copy()
            self.memory[chosen] = fresh
        self._log.start(starting, [clock] * len(starting), fresh)
        return len(starting) == len(free)

    def _take_up(self, carried: InFlight) -> None:
        lanes = carried.lanes.tolist()
        for lane, episode in zip(lanes, self._episodes.take_up(carried), strict=True):
            self._noise.take_up(lane, episode.streams, episode.ordinal, episode.n_before)
        self._running |= zip(lanes, range(len(lanes)), strict=True)
        self._began_at += [0] * len(lanes)
        self.observations[carried.lanes] = carried.observations
        if carried.memory.size:
            self.memory = self.memory.copy()
            self.memory[carried.lanes] = carried.memory
        self._log.start(lanes, (-carried.steps).tolist(), carried.memory)
        self._find_active()

    def _find_active(self) -> None:
        self.active = np.array(sorted(self._running), np.int64)
        self._is_full = self.active.size == self.lanes.n
        # An idle lane shows what the first active one does.
        self._row_of_lane = np.zeros(self.lanes.n, np.int64)
        self._row_of_lane[self.active] = np.arange(self.active.size)
        self._log.activate(self.active, self._row_of_lane)

    def _finish(self, rows: Array, transition: Transition) -> None:
        free = self.active.take(rows).tolist()
        terminated = transition.terminated.take(rows).tolist()
        numbers = [self._running.pop(lane) for lane in free]
        self._log.end(
            numbers,
            [_TERMINATED if yes else _TRUNCATED for yes in terminated],
            transition.observations.take(rows, axis=0),
        )
        for lane in free:
            self._noise.stop(lane)
        if not self._start(free):
            self._find_active()

    def _raised_in(self, call: str, lanes: list[int], error: Exception) -> str:
        running = [(self._episodes[number], self._began_at[number]) for number in map(self._running.__getitem__, lanes)]
        episodes = ", ".join(
            f"{episode.n_before + self._clock - began_at} of seed {episode.world_seed}" for episode, began_at in running
        )
        broken = self.active.size and not np.isfinite(self.observations[self.active]).all()
        before = ", after it had returned NaN or infinity as an observation" if broken else ""
        return (
            f"The environment {self.group.env} raised in `{call}`{before}: {type(error).__name__}: {error}. It was at "
            f"one of these steps of episodes: {episodes}. Nothing of this batch is used and every snapshot is intact: "
            "mend the environment and continue the run."
        )
