"""One step within a trust region: a direction by conjugate gradient, a length by backtracking.

All are pure functions of any array type that has ``+ - * @``, so NumPy, PyTorch and TensorFlow share them.

Source: Schulman et al. 2015, "Trust region policy optimization", appendix C; Nocedal and Wright 2006,
"Numerical optimization", algorithm 5.2.
"""

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar


class Vector(Protocol):
    """What an array must be able to do here."""

    def __len__(self) -> int: ...
    def __add__(self, other: Self, /) -> Self: ...
    def __sub__(self, other: Self, /) -> Self: ...
    def __rmul__(self, factor: float, /) -> Self: ...
    def __matmul__(self, other: Self, /) -> "Number": ...


class Number(Protocol):
    """What the product of two vectors must be able to do."""

    def __float__(self) -> float: ...


V = TypeVar("V", bound=Vector)


def conjugate_gradient(
    product: Callable[[V], V], b: V, *, n_iterations: int = 10, residual_tolerance: float = 1e-10
) -> tuple[V, V]:
    """About the solution x of ``A x = b``, and what remains of it, ``b - A x``.

    Nothing here waits for a device: where the product of two vectors is no Python or NumPy number, all
    ``n_iterations`` products are computed, and those after the last useful one change nothing. If A is not a number
    along some direction, then neither is x there.

    Args:
        product: ``v -> A v`` for a symmetric positive definite A.
        b: ``[P]``, the right-hand side.
        n_iterations: at most so many products.
        residual_tolerance: stop when the squared residual is below it.
    """
    x, residual, direction = 0.0 * b, b, b
    squared: Any = residual @ residual
    going: Any = 1.0  # 0 once there is nothing to gain; from then on, steps have length 0
    for _ in range(n_iterations):
        going = going * (squared >= residual_tolerance)
        if _is_on_the_host(going) and not going:
            break
        image = product(direction)
        curvature: Any = direction @ image
        going = going * (curvature > 0.0)  # A is not positive definite along here, or not a number: keep what is solved
        if _is_on_the_host(going) and not going:
            break
        alpha = going * squared / (going * curvature + (1.0 - going))
        x = x + alpha * direction
        residual = residual - alpha * image
        previous, squared = squared, residual @ residual
        direction = residual + (going * squared / (going * previous + (1.0 - going))) * direction
    return x, residual


def _is_on_the_host(number: Any) -> bool:  # noqa: ANN401 - what the product of two vectors is
    """Whether asking for the number waits for no device; NumPy's are floats."""
    return isinstance(number, float)


class Outcome(enum.Enum):
    """Why a step ended as it did; the value is the message."""

    ACCEPTED = "the loss fell and the KL divergence is within the trust region"
    NO_DIRECTION = "the gradient is too small to have a direction, or not finite; the old parameters are kept"
    EXHAUSTED = "no step on the line lowered the loss within the trust region; the old parameters are kept"


@dataclass(frozen=True)
class Step(Generic[V]):
    """What came of the search.

    Attributes:
        theta: the parameters to use, ``[P]``; the old ones unless accepted.
        outcome: why.
        n_backtracks: how often the step was shortened.
        loss: at `theta`.
        kl: mean divergence from the old parameters to `theta`, nats.
    """

    theta: V
    outcome: Outcome
    n_backtracks: int
    loss: float
    kl: float


def scaled_to_trust_region(direction: V, image: V, max_kl: float) -> V | None:
    """``direction`` scaled so that its quadratic KL is ``max_kl`` nats; None if it has no such length.

    Args:
        direction: ``[P]``.
        image: ``A direction``, with A the curvature of the KL divergence.
        max_kl: nats.
    """
    curvature = float(direction @ image)
    if not (curvature > 0.0 and math.isfinite(curvature)):
        return None
    return math.sqrt(2.0 * max_kl / curvature) * direction


def natural_step(
    fisher_product: Callable[[V], V], gradient: V, *, damping: float, cg_iterations: int, quadratic_kl: float
) -> V | None:
    """The natural gradient by conjugate gradient, as long as a quadratic KL of ``quadratic_kl`` nats is.

    Source: Kakade 2001, "A natural policy gradient", equation 3; Schulman et al. 2015, appendix C.

    Args:
        fisher_product: ``v -> F v``, with F the mean Fisher information.
        gradient: of what is to grow, ``[P]``.
        damping: added to F's diagonal.
        cg_iterations: at most so many products.
        quadratic_kl: nats, measured with the damped F.

    Returns:
        The step ``[P]``, or None if the gradient is too small to have a direction, or not finite.
    """

    def damped_product(vector: V) -> V:
        return fisher_product(vector) + damping * vector

    direction, residual = conjugate_gradient(damped_product, gradient, n_iterations=cg_iterations)
    return scaled_to_trust_region(direction, gradient - residual, quadratic_kl)


def backtrack(  # noqa: PLR0913 - the constants of the search are options of the field
    theta: V,
    step: V | None,
    loss_and_kl: Callable[[V], tuple[float, float]],
    *,
    loss_before: float,
    max_kl: float,
    backtrack_ratio: float = 0.8,
    max_backtracks: int = 15,
) -> Step[V]:
    """The first point on the line whose loss fell and whose KL is within ``max_kl`` nats.

    Args:
        theta: the old parameters, ``[P]``.
        step: the longest step to try, ``[P]``; None if there is no direction.
        loss_and_kl: of any parameters.
        loss_before: at ``theta``.
        max_kl: bound on the mean divergence.
        backtrack_ratio: each trial is so many times as long as the one before, in (0, 1).
        max_backtracks: how often to shorten at most.
    """
    if step is None:
        return Step(theta, Outcome.NO_DIRECTION, 0, loss_before, 0.0)
    for n_backtracks in range(max_backtracks + 1):
        candidate = theta + backtrack_ratio**n_backtracks * step
        loss, kl = loss_and_kl(candidate)
        if loss < loss_before and kl <= max_kl:
            return Step(candidate, Outcome.ACCEPTED, n_backtracks, loss, kl)
    return Step(theta, Outcome.EXHAUSTED, max_backtracks, loss_before, 0.0)
