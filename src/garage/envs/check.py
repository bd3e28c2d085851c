"""Whether a world keeps what exactness rests on: the contract suite for anybody's environment."""

import contextlib
import enum
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium import spaces

from garage.core import options
from garage.core.ports import Lanes, Rung
from garage.core.types import Array
from garage.envs import trials
from garage.envs.gym_env import GymEnv
from garage.envs.rehearsal import Moment, generators_untouched
from garage.envs.trials import Episode, Step, Task
from garage.envs.worlds import World, wrappers_of

BUDGET_US = 50.0
"""What saying where one lane is in its episode may take."""
_N_CAPTURES = 50
_MANY_SEED = 1000


class Outcome(enum.StrEnum):
    """What came of one check."""

    FINE = "fine"
    WARNING = "warning"
    """Runs are exact all the same."""
    FAULT = "fault"
    """Runs are not exact, or stop there."""


@dataclass(frozen=True)
class Finding:
    """One thing that was checked.

    Attributes:
        about: what, in a word.
        outcome: whether it is as it should be.
        said: in words.
    """

    about: str
    outcome: Outcome
    said: str


@dataclass(frozen=True)
class EnvReport:
    """What `check_env` found.

    Attributes:
        world: its name.
        findings: in the order in which they were found.
        rung: how the world goes on in mid-episode; None if it was not made.
        capture_us: microseconds a lane to say where it is; None if that was not measured.
        restore_ms: milliseconds a lane to bring it back to there; likewise.
        restored_steps: how many steps into its episode that was.
    """

    world: str
    findings: tuple[Finding, ...]
    rung: Rung | None = None
    capture_us: float | None = None
    restore_ms: float | None = None
    restored_steps: int | None = None

    @property
    def faults(self) -> tuple[Finding, ...]:
        """What keeps runs from being exact."""
        return tuple(finding for finding in self.findings if finding.outcome is Outcome.FAULT)

    @property
    def exact(self) -> bool:
        """Whether runs of the world can be continued with the same bits."""
        return not self.faults

    @property
    def verdict(self) -> str:
        """One line."""
        if self.faults:
            return f"{self.world} is not exact: {', '.join(finding.about for finding in self.faults)}."
        if self.rung is Rung.CUT:
            return f"{self.world} is exact for whole episodes, and cannot be left in mid-episode."
        costs = "" if self.capture_us is None else f", {self.capture_us:.1f} µs a lane to save"
        return f"{self.world} is exact, in mid-episode by {self.rung}{costs}."


def check_env(world: "GymEnv | World", *, n_episodes: int = 3, other_process: bool = True) -> EnvReport:
    """Take episodes of a world, again and again, here and in another process; raises nothing about the world.

    Args:
        world: a `GymEnv`, or what it is made of.
        n_episodes: how many episodes are repeated, each for at most 1,000 steps.
        other_process: whether they are repeated in another process too, which takes some seconds to start.

    Raises:
        ArgumentError: ``n_episodes`` is no integer of at least 1.
    """
    options.check("check_env", n_episodes=(n_episodes, options.COUNT))
    notes = _Notes()
    with generators_untouched():
        env = notes.tried("made", lambda: world if isinstance(world, GymEnv) else GymEnv(world))
        if env is None:
            return EnvReport(str(world), tuple(notes.findings))
        return _Check(env, notes, list(range(n_episodes))).report(other_process=other_process)


