"""The Env port answered by gymnasium."""

import logging
from contextlib import ExitStack
from typing import Any, Never

import gymnasium
import numpy as np
from gymnasium.envs import registration

from garage.core.ports import Lanes, Rung
from garage.core.recipe import Component
from garage.core.registrations import registration_of
from garage.core.types import EnvSpec
from garage.envs.gym_lanes import GymLanes
from garage.envs.native import native_lanes_of
from garage.envs.rehearsal import Rehearsed, check_repeatable, generators_untouched
from garage.envs.worlds import (
    CallableWorld,
    RegisteredWorld,
    SingleWorld,
    Source,
    World,
    check_no_statistics,
    check_spaces,
    keeps_physics,
    own_step_limit,
    why_not_rebuildable,
)
from garage.errors import ArgumentError, MismatchError, WorldError

_SEPARATE_WIDTH = 8

_GOES_ON = {
    Rung.ARRAYS: "goes on by arrays",
    Rung.REPLAY: "goes on by replay",
    Rung.CUT: "cannot be left in mid-episode",
}

_logger = logging.getLogger("garage.envs")


class GymEnv(Component):
    """A world of gymnasium's, or of yours; its settings never change.

    gymnasium's worlds of classic control and most of its MuJoCo ones, as registered, run in native lanes that give the
    same bits as its environments; the first `make_lanes` says so. All other worlds run as separate gymnasium
    environments, and the first `make_lanes` rehearses a few steps to make sure that seeds repeat them, and to learn how
    an episode that was left in the middle goes on in another process.

    An instance is made again from its ``spec``, if that gives an equal environment, and is pickled as that spec.
    Otherwise the instance itself is the only lane, and a warning says why. An id that is not gymnasium's own is pickled
    as what is registered under it, so that it can be made where nobody has registered it.

    Args:
        world: an id for ``gymnasium.make``, a gymnasium ``EnvSpec``, a callable that returns a new environment at
            each call (such as a class), or an environment.
        max_episode_length: steps after which an episode is truncated; by default what the world itself says.
        native_lanes: whether native lanes may be used where there are some.
        fresh_episodes: whether each episode gets an environment of its own, for worlds that keep something from one
            episode to the next. BipedalWalker does, and gets them in any case.
        **kwargs: passed on to ``gymnasium.make``; for an id only.

    Raises:
        ArgumentError: an argument is of the wrong kind, out of range, or would be ignored; or a wrapper keeps running
            statistics.
        UnknownWorldError: nothing is registered under the id.
        WorldError: the environment cannot be made.
        MismatchError: its observations or actions are not arrays.
    """

    def __init__(
        self,
        world: World,
        max_episode_length: int | None = None,
        *,
        native_lanes: bool = True,
        fresh_episodes: bool = False,
        **kwargs: Any,
    ) -> None:
        _check_arguments(world, kwargs)
        if isinstance(world, gymnasium.Env):
            check_no_statistics(str(world), world)
        if max_episode_length is not None:
            max_episode_length = _positive("max_episode_length", max_episode_length)
        with generators_untouched(), ExitStack() as finally_:
            self._source = _source(world, max_episode_length, kwargs)
            env = self._source.build()
            if self._source.copies:
                finally_.callback(env.close)
            made_again_by = None
            if isinstance(world, gymnasium.Env) and isinstance(self._source, RegisteredWorld):
                made_again_by = self._source.world  # an instance may hold windows, sockets or megabytes
            elif isinstance(world, str):
                made_again_by = registration_of(env, kwargs)  # another process need not have registered it
            if made_again_by is not None:
                options = {
                    "max_episode_length": max_episode_length,
                    "native_lanes": native_lanes,
                    "fresh_episodes": fresh_episodes,
                }
                self._constructor_call = ((made_again_by,), options)
            check_spaces(self._source.name, env)
            check_no_statistics(self._source.name, env)
            own_limit = own_step_limit(env)
            if max_episode_length is not None and own_limit is not None and max_episode_length > own_limit:
                msg = (
                    f"max_episode_length={max_episode_length} would be ignored: {self._source.name} has a TimeLimit of "
                    f"its own after {own_limit} steps. Raise or remove that one, or pass at most {own_limit}."
                )
                raise ArgumentError(msg)
            self._spec = EnvSpec(
                observation_space=env.observation_space,
                action_space=env.action_space,
                max_episode_length=own_limit if max_episode_length is None else max_episode_length,
            )
            self._step_limit = None if max_episode_length == own_limit else max_episode_length
            self._fresh_episodes = fresh_episodes or keeps_physics(env)
            if self._fresh_episodes and not self._source.copies:
                msg = (
                    f"{self._source.name} is one instance that cannot be made again, and needs to be made for each "
                    "episode. Pass GymEnv an id, or a callable that makes the environment."
                )
                raise ArgumentError(msg)
            registered = isinstance(self._source, RegisteredWorld)
            native = native_lanes and registered and not fresh_episodes
            self._native = native_lanes_of(env) if native else None
        self._native_announced = False
        self._rehearsed: Rehearsed | None = None

    @property
    def spec(self) -> EnvSpec:
        """What an agent may know of the world."""
        return self._spec

    @property
    def source(self) -> Source:
        """Where its environments come from."""
        return self._source

    @property
    def fresh_episodes(self) -> bool:
        """Whether each episode gets an environment of its own."""
        return self._fresh_episodes

    @property
    def lane_width(self) -> int:
        """How many lanes are stepped together at best: 64 in NumPy, 16 of MuJoCo's, 8 environments, 1 lone instance."""
        if self._native is not None:
            return self._native.width
        return _SEPARATE_WIDTH if self._source.copies else 1

    def make_lanes(self, n: int) -> Lanes:
        """Make n running copies.

        Args:
            n: number of lanes, at least 1.

        Raises:
            ArgumentError: n is no integer of at least 1.
            MismatchError: n is more than 1 and the world is an instance that cannot be copied.
            UnseededWorldError: the same seed and actions do not give the same episode.
            WorldError: an environment cannot be made.
        """
        n = _positive("n", n)
        if self._native is not None:
            if not self._native_announced:
                self._native_announced = True
                _logger.info("%s: native lanes, bit-equal to gymnasium's", self._source.name)
            return self._native.make(n, self._spec.max_episode_length)
        if n > 1 and not self._source.copies:
            msg = (
                f"{self._source.name} is one instance that cannot be made again, so it has 1 lane, got n={n}. Pass "
                "GymEnv an id, or a callable that makes the environment."
            )
            raise MismatchError(msg)
        if self._rehearsed is None:
            self._rehearsed = self._rehearse()
        with ExitStack() as on_failure:
            envs = [self._build(on_failure) for _ in range(n)]
            on_failure.pop_all()
        return GymLanes(
            self._source.name,
            envs,
            info_keys=self._rehearsed.info_keys,
            step_limit=self._step_limit,
            owned=self._source.copies,
            rung=self._rehearsed.rung,
            build=self._build if self._fresh_episodes else None,
        )

    def with_task(self, task: object) -> Never:
        """Refuse: a world of gymnasium's has no tasks.

        Raises:
            MismatchError: always.
        """
        msg = (
            f"{self._source.name} has no tasks, got {task!r}. Use an Env with tasks for meta- and multi-task learning, "
            "or make one GymEnv a task."
        )
        raise MismatchError(msg)

    def describe(self) -> str:
        """One line for people: the world, its lanes, its time limit, and how it goes on in mid-episode."""
        if self._native is not None:
            lanes = f"{self._native.width} native lanes"
        elif self._source.copies:
            anew = ", each made anew for an episode" if self._fresh_episodes else ""
            lanes = f"{_SEPARATE_WIDTH} gymnasium environments{anew}"
        else:
            lanes = "1 instance"
        limit = self._spec.max_episode_length
        episodes = "no time limit" if limit is None else f"at most {limit} steps an episode"
        return f"{self._source.name} ({lanes}, {episodes}, {_GOES_ON[self.rung]})"

    @property
    def rung(self) -> Rung:
        """How the lanes go on in mid-episode; before the first `make_lanes`, what is expected."""
        if self._native is not None:
            return Rung.ARRAYS
        return Rung.REPLAY if self._rehearsed is None else self._rehearsed.rung

    def __repr__(self) -> str:
        return f"<GymEnv: {self.describe()}>"

    def _build(self, closed_by: ExitStack | None = None) -> "gymnasium.Env[Any, Any]":
        env = self._source.build()
        if closed_by is not None and self._source.copies:
            closed_by.callback(env.close)
        for kind in ("observation_space", "action_space"):
            expected, got = getattr(self._spec, kind), getattr(env, kind)
            if got != expected:
                msg = (
                    f"{self._source.name} made an environment with the {kind} {got}, and one with {expected} before. "
                    "Make environments with the same spaces at every call."
                )
                raise MismatchError(msg)
        return env

    def _rehearse(self) -> Rehearsed:
        with generators_untouched(), ExitStack() as finally_:
            env = self._build(finally_)
            fresh = self._build(finally_) if self._source.copies else None
            if fresh is not None and fresh.unwrapped is env.unwrapped:
                msg = (
                    f"{self._source.name} returned the same environment twice, so lanes would disturb one another. "
                    "Return a new environment at each call."
                )
                raise WorldError(msg)
            found = check_repeatable(self._source.name, env, fresh, fresh_episodes=self._fresh_episodes)
        if found.rung is Rung.CUT:
            _logger.warning(
                "%s cannot be left in mid-episode: %s. A collect of fragments finishes its episodes instead",
                self._source.name,
                found.why_cut,
            )
        if found.other_infos:
            _logger.warning(
                "%s: the same seed and actions give other numbers in info: %s. They are left out",
                self._source.name,
                ", ".join(found.other_infos),
            )
        return found


