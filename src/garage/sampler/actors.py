"""What of an MLP policy acts: without the framework that it learns in, which a worker need not import."""

from collections.abc import Callable
from typing import Any, Never, final

from garage.core.mlp_actors import CategoricalMLPActor, GaussianMLPActor, MLPActor
from garage.core.types import Array, EnvSpec, EpisodeBatch
from garage.errors import OrderError


@final
class CategoricalActor(CategoricalMLPActor):
    """A categorical MLP policy that acts, and learns nothing."""

    def objective(self, batch: EpisodeBatch) -> Never:  # noqa: ARG002 - the port's
        """Refuse.

        Raises:
            OrderError: always.
        """
        _refuse(self)


@final
class GaussianActor(GaussianMLPActor):
    """A Gaussian MLP policy that acts, and learns nothing."""

    def objective(self, batch: EpisodeBatch) -> Never:  # noqa: ARG002 - the port's
        """Refuse.

        Raises:
            OrderError: always.
        """
        _refuse(self)


def actor_call(policy: object) -> tuple[Callable[..., MLPActor], tuple[Any, ...]] | None:
    """A function and its arguments that make what of a policy acts; None if the policy is no MLP policy of ours.

    Raises:
        OrderError: it has no parameters yet.
    """
    if not isinstance(policy, MLPActor) or not type(policy).__module__.startswith("garage."):
        return None  # a user's own class may act in its own way
    settings: dict[str, Any] = {"hidden_sizes": policy.hidden_sizes, "name": policy.name, "dtype": policy.dtype.name}
    if isinstance(policy, CategoricalMLPActor):
        return _made, (CategoricalActor, policy.spec, settings, policy.theta)
    if isinstance(policy, GaussianMLPActor):
        settings |= {"init_std": policy.init_std, "min_std": policy.min_std}
        return _made, (GaussianActor, policy.spec, settings, policy.theta)
    return None


def _made(kind: type[MLPActor], spec: EnvSpec, settings: dict[str, Any], theta: Array) -> MLPActor:
    return kind(spec, **settings).at(theta)


def _refuse(policy: MLPActor) -> Never:
    msg = f"This copy of `{policy.name}` acts in a worker and does not learn. Ask the policy that it was made from."
    raise OrderError(msg)
