"""Adam, against the paper's algorithm written number by number."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from garage.core.adam import Adam, Moments, shortened
from garage.core.state import differences
from garage.errors import ArgumentError, MismatchError

GRADIENTS = st.lists(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=3), min_size=1, max_size=8)


def as_in_the_paper(theta, gradients, alpha, beta_1, beta_2):
    theta, m, v = list(theta), [0.0] * len(theta), [0.0] * len(theta)
    for t, gradient in enumerate(gradients, start=1):
        for i, g in enumerate(gradient):
            m[i] = beta_1 * m[i] + (1 - beta_1) * g
            v[i] = beta_2 * v[i] + (1 - beta_2) * g**2
            m_hat, v_hat = m[i] / (1 - beta_1**t), v[i] / (1 - beta_2**t)
            theta[i] -= alpha * m_hat / (math.sqrt(v_hat) + 1e-8)
    return theta


def after(adam, theta, gradients, moments=None):
    moments = moments or Moments.zeros(len(theta))
    for gradient in gradients:
        theta, moments = adam.step(theta, np.array(gradient), moments)
    return theta, moments


@given(GRADIENTS, st.floats(1e-4, 1.0), st.floats(0.0, 0.99), st.floats(0.0, 0.999))
def test_it_is_the_papers(gradients, alpha, beta_1, beta_2):
    theta, moments = after(Adam(alpha, beta_1, beta_2), np.array([1.0, -2.0, 0.0]), gradients)
    np.testing.assert_allclose(theta, as_in_the_paper([1, -2, 0], gradients, alpha, beta_1, beta_2), rtol=1e-9)
    assert moments.n_steps == len(gradients)


def test_defaults_are_the_papers():
    adam = Adam(0.001)
    assert (adam.beta_1, adam.beta_2, adam.epsilon) == (0.9, 0.999, 1e-8)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_the_first_step_is_as_long_as_the_learning_rate(scale):
    theta, _ = after(Adam(0.1), np.zeros(3), [np.array([3.0, -1.0, 0.0]) * scale])
    np.testing.assert_allclose(theta, [-0.1, 0.1, 0.0], rtol=1e-4)


def test_nothing_that_was_handed_in_changes():
    theta, gradient, moments = np.ones(2), np.array([1.0, 2.0]), Moments(np.ones(2), np.ones(2), 4)
    Adam(0.1).step(theta, gradient, moments)
    assert theta.tolist() == [1, 1]
    assert gradient.tolist() == [1, 2]
    assert (moments.first.tolist(), moments.second.tolist(), moments.n_steps) == ([1, 1], [1, 1], 4)


@given(GRADIENTS, GRADIENTS)
def test_moments_go_round_as_a_state_and_lose_nothing(before, afterwards):
    adam = Adam(0.01)
    theta, moments = after(adam, np.zeros(3), before)
    again = Moments.of_state(moments.state_dict(), 3, "`values`")
    assert differences(moments.state_dict(), again.state_dict()) == []
    expected, got = after(adam, theta, afterwards, moments), after(adam, theta, afterwards, again)
    assert np.array_equal(expected[0], got[0])


def test_a_state_shares_no_memory_with_its_moments():
    moments = Moments.zeros(2)
    state = moments.state_dict()
    again = Moments.of_state(state, 2, "`values`")
    state["first"][:] = state["second"][:] = 7
    assert not moments.first.any()
    assert not again.second.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"first": np.zeros(3)}, r"Cannot load `first` of `values`: got float64 of shape \(3,\), expected .*\(2,\)"),
        ({"second": np.zeros(2, np.float32)}, r"`second` of `values`: got float32 of shape \(2,\), expected float64"),
        ({"second": None}, "`second` of `values`: got None"),
        ({"n_steps": -1}, "`n_steps` of `values`: got -1, expected an integer of at least 0"),
        ({"n_steps": 1.0}, "`n_steps` of `values`: got 1.0"),
        ({"n_steps": True}, "`n_steps` of `values`: got True"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_by_name(change, message):
    with pytest.raises(MismatchError, match=message):
        Moments.of_state(Moments.zeros(2).state_dict() | change, 2, "`values`")


@pytest.mark.parametrize("name", ["first", "second", "n_steps"])
def test_a_state_without_a_part_is_refused_by_name(name):
    state = Moments.zeros(2).state_dict()
    del state[name]
    with pytest.raises(MismatchError, match=f"`{name}` is missing"):
        Moments.of_state(state, 2, "`values`")


@pytest.mark.parametrize(
    ("option", "values", "expected"),
    [
        ("learning_rate", [0.0, -1.0, math.nan, math.inf], "above 0 and finite"),
        ("beta_1", [-0.1, 1.0, math.nan], r"within \[0, 1\)"),
        ("beta_2", [-0.1, 1.0, math.nan], r"within \[0, 1\)"),
        ("epsilon", [0.0, -1.0, math.nan, math.inf], "above 0 and finite"),
    ],
)
def test_a_bad_option_is_refused_by_name(option, values, expected):
    for value in values:
        with pytest.raises(ArgumentError, match=f"Adam's {option} must be {expected}, got {value}"):
            Adam(**({"learning_rate": 0.1} | {option: value}))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5), st.floats(1e-3, 1e3))
def test_a_gradient_is_shortened_and_never_turned_or_lengthened(numbers, most):
    gradient = np.array(numbers)
    short, norm = shortened(gradient, most)
    assert np.isclose(norm, np.sqrt(np.sum(gradient**2)))
    assert np.linalg.norm(short) <= most * (1 + 1e-12)
    np.testing.assert_allclose(short * max(norm, most), gradient * most, rtol=1e-9, atol=1e-300)
    if norm <= most:
        assert short is gradient


def test_without_a_bound_a_gradient_stays_as_it_is():
    gradient = np.array([3e100, 4.0])
    assert shortened(gradient, math.inf)[0] is gradient


def test_the_length_says_that_a_gradient_is_not_finite():
    for number in (math.nan, math.inf, -math.inf, 1e300):
        assert not math.isfinite(shortened(np.array([1.0, number]), 0.5)[1])
