"""Losses as weights of the score."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from garage.core.losses import surrogate


@given(st.integers(1, 20), st.integers(0, 99))
def test_the_surrogate_is_the_negated_mean_of_weighted_advantages(n, seed):
    new, old, advantages = np.random.default_rng(seed).normal(size=(3, n))
    loss = surrogate(new, old, advantages)
    expected = -sum(np.exp(a - b) * c for a, b, c in zip(new, old, advantages, strict=True)) / n
    assert np.isclose(loss.value, expected)
    assert isinstance(loss.value, float)


@given(st.integers(1, 20), st.integers(0, 99))
def test_the_weights_are_the_negative_derivative_by_log_likelihoods(n, seed):
    new, old, advantages = np.random.default_rng(seed).normal(size=(3, n))
    loss = surrogate(new, old, advantages)
    for index in range(n):
        step = np.zeros(n)
        step[index] = 1e-6
        slope = (surrogate(new + step, old, advantages).value - surrogate(new - step, old, advantages).value) / 2e-6
        assert np.isclose(loss.weights[index], -slope, atol=1e-8)


def test_at_the_old_policy_the_weights_are_the_advantages():
    same, advantages = np.array([-1.0, -2.0]), np.array([3.0, -5.0])
    loss = surrogate(same, same, advantages)
    assert loss.weights.tolist() == [1.5, -2.5]
    assert loss.value == 1.0
