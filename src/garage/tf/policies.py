"""Policies that learn in TensorFlow, in the graph of the session that is the default one when they are built.

They act in NumPy, as all MLP policies do; so they can still act when the session was closed, but learn no more.
"""

from collections.abc import Sequence
from typing import Any

from garage.core.mlp_actors import CategoricalMLPActor, GaussianMLPActor
from garage.core.types import EnvSpec, EpisodeBatch
from garage.tf.families import Categorical, DiagonalGaussian, TwoActions
from garage.tf.flat_variable import FlatVariable
from garage.tf.objective import MLPGraph, MLPObjective


class CategoricalMLPPolicy(CategoricalMLPActor):
    """A `CategoricalMLPActor` that learns in TensorFlow; its arguments are there.

    Its operations are added to the graph when it is first asked for an objective; copies share them.

    Raises:
        OrderError: there is no default session.
    """

    def __init__(
        self, env_spec: EnvSpec, hidden_sizes: Sequence[int] = (32, 32), *, name: str = "policy", dtype: str = "float32"
    ) -> None:
        super().__init__(env_spec, hidden_sizes, name=name, dtype=dtype)
        variable = FlatVariable(self.name, self.n_parameters, self.dtype)
        family = TwoActions() if self.n_outputs == TwoActions.n_actions else Categorical(self.n_outputs)
        self._questions = MLPGraph(variable, self.shape, family, self.dtype)

    @property
    def graph(self) -> Any:  # noqa: ANN401 - TensorFlow has no types
        """The `tf.Graph` that it learns in."""
        return self._questions.variable.graph

    def objective(self, batch: EpisodeBatch) -> MLPObjective:
        """The three questions about ``batch``; KL is measured from the present theta."""
        return MLPObjective(self._questions, self.inputs(batch.observations), batch.actions, self.theta)


class GaussianMLPPolicy(GaussianMLPActor):
    """A `GaussianMLPActor` that learns in TensorFlow; its arguments are there.

    Its operations are added to the graph when it is first asked for an objective; copies share them.

    Raises:
        OrderError: there is no default session.
    """

    def __init__(  # noqa: PLR0913 - each is one independent choice with a default
        self,
        env_spec: EnvSpec,
        hidden_sizes: Sequence[int] = (32, 32),
        *,
        init_std: float = 1.0,
        min_std: float = 1e-6,
        name: str = "policy",
        dtype: str = "float32",
    ) -> None:
        super().__init__(env_spec, hidden_sizes, init_std=init_std, min_std=min_std, name=name, dtype=dtype)
        variable = FlatVariable(self.name, self.n_parameters, self.dtype)
        self._questions = MLPGraph(variable, self.shape, DiagonalGaussian((self.n_outputs,), self.min_std), self.dtype)

    @property
    def graph(self) -> Any:  # noqa: ANN401 - TensorFlow has no types
        """The `tf.Graph` that it learns in."""
        return self._questions.variable.graph

    def objective(self, batch: EpisodeBatch) -> MLPObjective:
        """The three questions about ``batch``; KL is measured from the present theta."""
        return MLPObjective(self._questions, self.inputs(batch.observations), batch.actions, self.theta)
