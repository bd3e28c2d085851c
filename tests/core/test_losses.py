"""Losses as weights of the score."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from garage.core.losses import clipped_share, clipped_surrogate, policy_gradient, surrogate


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


@given(st.integers(1, 20), st.integers(0, 99))
def test_the_policy_gradients_weights_are_the_negative_derivative_by_log_likelihoods(n, seed):
    log_likelihoods, advantages = np.random.default_rng(seed).normal(size=(2, n))
    loss = policy_gradient(log_likelihoods, advantages)
    assert np.isclose(loss.value, -np.mean(log_likelihoods * advantages))
    slopes = [policy_gradient(log_likelihoods + step, advantages).value - loss.value for step in np.eye(n)]
    np.testing.assert_allclose(loss.weights, -np.array(slopes), atol=1e-12)


@given(st.integers(1, 20), st.integers(0, 99), st.floats(0.05, 0.9))
def test_the_clipped_surrogate_is_the_papers(n, seed, clip_range):
    new, old, advantages = np.random.default_rng(seed).normal(size=(3, n))
    loss = clipped_surrogate(new, old, advantages, clip_range)
    terms = []
    for a, b, c in zip(new, old, advantages, strict=True):
        ratio = np.exp(a - b)
        terms.append(min(ratio * c, max(1 - clip_range, min(1 + clip_range, ratio)) * c))
    assert np.isclose(loss.value, -sum(terms) / n)
    for index in range(n):
        step = np.zeros(n)
        step[index] = 1e-7
        up, down = (clipped_surrogate(new + sign * step, old, advantages, clip_range).value for sign in (1, -1))
        assert np.isclose(loss.weights[index], -(up - down) / 2e-7, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("ratio", "advantage", "has_gradient"),
    [(1.3, 1.0, False), (1.3, -1.0, True), (0.7, 1.0, True), (0.7, -1.0, False), (1.1, 1.0, True), (0.9, -1.0, True)],
)
def test_only_what_would_be_won_farther_away_is_clipped(ratio, advantage, has_gradient):
    """Figure 1 of the paper: what went wrong beyond the range can still be taken back."""
    loss = clipped_surrogate(np.log([ratio]), np.zeros(1), np.array([advantage]), 0.2)
    assert (loss.weights[0] != 0.0) == has_gradient
    assert np.isclose(loss.value, -min(ratio * advantage, np.clip(ratio, 0.8, 1.2) * advantage))


def test_at_the_old_policy_nothing_is_clipped():
    same, advantages = np.array([-1.0, -2.0]), np.array([3.0, -5.0])
    clipped, plain = clipped_surrogate(same, same, advantages, 0.2), surrogate(same, same, advantages)
    assert clipped.value == plain.value
    assert clipped.weights.tolist() == plain.weights.tolist()


def test_the_clipped_share_counts_both_sides():
    ratios = np.array([0.7, 0.85, 1.0, 1.15, 1.3])
    assert clipped_share(np.log(ratios), np.zeros(5), 0.2) == 0.4
    assert clipped_share(np.zeros(5), np.zeros(5), 0.2) == 0.0


def test_a_ratio_that_overflows_is_no_error_and_shows_in_the_weights():
    far = np.array([2000.0, 0.0])
    assert not np.isfinite(clipped_surrogate(far, np.zeros(2), np.array([-1.0, 1.0]), 0.2).weights).all()
    assert clipped_surrogate(far, np.zeros(2), np.array([1.0, 1.0]), 0.2).weights.tolist() == [0.0, 0.5]
    assert clipped_share(far, np.zeros(2), 0.2) == 0.5
