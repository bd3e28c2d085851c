"""Observations as rows of numbers, and what a policy can act in."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from garage.core.ports import Env, Policy
from garage.core.types import Array, EnvSpec
from garage.errors import ArgumentError, MismatchError


def flat_size(space: "spaces.Space[Any]") -> int:
    """Numbers in one flattened observation.

    Raises:
        MismatchError: observations of that space cannot be rows of numbers.
    """
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.Box | spaces.MultiBinary):
        return int(np.prod(space.shape, dtype=int))
    msg = (
        f"An MLP cannot read observations of {space}: expected Box, Discrete or MultiBinary. "
        "Wrap the environment in gymnasium.wrappers.FlattenObservation."
    )
    raise MismatchError(msg)


def flatten_rows(space: "spaces.Space[Any]", observations: Array, dtype: np.dtype[Any]) -> Array:
    """Observations ``[n, ...]`` as rows ``[n, flat_size(space)]`` of ``dtype``; Discrete ones become one-hot.

    Raises:
        MismatchError: they have another shape than the space's.
    """
    if observations.shape[1:] != space.shape:
        msg = f"Got observations of shape {observations.shape}, expected n rows of shape {space.shape} for {space}."
        raise MismatchError(msg)
    if isinstance(space, spaces.Discrete):
        rows = np.zeros((len(observations), int(space.n)), dtype)
        rows[np.arange(len(observations)), observations.astype(np.int64) - int(space.start)] = 1
        return rows
    rows = np.ascontiguousarray(observations, dtype)
    return rows if rows.ndim == 2 else rows.reshape(len(rows), -1)  # noqa: PLR2004 - already rows


def check_spec(owner: str, env_spec: object) -> None:
    """Check that something is what an agent may know of a world.

    Raises:
        ArgumentError: it is not, naming ``owner``, whose argument it is.
    """
    if not isinstance(env_spec, EnvSpec):
        msg = f"{owner}'s env_spec must be an EnvSpec, got {env_spec!r}. With env = GymEnv(...): env_spec=env.spec."
        raise ArgumentError(msg)


def check_wrapped(env: object) -> None:
    """Check that a world is not one of gymnasium's own.

    Raises:
        ArgumentError: it is one.
    """
    if isinstance(env, gymnasium.Env):
        msg = f"The env must be one of garage's, got gymnasium's {env}. Wrap it: env = GymEnv(...)."
        raise ArgumentError(msg)


def check_fit(policy: Policy, env: Env) -> None:
    """Check that a policy was built for the spaces of a world.

    Raises:
        ArgumentError: the world is one of gymnasium's own.
        MismatchError: the policy was built for others.
    """
    check_wrapped(env)
    for name in ("observation_space", "action_space"):
        built_for, has = getattr(policy.spec, name), getattr(env.spec, name)
        if built_for != has:
            msg = (
                f"The policy `{policy.name}` does not fit the environment {env}: it was built for the {name} "
                f"{built_for}, the environment has {has}. Build it with env_spec=env.spec of this environment."
            )
            raise MismatchError(msg)
