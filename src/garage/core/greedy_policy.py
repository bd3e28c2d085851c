"""A policy that takes the actions that it holds to be best."""

from typing import final

import numpy as np

from garage.core.ports import Policy
from garage.core.types import Array, EnvSpec, Infos


@final
class GreedyPolicy:
    """A policy whose actions are not drawn, whatever noise it is given; see `garage.core.ports.Policy`.

    Args:
        policy: who acts.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    @property
    def name(self) -> str:
        """The policy's."""
        return self.policy.name

    @property
    def spec(self) -> EnvSpec:
        """The policy's."""
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

    def draw_noise(self, generator: np.random.Generator, n_steps: int) -> Array:  # noqa: ARG002 - nothing is drawn
        """None of it, ``[n_steps, 0]``."""
        return np.zeros((n_steps, 0))

    def act(self, observations: Array, memory: Array, noise: Array | None) -> tuple[Array, Array, Infos]:  # noqa: ARG002 - see above
        """The policy's, without noise."""
        return self.policy.act(observations, memory, None)
