"""What the outputs of a user's module mean: how to act by them, and the family to learn with."""

import math
from typing import Protocol

import numpy as np
from gymnasium import spaces

from garage.core import acting
from garage.core.types import Array, EnvSpec
from garage.errors import ArgumentError, MismatchError
from garage.torch.families import Categorical, DiagonalGaussian, Family


class Head(Protocol):
    """The meaning of outputs ``[n, ...]``."""

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Of one row of outputs."""
        ...

    @property
    def meaning(self) -> str:
        """Of the outputs, in words."""
        ...

    @property
    def info(self) -> str:
        """Under which name acting hands out the outputs."""
        ...

    @property
    def family(self) -> Family:
        """The action distributions."""
        ...

    @property
    def first_extra(self) -> Array:
        """Parameters that no observation changes, before anything is learned, ``[X]``."""
        ...

    def draw_noise(self, generator: np.random.Generator, n_steps: int) -> Array:
        """``[n_steps, K]`` float64."""
        ...

    def act(self, outputs: Array, extra: Array, noise: Array | None) -> Array:
        """Actions ``[n, ...]``."""
        ...


class DiscreteHead:
    """Outputs are unnormalised log-probabilities of a Discrete space's actions."""

    info = "logits"

    def __init__(self, space: spaces.Discrete) -> None:
        n_actions = int(space.n)
        self.output_shape = (n_actions,)
        self.meaning = "unnormalised log-probabilities of the actions"
        self.family = Categorical(n_actions)
        self.first_extra: Array = np.empty(0)
        self._n_actions = n_actions

    def draw_noise(self, generator: np.random.Generator, n_steps: int) -> Array:
        """Gumbel noise."""
        return acting.categorical_noise(generator, n_steps, self._n_actions)

    def act(self, outputs: Array, extra: Array, noise: Array | None) -> Array:  # noqa: ARG002 - it has none
        """Indices ``[n]``."""
        return acting.categorical_act(outputs, noise)


class BoxHead:
    """Outputs are the means of independent normals, whose log-stds are the extra parameters."""

    info = "mean"

    def __init__(self, space: spaces.Box, init_std: float, min_std: float) -> None:
        acting.check_stds("ModulePolicy", init_std, min_std)
        self.output_shape = space.shape
        self.meaning = "means of the actions"
        n_dimensions = math.prod(space.shape)
        self.family = DiagonalGaussian(n_dimensions, min_std)
        self.first_extra: Array = np.full(n_dimensions, math.log(init_std))
        self._min_log_std = math.log(min_std)

    def draw_noise(self, generator: np.random.Generator, n_steps: int) -> Array:
        """Standard normal noise."""
        return acting.gaussian_noise(generator, n_steps, len(self.first_extra))

    def act(self, outputs: Array, extra: Array, noise: Array | None) -> Array:
        """Points, not clipped to the space."""
        means = outputs.reshape(len(outputs), -1)
        stds = np.exp(np.maximum(extra, extra.dtype.type(self._min_log_std)))
        return acting.gaussian_act(means, stds, noise).reshape(outputs.shape)


FIRST_STD = 1.0
"""A Box's standard deviations before anything is learned, unless others are asked for."""
LEAST_STD = 1e-6
"""Standard deviations never count as smaller, likewise."""


def head_of(spec: EnvSpec, init_std: float, min_std: float) -> Head:
    """The head for a world's actions.

    Raises:
        MismatchError: nothing here acts in such a space.
        ArgumentError: the stds are out of range, or are asked for where there are none.
    """
    space = spec.action_space
    if isinstance(space, spaces.Discrete):
        if (init_std, min_std) != (FIRST_STD, LEAST_STD):
            msg = f"init_std={init_std} and min_std={min_std} are for Box actions; {space} has none. Leave them out."
            raise ArgumentError(msg)
        return DiscreteHead(space)
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return BoxHead(space, init_std, min_std)
    msg = f"A ModulePolicy cannot act in {space}: expected Discrete actions, or Box actions of a floating dtype."
    raise MismatchError(msg)
