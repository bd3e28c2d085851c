"""Policies that learn in NumPy, with hand-derived gradients and Fisher products."""

from garage.core.mlp_actors import CategoricalMLPActor, GaussianMLPActor
from garage.core.types import EpisodeBatch
from garage.np.families import Categorical, DiagonalGaussian
from garage.np.objective import MLPObjective


class CategoricalMLPPolicy(CategoricalMLPActor):
    """A `CategoricalMLPActor` that learns in NumPy; its arguments are there."""

    def objective(self, batch: EpisodeBatch) -> MLPObjective:
        """The three questions about ``batch``; KL is measured from the present theta."""
        family = Categorical(self.n_outputs)
        return MLPObjective(self.shape, family, self.inputs(batch.observations), batch.actions, self.theta)


class GaussianMLPPolicy(GaussianMLPActor):
    """A `GaussianMLPActor` that learns in NumPy; its arguments are there."""

    def objective(self, batch: EpisodeBatch) -> MLPObjective:
        """The three questions about ``batch``; KL is measured from the present theta."""
        family = DiagonalGaussian((self.n_outputs,), self.min_std)
        return MLPObjective(self.shape, family, self.inputs(batch.observations), batch.actions, self.theta)
