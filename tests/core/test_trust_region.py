"""Conjugate gradient and backtracking, with arrays and with the least that may stand in for them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from garage.core.trust_region import Outcome, backtrack, conjugate_gradient, natural_step, scaled_to_trust_region


class Plain:
    """A vector of Python floats that has + - * @ and nothing else."""

    __slots__ = ("numbers",)

    def __init__(self, *numbers):
        self.numbers = numbers

    def __add__(self, other):
        return Plain(*(a + b for a, b in zip(self.numbers, other.numbers, strict=True)))

    def __sub__(self, other):
        return Plain(*(a - b for a, b in zip(self.numbers, other.numbers, strict=True)))

    def __rmul__(self, factor):
        return Plain(*(factor * a for a in self.numbers))

    def __matmul__(self, other):
        return sum(a * b for a, b in zip(self.numbers, other.numbers, strict=True))


class Afar:
    """A number on a device: it can be computed with, and whoever asks for its value waits."""

    def __init__(self, value):
        self.value = value

    def __mul__(self, other):
        return NotImplemented if isinstance(other, Plain) else Afar(self.value * here(other))

    def __add__(self, other):
        return Afar(self.value + here(other))

    def __rsub__(self, other):
        return Afar(other - self.value)

    def __truediv__(self, other):
        return Afar(self.value / here(other))

    def __ge__(self, other):
        return Afar(self.value >= other)

    def __gt__(self, other):
        return Afar(self.value > other)

    __rmul__ = __mul__

    def __bool__(self):
        raise AssertionError(self)  # somebody waited for the device

    def __float__(self):
        raise AssertionError(self)


def here(number):
    return number.value if isinstance(number, Afar) else number


class PlainAfar(Plain):
    """A vector on a device."""

    __slots__ = ()

    def __add__(self, other):
        return PlainAfar(*super().__add__(other).numbers)

    def __sub__(self, other):
        return PlainAfar(*super().__sub__(other).numbers)

    def __rmul__(self, factor):
        return PlainAfar(*super().__rmul__(here(factor)).numbers)

    def __matmul__(self, other):
        return Afar(super().__matmul__(other))


def spd(n, seed, least=0.1):
    matrix = np.random.default_rng(seed).normal(size=(n, n))
    return matrix @ matrix.T + least * np.eye(n)


@given(st.integers(1, 12), st.integers(0, 999))
def test_conjugate_gradient_solves_positive_definite_systems(n, seed):
    matrix, b = spd(n, seed), np.random.default_rng(seed + 1).normal(size=n)
    x, residual = conjugate_gradient(lambda v: matrix @ v, b, n_iterations=20 * n, residual_tolerance=1e-22)
    np.testing.assert_allclose(x, np.linalg.solve(matrix, b), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(residual, b - matrix @ x, atol=1e-7)


@given(st.integers(2, 8), st.integers(0, 999), st.integers(1, 8))
def test_more_iterations_never_leave_the_solution_farther_away(n, seed, k):
    matrix, b = spd(n, seed, least=1.0), np.random.default_rng(seed).normal(size=n)
    solution = np.linalg.solve(matrix, b)

    def distance(n_iterations):
        x, _ = conjugate_gradient(lambda v: matrix @ v, b, n_iterations=n_iterations)
        return float((x - solution) @ matrix @ (x - solution))

    assert distance(k) <= distance(k - 1) * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize("diagonal", [(1.0, 2.0, 5.0), (1.0, 1.0, 1.0), (2.0, -1.0, 0.5), (0.0, 0.0, 0.0)])
@pytest.mark.parametrize("n_iterations", [0, 1, 2, 3, 9])
def test_on_a_device_nobody_waits_and_the_bits_are_the_same(diagonal, n_iterations):
    def answer(kind):
        def product(v):
            return kind(*(entry * number for entry, number in zip(diagonal, v.numbers, strict=True)))

        x, residual = conjugate_gradient(product, kind(0.3, -4.0, 1.0), n_iterations=n_iterations)
        return x.numbers, residual.numbers

    assert answer(PlainAfar) == answer(Plain)


def test_iterations_are_counted_and_stop_at_the_tolerance():
    calls = []

    def product(v):
        calls.append(v)
        return np.array([1.0, 2.0, 3.0]) * v

    conjugate_gradient(product, np.ones(3), n_iterations=2)
    assert len(calls) == 2
    calls.clear()
    x, _ = conjugate_gradient(product, np.ones(3), n_iterations=50)
    np.testing.assert_allclose(x, [1, 1 / 2, 1 / 3])
    assert len(calls) == 3
    calls.clear()
    x, residual = conjugate_gradient(product, np.full(3, 1e-6))
    assert x.tolist() == [0, 0, 0]
    assert residual.tolist() == [1e-6] * 3
    assert not calls


def test_a_looser_tolerance_stops_earlier():
    matrix, b = spd(10, 0), np.ones(10)
    tight, loose = (
        conjugate_gradient(lambda v: matrix @ v, b, n_iterations=100, residual_tolerance=tolerance)[1]
        for tolerance in (1e-20, 1e-2)
    )
    assert tight @ tight < 1e-20
    assert 1e-10 < loose @ loose < 1e-2


@pytest.mark.parametrize("entry", [-1.0, 0.0, math.nan])
def test_conjugate_gradient_keeps_what_is_solved_where_curvature_is_not_positive(entry):
    x, residual = conjugate_gradient(lambda v: entry * v, np.array([3.0, 4.0]))
    assert x.tolist() == [0, 0]
    assert residual.tolist() == [3, 4]
    diagonal = np.array([1.0, entry])
    x, _ = conjugate_gradient(lambda v: diagonal * v, np.array([1.0, 0.0]))
    assert x[0] == (0.0 if math.isnan(entry) else 1.0)
    assert np.isfinite(x).all()


def test_no_nan_comes_of_a_nan_gradient_but_no_direction():
    b = np.array([1.0, math.nan])
    x, residual = conjugate_gradient(lambda v: v, b)
    assert scaled_to_trust_region(x, b - residual, 0.01) is None


@given(st.integers(1, 8), st.integers(0, 999), st.floats(1e-6, 10))
def test_the_scaled_direction_has_the_quadratic_kl_asked_for(n, seed, max_kl):
    matrix, direction = spd(n, seed), np.random.default_rng(seed).normal(size=n)
    step = scaled_to_trust_region(direction, matrix @ direction, max_kl)
    assert np.isclose(0.5 * step @ matrix @ step, max_kl)
    assert np.allclose(step / np.linalg.norm(step), direction / np.linalg.norm(direction))


@pytest.mark.parametrize("factor", [0.0, -1.0, math.nan, math.inf])
def test_a_direction_without_length_is_none(factor):
    assert scaled_to_trust_region(np.array([1.0, 2.0]), factor * np.array([1.0, 1.0]), 0.01) is None


def search(loss_and_kl, **options):
    settings = {"loss_before": 0.0, "max_kl": 1.0} | options
    return backtrack(np.array([0.0]), np.array([1.0]), loss_and_kl, **settings)


def test_the_first_point_that_is_better_and_near_enough_is_taken():
    step = search(lambda theta: (-1.0, 0.5))
    assert (step.outcome, step.n_backtracks, step.theta.tolist()) == (Outcome.ACCEPTED, 0, [1.0])
    assert (step.loss, step.kl) == (-1.0, 0.5)
    step = search(lambda theta: (-1.0, 2 * theta[0]))
    assert (step.outcome, step.n_backtracks) == (Outcome.ACCEPTED, 4)
    assert step.theta[0] == 0.8**4
    assert step.kl == 2 * 0.8**4
    step = search(lambda theta: (theta[0] - 0.7, 0.0))
    assert (step.outcome, step.n_backtracks) == (Outcome.ACCEPTED, 2)


def test_the_ratio_is_that_of_each_trial_to_the_one_before():
    tried = []
    search(lambda theta: (tried.append(theta[0]), (1.0, 0.0))[1], backtrack_ratio=0.5, max_backtracks=3)
    assert tried == [1.0, 0.5, 0.25, 0.125]


def test_a_kl_at_the_bound_is_within_it_and_an_equal_loss_has_not_fallen():
    assert search(lambda _: (-1.0, 1.0)).outcome is Outcome.ACCEPTED
    assert search(lambda _: (0.0, 0.0)).outcome is Outcome.EXHAUSTED


@pytest.mark.parametrize(
    "answer", [(1.0, 0.0), (-1.0, 2.0), (math.nan, 0.0), (-1.0, math.nan), (math.inf, 0.0)], ids=str
)
@pytest.mark.parametrize("max_backtracks", [0, 3, 15])
def test_a_search_that_fails_keeps_the_old_parameters_and_says_why(answer, max_backtracks):
    theta = np.array([5.0])
    step = backtrack(
        theta, np.array([1.0]), lambda _: answer, loss_before=0.0, max_kl=1.0, max_backtracks=max_backtracks
    )
    assert step.theta is theta
    assert theta.tolist() == [5.0]
    assert step.outcome is Outcome.EXHAUSTED
    assert "old parameters are kept" in step.outcome.value
    assert (step.n_backtracks, step.loss, step.kl) == (max_backtracks, 0.0, 0.0)


def test_no_direction_keeps_the_old_parameters_and_says_why():
    theta = np.array([5.0])
    step = backtrack(theta, None, lambda _: (-1.0, 0.0), loss_before=3.0, max_kl=1.0)
    assert step.theta is theta
    assert step.outcome is Outcome.NO_DIRECTION
    assert "old parameters are kept" in step.outcome.value
    assert (step.n_backtracks, step.loss, step.kl) == (0, 3.0, 0.0)


def test_any_vector_with_plus_minus_times_and_dot_will_do():
    diagonal = (1.0, 10.0)

    def product(v):
        return Plain(*(a * b for a, b in zip(diagonal, v.numbers, strict=True)))

    def loss_and_kl(theta):
        return product(theta) @ theta, 0.0

    theta, b = Plain(3.0, 1.0), Plain(-3.0, -10.0)
    x, residual = conjugate_gradient(product, b)
    assert x.numbers == pytest.approx((-3.0, -1.0))
    step = backtrack(
        theta,
        scaled_to_trust_region(x, b - residual, 100.0),
        loss_and_kl,
        loss_before=loss_and_kl(theta)[0],
        max_kl=1.0,
    )
    assert step.outcome is Outcome.ACCEPTED
    assert step.loss < loss_and_kl(theta)[0]
    assert backtrack(theta, None, loss_and_kl, loss_before=0.0, max_kl=1.0).theta is theta


@given(st.integers(1, 6), st.integers(0, 99))
def test_plain_vectors_and_arrays_get_the_same_answers(n, seed):
    matrix, b = spd(n, seed), np.random.default_rng(seed).normal(size=n)

    def product(v):
        return Plain(*(matrix @ np.array(v.numbers)).tolist())

    arrays = conjugate_gradient(lambda v: matrix @ v, b, n_iterations=3)
    plain = conjugate_gradient(product, Plain(*b.tolist()), n_iterations=3)
    for array, vector in zip(arrays, plain, strict=True):
        np.testing.assert_allclose(vector.numbers, array, rtol=1e-6, atol=1e-9)


@given(st.integers(1, 8), st.integers(0, 99), st.floats(1e-3, 1.0), st.floats(1e-4, 0.1))
def test_a_natural_step_is_the_damped_inverse_times_the_gradient_at_its_length(n, seed, damping, kl):
    fisher, gradient = spd(n, seed), np.random.default_rng(seed).normal(size=n)
    step = natural_step(lambda v: fisher @ v, gradient, damping=damping, cg_iterations=20 * n, quadratic_kl=kl)
    damped = fisher + damping * np.eye(n)
    direction = np.linalg.solve(damped, gradient)
    expected = np.sqrt(2 * kl / (direction @ damped @ direction)) * direction
    np.testing.assert_allclose(step, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("gradient", [np.zeros(3), np.full(3, math.nan)])
def test_without_a_direction_there_is_no_natural_step(gradient):
    assert natural_step(lambda v: v, gradient, damping=0.1, cg_iterations=5, quadratic_kl=0.01) is None
