"""A policy that sees normalised observations."""

from typing import final

import numpy as np

from garage.core.ports import Policy, UniformNoise, uniform_noise_of
from garage.core.types import Array, EnvSpec, Infos

EPSILON = 1e-8
"""Added to variances, so that what never varies is not divided by zero."""


def normalise(observations: Array, mean: Array, variance: Array, clip: float) -> Array:
    """``clip((o - mean) / sqrt(variance + 1e-8), -clip, clip)`` of each row, in float64.

    Args:
        observations: ``[n, ...]``.
        mean: ``[...]`` float64.
        variance: ``[...]`` float64.
        clip: largest absolute value.

    Returns:
        ``[n, ...]`` in the dtype of the observations.
    """
    scaled = (observations - mean) / np.sqrt(variance + EPSILON)
    return np.clip(scaled, -clip, clip).astype(observations.dtype)


@final
class NormalisingPolicy:
    """A policy whose observations are normalised by statistics that do not change; see `garage.core.ports.Policy`.

    Args:
        policy: who acts.
        mean: ``[...]`` float64, of the observations.
        variance: ``[...]`` float64.
        clip: largest absolute value that the policy sees.
    """

    def __init__(self, policy: Policy, mean: Array, variance: Array, clip: float) -> None:
        self.policy, self.mean, self.variance, self.clip = policy, mean, variance, clip

    @property
    def name(self) -> str:
        """The policy's."""
        return self.policy.name

    @property
    def spec(self) -> EnvSpec:
        """Of the world, whose observations are not normalised."""
        return self.policy.spec

    @property
    def initialised(self) -> bool:
        """The policy's."""
        return self.policy.initialised

    @property
    def theta(self) -> Array:
        """The policy's."""
        return self.policy.theta

    def initialise(self, generator: np.random.Generator) -> None:
        """The policy's."""
        self.policy.initialise(generator)

    def initial_memory(self, n: int) -> Array:
        """The policy's."""
        return self.policy.initial_memory(n)

    def draw_noise(self, generator: np.random.Generator, n_steps: int) -> Array:
        """The policy's."""
        return self.policy.draw_noise(generator, n_steps)

    def uniform_noise(self) -> UniformNoise | None:
        """The policy's."""
        return uniform_noise_of(self.policy)

    def act(self, observations: Array, memory: Array, noise: Array | None) -> tuple[Array, Array, Infos]:
        """The policy's, upon normalised observations."""
        seen = normalise(observations, self.mean, self.variance, self.clip)
        return self.policy.act(seen, memory, noise)