@dataclass
class _Notes:
    findings: list[Finding] = field(default_factory=list)

    def add(self, about: str, outcome: Outcome, said: str) -> None:
        self.findings.append(Finding(about, outcome, said))

    def tried(self, about: str, attempt: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the attempt returns
        """What an attempt returns; None, and a fault, if it raises."""
        try:
            return attempt()
        except Exception as error:  # noqa: BLE001 - other people's code; the report says what it raised
            self.add(about, Outcome.FAULT, f"{type(error).__name__}: {error}")
            return None


class _Check:
    """The checks of one world, in turn."""

    def __init__(self, env: GymEnv, notes: _Notes, seeds: list[int]) -> None:
        self.env, self.notes, self.seeds = env, notes, seeds
        self.capture_us: float | None = None
        self.restore_ms: float | None = None
        self.restored_steps: int | None = None
        self._built = ExitStack()

    def report(self, *, other_process: bool) -> EnvReport:
        env, notes = self.env, self.notes
        with contextlib.suppress(Exception):  # it comes again when the world is left in mid-episode, and is said there
            env.make_lanes(1).close()
        notes.add("made", Outcome.FINE, env.describe())
        seen = None
        with self._built:
            one = notes.tried("made", self._build)
            if one is not None:
                self._wrappers(one)
                seen = notes.tried("episodes", lambda: self._look(one))
            if seen is not None:
                self._seeds(seen)
                again = notes.tried("repeated", lambda: self._repeat(one))
                self._compare("repeated", "after other episodes in the same environment", seen, again)
                if env.source.copies:
                    fresh = notes.tried("made again", lambda: trials.episodes_of(env, self.seeds))
                    self._compare("made again", "in a freshly made environment", seen, fresh)
        left = None
        if seen is not None:
            left = notes.tried("left in mid-episode", self._leave)
            if other_process:
                self._elsewhere(seen, left)
        return EnvReport(
            env.source.name,
            tuple(notes.findings),
            env.rung,
            self.capture_us,
            self.restore_ms,
            self.restored_steps,
        )

    def _wrappers(self, one: Any) -> None:  # noqa: ANN401 - gymnasium's environments
        names = [type(wrapper).__name__ for wrapper in wrappers_of(one)]
        self.notes.add("wrappers", Outcome.FINE, ", ".join(names) or "none")
        space = self.env.spec.action_space
        if isinstance(space, spaces.Box):
            said = f"{space}, clipped to its bounds" if space.is_bounded() else f"{space}, which has no bounds"
        else:
            said = f"{space}, counted from 0"
        self.notes.add("actions", Outcome.FINE, said)
        limit = self.env.spec.max_episode_length
        if limit is None:
            said = "none: whole episodes may never end; max_episode_length sets one"
            self.notes.add("time limit", Outcome.WARNING, said)
        else:
            self.notes.add("time limit", Outcome.FINE, f"{limit} steps")

    def _look(self, one: Any) -> list[Episode]:  # noqa: ANN401 - as above
        """Take the episodes, and look at every value."""
        problems: dict[str, tuple[Outcome, str]] = {}
        episodes, ends = [], []
        keys: set[str] = set()
        for seed in self.seeds:
            taken = []
            for moment in trials.moments(self._fresh_if_needed(one), seed):
                for about, outcome, said in _problems(moment, self.env.spec.observation_space):
                    problems.setdefault(about, (outcome, f"{said} at step {moment.step} of seed {seed}"))
                keys |= trials.as_step(moment).infos.keys()
                taken.append(trials.as_step(moment))
            how = "terminated" if moment.terminated else "truncated" if moment.truncated else "left"
            ends.append(f"{how} after {moment.step}")
            episodes.append(Episode(seed, taken))
        self.notes.add("episodes", Outcome.FINE, ", ".join(ends) + " steps")
        if all(end.startswith("left") for end in ends):
            said = f"none ended within {trials.LONGEST} steps"
            if self.env.spec.max_episode_length is None:
                self.notes.add("ends", Outcome.WARNING, said)
        for about, fine in (("observations", "as the space says"), ("rewards", "finite")):
            self.notes.add(about, *problems.get(about, (Outcome.FINE, fine)))
        self.notes.add("infos", Outcome.FINE, ", ".join(sorted(keys)) or "no numbers")
        return episodes

    def _fresh_if_needed(self, one: Any) -> Any:  # noqa: ANN401 - as above
        return self._build() if self.env.fresh_episodes else one

    def _build(self) -> Any:  # noqa: ANN401 - as above
        env = self.env.source.build()
        if self.env.source.copies:
            self._built.callback(env.close)
        return env

    def _repeat(self, one: Any) -> list[Episode]:  # noqa: ANN401 - as above
        """Leave some episodes in the middle, and take those that were seen again, in another order."""
        if not self.env.fresh_episodes and self.env.rung is not Rung.CUT:
            for seed in (_MANY_SEED, _MANY_SEED + 1):
                trials.episode_of(one, seed, 7)
        again = [trials.episode_of(self._fresh_if_needed(one), seed) for seed in reversed(self.seeds)]
        return again[::-1]

    def _seeds(self, seen: list[Episode]) -> None:
        if len(seen) > 1 and all(episode.steps[0] == seen[0].steps[0] for episode in seen):
            said = "different seeds give the same first observation; that is fine if every episode starts alike"
            self.notes.add("seeds", Outcome.WARNING, said)
        else:
            self.notes.add("seeds", Outcome.FINE, "different seeds give different episodes")

    def _compare(self, about: str, where: str, seen: list[Episode], again: list[Episode] | None) -> None:
        if again is None:
            return
        for one, other in zip(seen, again, strict=True):
            parting = trials.first_parting(one.steps, other.steps)
            if parting is not None:
                said = f"{where}, seed {one.seed} gives another {parting[1]} at step {parting[0]}; {_REMEDY}"
                self.notes.add(about, Outcome.FAULT, said)
                return
        n_steps = sum(len(episode.steps) - 1 for episode in seen)
        self.notes.add(about, Outcome.FINE, f"{where}, {n_steps} steps give the same bits")
        other_infos = sorted(
            {
                key
                for one, other in zip(seen, again, strict=True)
                for a, b in zip(one.steps, other.steps, strict=True)
                for key in a.infos.keys() | b.infos.keys()
                if a.infos.get(key) != b.infos.get(key)
            }
        )
        if other_infos:
            self.notes.add("infos", Outcome.WARNING, f"{where}, other numbers in {', '.join(other_infos)}")

    def _leave(self) -> tuple[Task, list[Step]] | None:
        """Leave lanes in mid-episode, bring them back in others, and compare the rest of their episodes."""
        env, alone = self.env, np.array([0])
        lanes = env.make_lanes(1)
        with ExitStack() as finally_:
            finally_.callback(lanes.close)
            if lanes.rung is Rung.CUT:
                said = "not possible: a collect of fragments finishes this world's episodes"
                self.notes.add("left in mid-episode", Outcome.WARNING, said)
                return None
            plan = _plan(env)
            n_taken, last = _walk(lanes, plan)
            if not n_taken:
                self.notes.add("left in mid-episode", Outcome.FINE, "its episodes have one step")
                return None
            state = lanes.state_dict(alone)
            self._measure_capture(lanes)
            expected = [trials.arrived(last), *trials.stepped(lanes, 0, plan[n_taken:])]
            others = lanes if env.lane_width == 1 else env.make_lanes(2)
            if others is not lanes:
                finally_.callback(others.close)
            place = others.n - 1
            others.reset(np.array([place]), [_MANY_SEED])
            before = time.perf_counter()
            here = others.load_state_dict(np.array([place]), state)
            self.restore_ms, self.restored_steps = 1e3 * (time.perf_counter() - before), n_taken
            got = [trials.arrived(here[0]), *trials.stepped(others, place, plan[n_taken:])]
        parting = trials.first_parting(expected, got)
        if parting is not None:
            said = f"brought back by {lanes.rung} to step {n_taken}, another {parting[1]} {parting[0]} steps later"
            self.notes.add("left in mid-episode", Outcome.FAULT, said)
            return None
        said = (
            f"by {lanes.rung}; the {len(got) - 1} steps after step {n_taken} give the same bits; {self.capture_us:.1f} "
            f"µs a lane to save, {self.restore_ms:.1f} ms a lane to bring back"
        )
        over = (self.capture_us or 0.0) > BUDGET_US
        self.notes.add("left in mid-episode", Outcome.WARNING if over else Outcome.FINE, said)
        return Task(env, self.seeds, state, plan[n_taken:]), expected

    def _measure_capture(self, lanes: Lanes) -> None:
        seconds = []
        for _ in range(_N_CAPTURES):
            before = time.perf_counter()
            lanes.state_dict(np.array([0]))
            seconds.append(time.perf_counter() - before)
        self.capture_us = 1e6 * statistics.median(seconds)

    def _elsewhere(self, seen: list[Episode], left: tuple[Task, list[Step]] | None) -> None:
        """The same in another process, for which the world is pickled."""
        task, expected = (Task(self.env, self.seeds, None, np.empty(0)), []) if left is None else left
        found = self.notes.tried("another process", lambda: trials.in_another_process(task))
        if found is None:
            return
        episodes, rest = found
        self._compare("another process", "in a process with another hash seed", seen, episodes)
        parting = trials.first_parting(expected, rest)
        if parting is not None:
            said = f"brought back in mid-episode in another process, another {parting[1]} {parting[0]} steps later"
            self.notes.add("another process", Outcome.FAULT, said)


_REMEDY = (
    "draw from `self.np_random` alone, which `super().reset(seed=seed)` seeds, and set everything back in `reset`, or "
    "pass fresh_episodes=True to make an environment for each episode"
)


def _plan(env: GymEnv) -> Array:
    """Actions of one episode as policies give them: counted from 0."""
    space = env.spec.action_space
    actions = np.array(trials.actions_of(space, _MANY_SEED, trials.LONGEST))
    return np.asarray(actions - space.start if isinstance(space, spaces.Discrete | spaces.MultiDiscrete) else actions)


def _walk(lanes: Lanes, plan: Array) -> tuple[int, Array]:
    """Take the first lane to half of an episode by ``plan``; returns the steps taken, and the last observation."""
    alone = np.array([0])
    lanes.reset(alone, [_MANY_SEED])
    length = len(trials.stepped(lanes, 0, plan))
    last = lanes.reset(alone, [_MANY_SEED])[0]
    for action in plan[: length // 2]:
        last = lanes.step(alone, action[np.newaxis]).observations[0]
    return length // 2, last


def _problems(moment: Moment, space: Any) -> list[tuple[str, Outcome, str]]:  # noqa: ANN401 - gymnasium's spaces
    found = []
    observation = moment.observation
    if observation.shape != space.shape:
        found.append(("observations", Outcome.FAULT, f"shape {observation.shape} instead of {space.shape}"))
    elif observation.dtype.kind == "f" and not np.isfinite(observation).all():
        found.append(("observations", Outcome.FAULT, "NaN or infinity"))
    elif observation.dtype != space.dtype and not isinstance(space, spaces.Discrete):
        said = f"{observation.dtype} instead of {space.dtype}, converted"
        found.append(("observations", Outcome.WARNING, said))
    elif not space.contains(observation):
        found.append(("observations", Outcome.WARNING, f"{observation} outside of {space}"))
    if not np.isfinite(float(moment.reward)):
        found.append(("rewards", Outcome.FAULT, f"{moment.reward}"))
    return found
