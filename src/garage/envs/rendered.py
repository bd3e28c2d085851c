"""Worlds that show themselves: one environment of a `GymEnv`, in a window or as pictures."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np

from garage.core.ports import Env
from garage.core.types import Array, Transition
from garage.envs.gym_env import GymEnv
from garage.envs.gym_lanes import GymLanes
from garage.envs.worlds import CallableWorld, RegisteredWorld, Source
from garage.errors import WorldError

WINDOW, PICTURES = "human", "rgb_array"
"""gymnasium's names for the two ways of a world to show itself."""

_DEFAULT_FPS = 30.0
_N_COLOURS = 3
_FIRST = np.array([0])


class Stage:
    """One environment of a `GymEnv` that shows itself.

    Args:
        env: the world.
        mode: `WINDOW` or `PICTURES`.

    Raises:
        WorldError: it cannot be made so, or is no `GymEnv`, so that nobody knows how it looks.
    """

    def __init__(self, env: Env, mode: str) -> None:
        if not isinstance(env, GymEnv):
            msg = f"Cannot show {env}: only a GymEnv can be rendered, got a {type(env).__name__}."
            raise WorldError(msg)
        self._source, self._spec, self._mode = env.source, env.spec, mode
        self._env = self._made()
        self._lanes = GymLanes(
            self._source.name,
            [self._env],
            info_keys=(),
            step_limit=self._spec.max_episode_length,
            owned=True,
            build=self._made if env.fresh_episodes else None,
        )

    @property
    def fps(self) -> float:
        """Frames of a second of the world's own time."""
        said = self._env.metadata.get("render_fps")
        return float(said) if isinstance(said, int | float) and said > 0 else _DEFAULT_FPS

    def reset(self, seed: int) -> Array:
        """Begin an episode; its first observation ``[1, ...]``."""
        return self._lanes.reset(_FIRST, [seed])

    def step(self, actions: Array) -> Transition:
        """Take an action, ``[1, ...]``."""
        return self._lanes.step(_FIRST, actions)

    def redraw(self) -> None:
        """Draw the window once more; the world itself draws it at each step."""
        self._render()

    def picture(self) -> Array:
        """How it looks, ``[height, width, 3]`` uint8.

        Raises:
            WorldError: it cannot be rendered here.
        """
        frame = self._render()
        if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.shape[2:] != (_N_COLOURS,):
            got = f"{frame.dtype}{list(frame.shape)}" if isinstance(frame, np.ndarray) else type(frame).__name__
            msg = f"Cannot render {self._source.name}: expected pictures uint8[height, width, 3], got {got}."
            raise WorldError(msg)
        return frame

    def close(self) -> None:
        """Close the window."""
        self._lanes.close()

    def _render(self) -> object:
        try:
            return self._env.render()
        except Exception as error:
            msg = f"Cannot render {self._source.name}: {type(error).__name__}: {str(error).rstrip('.')}."
            raise WorldError(msg) from error

    def _made(self) -> gymnasium.Env[Any, Any]:
        name, spec = self._source.name, self._spec
        env = _shown(self._source, self._mode)
        if env.render_mode != self._mode:
            msg = (
                f"Cannot show {name}: its environments have render_mode={env.render_mode!r}, expected "
                f"{self._mode!r}; they say that they know {env.metadata.get('render_modes') or 'none'}. Pass GymEnv an "
                "id, or a callable that takes render_mode and passes it on."
            )
            raise WorldError(msg)
        if (env.observation_space, env.action_space) != (spec.observation_space, spec.action_space):
            msg = (
                f"Cannot show {name}: made with render_mode={self._mode!r} it has the spaces {env.observation_space} "
                f"and {env.action_space}, expected {spec.observation_space} and {spec.action_space}. Pass GymEnv a "
                "callable that takes render_mode and passes it on."
            )
            raise WorldError(msg)
        self._env = env
        return env


def _shown(source: Source, mode: str) -> gymnasium.Env[Any, Any]:
    """An environment of a source that shows itself, if the source knows how to make one; else, one that does not."""
    if isinstance(source, RegisteredWorld):
        return replace(source, kwargs={**source.kwargs, "render_mode": mode}).build()
    if isinstance(source, CallableWorld):
        function: Callable[..., gymnasium.Env[Any, Any]] = source.function
        if _takes_mode(function):
            return CallableWorld(functools.partial(function, render_mode=mode)).build()
    env = source.build()
    if env.render_mode == mode or env.spec is None:
        return env
    return RegisteredWorld(env.spec, None, {"render_mode": mode}).build()


def _takes_mode(function: Callable[..., gymnasium.Env[Any, Any]]) -> bool:
    try:
        return "render_mode" in inspect.signature(function).parameters
    except ValueError:  # of what is written in C, it is not known
        return False
