"""Where gymnasium environments come from: an id, a spec, a callable or an instance."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, ClassVar, Protocol, TypeAlias

import gymnasium
from gymnasium import spaces
from gymnasium.envs import registration
from gymnasium.wrappers import TimeLimit
from gymnasium.wrappers.utils import RunningMeanStd

from garage.envs.rehearsal import first_difference, rehearse
from garage.errors import ArgumentError, MismatchError, UnknownWorldError, WorldError

World: TypeAlias = "str | gymnasium.Env[Any, Any] | registration.EnvSpec | Callable[[], gymnasium.Env[Any, Any]]"

_N_COMPARED_STEPS = 50
_KEEPS_ITS_PHYSICS = ("gymnasium.envs.box2d.bipedal_walker", "BipedalWalker")
"""Its ``reset`` empties the physics' world and does not make a new one, which warm-starts by the episode before."""


class Source(Protocol):
    """Where the environments of one world come from."""

    @property
    def name(self) -> str:
        """The world's name, for messages."""
        ...

    @property
    def copies(self) -> bool:
        """Whether `build` makes a new environment at each call."""
        ...

    def build(self) -> "gymnasium.Env[Any, Any]":
        """One environment.

        Raises:
            UnknownWorldError: nothing is registered under the id.
            WorldError: making it failed.
        """
        ...


@dataclass(frozen=True)
class RegisteredWorld:
    """A world that ``gymnasium.make`` makes.

    Attributes:
        world: its id or its spec.
        max_episode_length: passed on as ``max_episode_steps``; None keeps the registered one.
        kwargs: passed on.
    """

    world: str | registration.EnvSpec
    max_episode_length: int | None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    copies: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """The id."""
        return self.world if isinstance(self.world, str) else self.world.id

    def build(self) -> "gymnasium.Env[Any, Any]":
        """See `Source`."""
        try:
            return gymnasium.make(
                self.world, max_episode_steps=self.max_episode_length, disable_env_checker=True, **self.kwargs
            )
        except Exception as error:
            if isinstance(self.world, str) and _is_unknown(self.world, error):
                raise UnknownWorldError(_unknown(self.world)) from error
            raise WorldError(self._failed(error)) from error

    def _failed(self, error: Exception) -> str:
        if isinstance(error, ImportError | gymnasium.error.DependencyNotInstalled):
            next_step = "Install the package that it asks for."
        elif isinstance(error, TypeError):
            next_step = "Check the names and values of the keyword arguments against the environment's constructor."
        else:
            next_step = f"Try `gymnasium.make({self.name!r})` with the same arguments by itself."
        arguments = f" with {dict(self.kwargs)}" if self.kwargs else ""
        return f"Cannot make {self.name}{arguments}: gymnasium.make raised {_shown(error)}. {next_step}"


@dataclass(frozen=True)
class CallableWorld:
    """A world that a user's callable makes, a new environment at each call.

    Attributes:
        function: the callable.
    """

    function: "Callable[[], gymnasium.Env[Any, Any]]"
    copies: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """The name of the function or class; the type's name of any other callable."""
        named = isinstance(self.function, type | FunctionType)
        return self.function.__qualname__ if named else f"a {type(self.function).__qualname__}"

    def build(self) -> "gymnasium.Env[Any, Any]":
        """See `Source`."""
        try:
            env = self.function()
        except Exception as error:
            msg = f"Cannot make a world: {self.name}() raised {_shown(error)}. Try to call it by itself."
            raise WorldError(msg) from error
        if not isinstance(env, gymnasium.Env):
            msg = (
                f"Cannot make a world: {self.name}() returned {env!r} of type {type(env).__name__}, expected a "
                "gymnasium.Env. Return a new environment from it."
            )
            raise WorldError(msg)
        return env


@dataclass(frozen=True)
class SingleWorld:
    """An environment that there is only one of.

    Attributes:
        instance: the environment; it stays its owner's to close.
    """

    instance: "gymnasium.Env[Any, Any]"
    copies: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """How the environment shows itself."""
        return str(self.instance)

    def build(self) -> "gymnasium.Env[Any, Any]":
        """See `Source`."""
        return self.instance


