"""Mean and variance of numbers that come in batches, as values that are merged.

Source: Chan, Golub and LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample
variances", equations 2.1: of two sets the sums of squared deviations add up, plus
``n_a n_b / (n_a + n_b) (mean_b - mean_a)²``.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from garage.core.state import take_array, take_as
from garage.core.types import Array, State
from garage.errors import MismatchError

_BLOCK_ROWS = 1024


@dataclass(frozen=True)
class Statistics:
    """Count, mean and sum of squared deviations of rows of numbers; never changed, only replaced.

    Attributes:
        n: rows so far.
        mean: ``[...]`` float64.
        squares: ``[...]`` float64, sum of the squared deviations from the mean.
    """

    n: int
    mean: Array
    squares: Array

    @classmethod
    def none(cls, shape: tuple[int, ...] = ()) -> Self:
        """Of no rows yet."""
        return cls(0, np.zeros(shape), np.zeros(shape))

    @property
    def variance(self) -> Array:
        """``[...]`` float64; 1 as long as fewer than two rows are known."""
        return np.ones_like(self.mean) if self.n < 2 else self.squares / self.n  # noqa: PLR2004 - one varies not

    def with_rows(self, rows: Array) -> Self:
        """These and the rows ``[N, ...]``, in float64 and in blocks of 1,024, one after the other."""
        merged = self
        for start in range(0, len(rows), _BLOCK_ROWS):
            merged = merged._with_block(rows[start : start + _BLOCK_ROWS].astype(np.float64))
        return merged

    def _with_block(self, rows: Array) -> Self:
        n, mean = len(rows), rows.mean(axis=0)
        both, gap = self.n + n, mean - self.mean
        return type(self)(
            both,
            np.asarray(self.mean + gap * (n / both)),
            np.asarray(self.squares + np.square(rows - mean).sum(axis=0) + np.square(gap) * (self.n * n / both)),
        )

    def state_dict(self) -> State:
        """See `garage.core.ports.Stateful`."""
        return {"n": self.n, "mean": self.mean, "squares": self.squares}

    @classmethod
    def from_state(cls, state: State, owner: str, shape: tuple[int, ...]) -> Self:
        """Back from a state tree.

        Raises:
            MismatchError: it is none of statistics of that shape.
        """
        n = take_as(state, "n", owner, int)
        mean, squares = (take_array(state, name, owner, np.float64, shape) for name in ("mean", "squares"))
        if n < 0 or not np.isfinite(mean).all() or not (squares >= 0).all():
            msg = (
                f"Cannot load the state of {owner}: `n` is {n}, `mean` {mean} and `squares` {squares}; expected a "
                "count, finite means, and sums of squares of at least 0."
            )
            raise MismatchError(msg)
        return cls(n, mean, squares)
