"""Discounted sums and advantages over segments of episodes."""

from collections.abc import Callable

import numpy as np

from garage.core.types import Array, End, EpisodeBatch


def discounted_sums(x_t: Array, lengths: Array, discount: float, last: Array | None = None) -> Array:
    """For each step the sum of what follows in its segment: ``y_t = x_t + discount * y_tp1``.

    Args:
        x_t: ``[N]``.
        lengths: ``[E]``, steps of each segment.
        discount: in [0, 1].
        last: ``[E]``, what y is after each segment's last step; zeros if None.

    Returns:
        ``[N]`` float64.
    """
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(int(lengths.sum()))  # steps to the segment's end
    y = np.array(x_t, np.float64)
    # By doubling: after the pass of a stride, y_t is the discounted sum of the next 2 * stride steps.
    stride, longest = 1, int(lengths.max(initial=0))
    while stride < longest:
        y[:-stride] += (left[:-stride] > stride) * discount**stride * y[stride:]
        stride *= 2
    if last is not None:
        powers = discount ** np.arange(longest + 1)
        y += powers[left] * np.repeat(last, lengths)
    return y


def values(batch: EpisodeBatch, predict: Callable[[EpisodeBatch], Array]) -> tuple[Array, Array]:
    """Predicted values ``[N]`` of a batch's observations, and ``[E]`` of what follows its segments.

    Args:
        batch: N steps in E segments.
        predict: a baseline's, ``[N]`` from a batch.
    """
    return predict(batch), bootstrap_values(batch, predict(batch.after()))


def bootstrap_values(batch: EpisodeBatch, values_after: Array) -> Array:
    """Value of what follows each segment, ``[E]``: 0 where the world terminated, else the prediction.

    A time limit is not a property of the world: Pardo et al. 2018, "Time limits in reinforcement learning".
    """
    return np.where(batch.ends == End.TERMINATED, 0.0, values_after)


def advantages(  # noqa: PLR0913 - the symbols of the equation
    batch: EpisodeBatch, v_t: Array, v_last: Array, *, discount: float, gae_lambda: float, centre: bool
) -> Array:
    """Generalised advantage estimates.

    Source: Schulman et al. 2016, "High-dimensional continuous control using generalized advantage
    estimation", equation 16, with ``delta_t = r_t + discount * v_tp1 - v_t``.

    Args:
        batch: N steps in E segments.
        v_t: ``[N]``, predicted values of the observations.
        v_last: ``[E]``, values after the segments, see `bootstrap_values`.
        discount: gamma, in [0, 1].
        gae_lambda: lambda, in [0, 1].
        centre: see `centred`.

    Returns:
        ``[N]`` float64.
    """
    last_rows = batch.starts + batch.lengths - 1
    v_tp1 = np.empty_like(v_t, np.float64)
    v_tp1[:-1] = v_t[1:]
    v_tp1[last_rows] = v_last
    delta_t = batch.rewards + discount * v_tp1 - v_t
    a_t = discounted_sums(delta_t, batch.lengths, discount * gae_lambda)
    return centred(a_t) if centre else a_t


def centred(a_t: Array) -> Array:
    """``a_t`` ``[N]`` less its mean and divided by its standard deviation, over all steps."""
    return np.asarray((a_t - a_t.mean()) / (a_t.std() + 1e-8))


def explained_variance(predicted: Array, actual: Array) -> float:
    """Share of the variance of ``actual`` that ``predicted`` explains; NaN if there is none to explain."""
    variance = float(np.var(actual))
    return 1.0 - float(np.var(actual - predicted)) / variance if variance > 0.0 else float("nan")
