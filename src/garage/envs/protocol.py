"""gymnasium's protocol as worlds answer it: what is wrong is said in its words, and not by what breaks of it later."""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from garage.errors import GarageError, WorldError

if TYPE_CHECKING:
    import gymnasium

_RESET = "gymnasium asks for reset(self, *, seed=None, options=None), which returns (observation, info)"
_STEP = "gymnasium asks for step(self, action), which returns (observation, reward, terminated, truncated, info)"
_N_OF_RESET, _N_OF_STEP = 2, 5


def reset(env: "gymnasium.Env[Any, Any]", seed: int) -> Any:  # noqa: ANN401 - a user's observation
    """The first observation of an episode.

    Raises:
        WorldError: the world raised, or does not keep to the protocol.
    """
    try:
        returned = env.reset(seed=seed)
    except GarageError:
        raise
    except Exception as error:
        parameters = inspect.signature(env.unwrapped.reset).parameters.values()
        if not any(each.name == "seed" or each.kind is each.VAR_KEYWORD for each in parameters):
            msg = f"`reset` of {_name(env)} takes no seed, so its episodes cannot be repeated: {_RESET}."
            raise WorldError(msg) from error
        wrong = _read_by_no_wrapper(error, lambda: env.unwrapped.reset(seed=seed), _N_OF_RESET)
        if wrong:
            raise WorldError(_of_reset(env, *wrong)) from error
        raise WorldError(_raised(env, "reset", error)) from error
    if not _has_length(returned, _N_OF_RESET):
        raise WorldError(_of_reset(env, returned))
    return returned[0]


def step(env: "gymnasium.Env[Any, Any]", action: Any) -> Any:  # noqa: ANN401 - users' observations and actions
    """What a step returns, ``(observation, reward, terminated, truncated, info)``.

    Raises:
        WorldError: the world raised, or does not keep to the protocol.
    """
    try:
        returned = env.step(action)
    except GarageError:
        raise
    except Exception as error:
        wrong = _read_by_no_wrapper(error, lambda: env.unwrapped.step(action), _N_OF_STEP)
        if wrong:
            raise WorldError(_of_step(env, *wrong)) from error
        raise WorldError(_raised(env, "step", error)) from error
    if not _has_length(returned, _N_OF_STEP):
        raise WorldError(_of_step(env, returned))
    if not is_number(returned[1]):
        raise WorldError(not_a_reward(_name(env), returned[1]))
    return returned


def is_number(value: object) -> bool:
    """Whether a value is one real number."""
    if isinstance(value, bool | int | float):
        return True
    return isinstance(value, np.generic | np.ndarray) and value.shape == () and value.dtype.kind in "biuf"


def not_a_reward(name: str, reward: object) -> str:
    """What to say of a reward that is no number."""
    return f"`step` of {name} returned the reward {reward!r}, expected one number. Return float(reward)."


def _read_by_no_wrapper(error: Exception, ask: Callable[[], object], n: int) -> tuple[object, ...]:
    """The one thing that the world itself returns instead of n values, if wrappers failed by that; else nothing."""
    if not isinstance(error, ValueError | TypeError):
        return ()
    try:
        returned = ask()
    except Exception:  # noqa: BLE001 - so it was the world that raised, which is said as such
        return ()
    return () if _has_length(returned, n) else (returned,)


def _has_length(returned: object, n: int) -> bool:
    return isinstance(returned, tuple | list) and len(returned) == n


def _of_reset(env: "gymnasium.Env[Any, Any]", returned: object) -> str:
    return f"`reset` of {_name(env)} returned {_in_words(returned)}: {_RESET}."


def _of_step(env: "gymnasium.Env[Any, Any]", returned: object) -> str:
    return (
        f"`step` of {_name(env)} returned {_in_words(returned)}: {_STEP}. In place of gym's `done`, `terminated` says "
        "that the world has ended, and `truncated` that a limit has cut the episode."
    )


def _in_words(returned: object) -> str:
    if isinstance(returned, tuple | list):
        return f"{len(returned)} values"
    return f"one value of type {type(returned).__name__}"


def _raised(env: "gymnasium.Env[Any, Any]", call: str, error: Exception) -> str:
    return (
        f"`{call}` of {_name(env)} raised in its first steps: {type(error).__name__}: {str(error).rstrip('.')}. "
        "`garage --debug` shows where; the same happens without garage."
    )


def _name(env: "gymnasium.Env[Any, Any]") -> str:
    return type(env.unwrapped).__qualname__ if env.spec is None else env.spec.id
