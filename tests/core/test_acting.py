"""Acting: noise beforehand, actions a function of it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from garage.core import acting
from garage.core.streams import Streams, uniforms


def generator(*path):
    return Streams(1).generator(*path)


def test_frequencies_of_categorical_actions_are_the_softmax():
    logits = np.array([1.0, -0.5, 0.3, -3.0])
    n = 40_000
    noise = acting.categorical_noise(generator("a"), n, 4)
    actions = acting.categorical_act(np.tile(logits, (n, 1)), noise)
    p = np.exp(logits) / np.exp(logits).sum()
    frequencies = np.bincount(actions, minlength=4) / n
    assert (np.abs(frequencies - p) < 5 * np.sqrt(p * (1 - p) / n)).all()


def test_gumbel_noise_has_its_mean_and_variance_and_is_finite():
    noise = acting.categorical_noise(generator("b"), 20_000, 3)
    assert noise.shape == (20_000, 3)
    assert noise.dtype == np.float64
    assert np.isfinite(noise).all()
    assert abs(noise.mean() - 0.5772) < 0.03
    assert abs(noise.var() - np.pi**2 / 6) < 0.06


def test_gumbel_noise_uses_one_uniform_each_in_order():
    noise = acting.categorical_noise(generator("c"), 5, 3)
    u = uniforms(generator("c"), 15).reshape(5, 3)
    np.testing.assert_array_equal(noise, -np.log(-np.log(u)))


def test_a_uniform_of_exactly_zero_makes_finite_noise(monkeypatch):
    monkeypatch.setattr(acting, "uniforms", lambda _, n: np.zeros(n))
    noise = acting.categorical_noise(generator(), 2, 2)
    assert np.isfinite(noise).all()
    assert (noise < acting.categorical_noise(generator(), 1, 1) + 1).all()


def test_without_noise_the_most_likely_action_is_taken():
    logits = np.array([[0.0, 2.0, 1.0], [5.0, 5.0, 1.0]], np.float32)
    actions = acting.categorical_act(logits, None)
    assert actions.tolist() == [1, 0]
    assert actions.dtype == np.int64


@given(st.integers(1, 6), st.integers(2, 5), st.floats(-20, 20))
def test_a_constant_added_to_all_logits_changes_no_action(n, n_actions, constant):
    logits = np.random.default_rng(0).integers(-3, 4, (n, n_actions)).astype(float)
    noise = acting.categorical_noise(generator("d"), n, n_actions)
    assert np.array_equal(
        acting.categorical_act(logits, noise), acting.categorical_act(logits + np.round(constant), noise)
    )


def test_gaussian_actions_have_the_means_and_deviations_asked_for():
    n, means, stds = 40_000, np.array([1.0, -2.0]), np.array([0.5, 3.0])
    noise = acting.gaussian_noise(generator("e"), n, 2)
    actions = acting.gaussian_act(np.tile(means, (n, 1)), stds, noise)
    assert (np.abs(actions.mean(axis=0) - means) < 5 * stds / np.sqrt(n)).all()
    assert np.allclose(actions.std(axis=0), stds, rtol=0.02)
    assert abs(np.corrcoef(actions.T)[0, 1]) < 0.02


def test_gaussian_noise_is_numpys_of_the_stream():
    expected = generator("f").standard_normal((4, 2))
    np.testing.assert_array_equal(acting.gaussian_noise(generator("f"), 4, 2), expected)


def test_without_noise_the_means_are_taken():
    means = np.array([[1.0, 2.0]])
    assert acting.gaussian_act(means, np.ones(2), None) is means