def why_not_rebuildable(instance: "gymnasium.Env[Any, Any]") -> str | None:
    """Why an environment cannot be made again from its spec, in words; None if it can.

    The rebuilt one must have the same spaces and return the same in a short rehearsal, for a spec does not know of
    attributes that were set later. Both are reset.
    """
    spec = instance.spec
    if spec is None:
        return "it has no spec, since gymnasium.make did not make it"
    try:
        rebuilt = gymnasium.make(spec, disable_env_checker=True)
    except Exception as error:  # noqa: BLE001 - constructors of any kind; the reason is passed on to the user
        return f"making it again from its spec raised {_shown(error)}"
    try:
        for space in ("observation_space", "action_space"):
            own, other = getattr(instance, space), getattr(rebuilt, space)
            if own != other:
                return f"made again from its spec it has the {space} {other} instead of {own}"
        difference = first_difference(rehearse(instance, _N_COMPARED_STEPS), rehearse(rebuilt, _N_COMPARED_STEPS))
    finally:
        rebuilt.close()
    return None if difference is None else f"made again from its spec it behaves differently: {difference}"


def own_step_limit(env: "gymnasium.Env[Any, Any]") -> int | None:
    """The smallest limit of the TimeLimit wrappers around an environment, in steps; None without one."""
    limits = [
        int(wrapper.get_wrapper_attr("_max_episode_steps"))
        for wrapper in wrappers_of(env)
        if isinstance(wrapper, TimeLimit)
    ]
    return min(limits, default=None)


def wrappers_of(env: "gymnasium.Env[Any, Any]") -> list["gymnasium.Wrapper[Any, Any, Any, Any]"]:
    """The wrappers around an environment, outermost first."""
    wrappers = []
    while isinstance(env, gymnasium.Wrapper):
        wrappers.append(env)
        env = env.env
    return wrappers


def keeps_physics(env: "gymnasium.Env[Any, Any]") -> bool:
    """Whether an environment is known to repeat an episode only when it is freshly made."""
    return any((kind.__module__, kind.__qualname__) == _KEEPS_ITS_PHYSICS for kind in type(env.unwrapped).__mro__)


def check_no_statistics(name: str, env: "gymnasium.Env[Any, Any]") -> None:
    """Check that no wrapper keeps running statistics, as gymnasium's NormalizeObservation and NormalizeReward do.

    Raises:
        ArgumentError: one does.
    """
    for wrapper in wrappers_of(env):
        if any(isinstance(value, RunningMeanStd) for value in vars(wrapper).values()):
            msg = (
                f"{name} has the wrapper {type(wrapper).__name__}, which keeps running statistics: they would differ "
                "from lane to lane, and be in no snapshot. Leave the wrapper out and normalise by garage's component, "
                "garage.algos.Normalised(algo, observations=..., rewards=...), whose statistics are part of the run."
            )
            raise ArgumentError(msg)


def check_spaces(name: str, env: "gymnasium.Env[Any, Any]") -> None:
    """Check that observations and actions are arrays.

    Raises:
        MismatchError: they are not.
    """
    for kind, space in (("observation", env.observation_space), ("action", env.action_space)):
        if not isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiBinary | spaces.MultiDiscrete):
            remedy = "gymnasium.wrappers.FlattenObservation" if kind == "observation" else "a gymnasium.ActionWrapper"
            msg = (
                f"The {kind} space of {name} is {space}, expected Box, Discrete, MultiBinary or MultiDiscrete. "
                f"Wrap the environment in {remedy}."
            )
            raise MismatchError(msg)


def _is_unknown(world_id: str, error: Exception) -> bool:
    name = world_id.rpartition(":")[2]  # "module:id" imports the module first
    registered = name in gymnasium.registry or any(key.startswith(f"{name}-v") for key in gymnasium.registry)
    # Where warnings are errors, gymnasium's word on an outdated version comes before its error.
    return not registered and isinstance(error, gymnasium.error.Error | DeprecationWarning)


def _unknown(world_id: str) -> str:
    name = world_id.rpartition(":")[2]
    ids = {key.lower(): key for key in gymnasium.registry}
    close = [ids[match] for match in difflib.get_close_matches(name.lower(), ids)]
    meant = f" Did you mean {' or '.join(repr(match) for match in close)}?" if close else ""
    return (
        f"No environment is registered as {world_id!r}, among {len(ids)} ids.{meant} If another package registers it, "
        "import that package first; `gymnasium.pprint_registry()` shows all ids."
    )


def _shown(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(".")
