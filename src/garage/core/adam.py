"""Adam: steps of a length that does not depend on the gradient's scale.

Source: Kingma and Ba 2015, "Adam: a method for stochastic optimization", algorithm 1.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from garage.core import options
from garage.core.state import take
from garage.core.types import Array, State
from garage.errors import MismatchError

_DECAY = options.Range("within [0, 1)", lambda value: 0.0 <= value < 1.0)


@dataclass(frozen=True)
class Moments:
    """What Adam remembers of the gradients so far.

    Attributes:
        first: ``[P]`` float64, m of the paper: moving average of the gradient.
        second: ``[P]`` float64, v: moving average of its square.
        n_steps: t: steps taken so far.
    """

    first: Array
    second: Array
    n_steps: int

    @classmethod
    def zeros(cls, n_parameters: int) -> Self:
        """Those before the first step."""
        return cls(np.zeros(n_parameters), np.zeros(n_parameters), 0)

    def state_dict(self) -> State:
        """All three."""
        return {"first": self.first.copy(), "second": self.second.copy(), "n_steps": self.n_steps}

    @classmethod
    def of_state(cls, state: State, n_parameters: int, owner: str) -> Self:
        """Those that `state_dict` told of.

        Raises:
            MismatchError: a part is missing, or has another shape or type than ``n_parameters`` float64 numbers.
        """
        vectors = []
        for name in ("first", "second"):
            vector = take(state, name, owner)
            if not isinstance(vector, np.ndarray) or vector.shape != (n_parameters,) or vector.dtype != np.float64:
                got = f"{vector.dtype} of shape {vector.shape}" if isinstance(vector, np.ndarray) else repr(vector)
                msg = f"Cannot load `{name}` of {owner}: got {got}, expected float64 of shape ({n_parameters},)."
                raise MismatchError(msg)
            vectors.append(vector.copy())
        n_steps = take(state, "n_steps", owner)
        if isinstance(n_steps, bool) or not isinstance(n_steps, int) or n_steps < 0:
            msg = f"Cannot load `n_steps` of {owner}: got {n_steps!r}, expected an integer of at least 0."
            raise MismatchError(msg)
        return cls(vectors[0], vectors[1], n_steps)


@dataclass(frozen=True)
class Adam:
    """The rule; what it remembers is handed in and out.

    Attributes:
        learning_rate: alpha of the paper, about how far a parameter moves in one step.
        beta_1: decay of the first moment a step, in [0, 1).
        beta_2: decay of the second, in [0, 1).
        epsilon: added to the root of the second moment, above 0.

    Raises:
        ArgumentError: one of them is out of range.
    """

    learning_rate: float
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        options.check(
            "Adam",
            learning_rate=(self.learning_rate, options.POSITIVE),
            beta_1=(self.beta_1, _DECAY),
            beta_2=(self.beta_2, _DECAY),
            epsilon=(self.epsilon, options.POSITIVE),
        )

    def step(self, theta: Array, gradient: Array, moments: Moments) -> tuple[Array, Moments]:
        """One step down the gradient.

        Args:
            theta: ``[P]``.
            gradient: ``[P]`` float64.
            moments: those of the steps before.

        Returns:
            The new theta, float64, and the moments with this step in them.
        """
        t = moments.n_steps + 1
        first = self.beta_1 * moments.first + (1.0 - self.beta_1) * gradient
        second = self.beta_2 * moments.second + (1.0 - self.beta_2) * (gradient * gradient)
        unbiased = first / (1.0 - self.beta_1**t)
        deviation = np.sqrt(second / (1.0 - self.beta_2**t))
        return theta - self.learning_rate * unbiased / (deviation + self.epsilon), Moments(first, second, t)


def shortened(gradient: Array, max_norm: float) -> tuple[Array, float]:
    """A gradient ``[P]`` that is no longer than ``max_norm``, and how long it was; infinite where that overflows.

    Source: Pascanu, Mikolov and Bengio 2013, "On the difficulty of training recurrent neural networks", algorithm 1.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        norm = float(np.linalg.norm(gradient))
    return (gradient * (max_norm / norm) if max_norm < norm < math.inf else gradient), norm
