"""A baseline that predicts nothing."""

import numpy as np

from garage.core.recipe import Component
from garage.core.spaces import check_spec
from garage.core.types import Array, EnvSpec, EpisodeBatch, Metrics, State


class ZeroBaseline(Component):
    """Predicts a return of zero everywhere.

    Args:
        env_spec: the world's; taken so that baselines can be exchanged for one another.
        name: prefixes its rows in the table of metrics, of which it has none.
    """

    def __init__(self, env_spec: EnvSpec, *, name: str = "ZeroBaseline") -> None:
        check_spec("ZeroBaseline", env_spec)
        self.spec, self.name = env_spec, name

    def initialise(self, generator: np.random.Generator) -> None:
        """Nothing to draw."""

    def predict(self, batch: EpisodeBatch) -> Array:
        """Zeros ``[N]``."""
        return np.zeros(batch.n_steps)

    def fit(self, batch: EpisodeBatch, returns: Array) -> Metrics:  # noqa: ARG002 - there is nothing to learn
        """Nothing to learn."""
        return {}

    def state_dict(self) -> State:
        """Nothing."""
        return {}

    def load_state_dict(self, state: State) -> None:
        """Nothing."""