def _source(world: World, max_episode_length: int | None, kwargs: dict[str, Any]) -> Source:
    if isinstance(world, str | registration.EnvSpec):
        return RegisteredWorld(world, max_episode_length, kwargs)
    if not isinstance(world, gymnasium.Env):
        return CallableWorld(world)
    reason = why_not_rebuildable(world)
    if reason is None and world.spec is not None:
        return RegisteredWorld(world.spec, max_episode_length)
    _logger.warning(
        "%s: only one lane, because %s. Pass GymEnv an id, or a callable that makes the environment.", world, reason
    )
    return SingleWorld(world)


def _check_arguments(world: object, kwargs: dict[str, Any]) -> None:
    if not isinstance(world, str | registration.EnvSpec | gymnasium.Env) and not callable(world):
        msg = (
            f"`world` must be an id, a gymnasium.Env, a gymnasium EnvSpec or a callable, got {world!r} of type "
            f"{type(world).__name__}. For example: GymEnv('CartPole-v1')."
        )
        raise ArgumentError(msg)
    if kwargs and not isinstance(world, str):
        msg = (
            f"Keyword arguments go to gymnasium.make with an id, so {sorted(kwargs)} would be ignored with {world!r}. "
            "Pass them where the environment is made, for example GymEnv(lambda: MyWorld(size=3))."
        )
        raise ArgumentError(msg)
    if "max_episode_steps" in kwargs:
        msg = f"Say GymEnv({world!r}, max_episode_length={kwargs['max_episode_steps']!r}) instead of max_episode_steps."
        raise ArgumentError(msg)
    if "disable_env_checker" in kwargs:
        msg = "`disable_env_checker` would be ignored: GymEnv never uses gymnasium's checker. Leave it out."
        raise ArgumentError(msg)


def _positive(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        msg = f"`{name}` must be an integer of at least 1, got {value!r}."
        raise ArgumentError(msg)
    return int(value)
