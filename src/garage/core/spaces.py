"""Observations as rows of numbers, and what a policy can act in."""

from typing import Any

import numpy as np
from gymnasium import spaces

from garage.core.types import Array
from garage.errors import MismatchError


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
    """Observations ``[n, ...]`` as rows ``[n, flat_size(space)]`` of ``dtype``; Discrete ones become one-hot."""
    if isinstance(space, spaces.Discrete):
        rows = np.zeros((len(observations), int(space.n)), dtype)
        rows[np.arange(len(observations)), observations.astype(np.int64) - int(space.start)] = 1
        return rows
    rows = np.ascontiguousarray(observations, dtype)
    return rows if rows.ndim == 2 else rows.reshape(len(rows), -1)  # noqa: PLR2004 - already rows
