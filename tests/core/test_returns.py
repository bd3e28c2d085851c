"""Discounted sums and advantages, against loops that read like the equations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.samples import batch_of
from garage.core import returns
from garage.core.types import End

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=6)
SHARES = st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]) | st.floats(0, 1)


def naive_sums(x, lengths, discount, last):
    sums, start = [], 0
    for length, follows in zip(lengths, last, strict=True):
        total, backwards = follows, []
        for x_t in reversed(x[start : start + length]):
            total = x_t + discount * total
            backwards.append(total)
        sums += backwards[::-1]
        start += length
    return sums


def naive_advantages(batch, v_t, v_last, discount, gae_lambda):
    """Equation 16 as it stands: a sum of deltas from each step on."""
    advantages = []
    for index, rows in enumerate(batch.segments()):
        values = [*v_t[rows], v_last[index]]
        rewards = batch.rewards[rows]
        deltas = [r + discount * after - v for r, v, after in zip(rewards, values[:-1], values[1:], strict=True)]
        decay = discount * gae_lambda
        advantages += [sum(decay**k * delta for k, delta in enumerate(deltas[t:])) for t in range(len(deltas))]
    return advantages


@given(LENGTHS, SHARES, st.integers(0, 99), st.booleans())
def test_discounted_sums_are_those_of_a_loop(lengths, discount, seed, followed):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=sum(lengths))
    last = generator.normal(size=len(lengths)) if followed else None
    sums = returns.discounted_sums(x, np.array(lengths), discount, last)
    expected = naive_sums(x, lengths, discount, [0.0] * len(lengths) if last is None else last)
    np.testing.assert_allclose(sums, expected, rtol=1e-12, atol=1e-12)
    assert sums.dtype == np.float64


def test_discounted_sums_of_a_long_episode_are_exact_enough():
    x = np.ones(10_000)
    sums = returns.discounted_sums(x, np.array([10_000]), 0.999)
    np.testing.assert_allclose(sums, (1 - 0.999 ** np.arange(10_000, 0, -1)) / (1 - 0.999), rtol=1e-12)
    assert returns.discounted_sums(x, np.array([10_000]), 1.0)[0] == 10_000


def test_discounted_sums_leave_their_input_alone_and_take_any_dtype():
    x = np.arange(6, dtype=np.float32)
    sums = returns.discounted_sums(x, np.array([2, 4]), 0.5)
    assert x.tolist() == [0, 1, 2, 3, 4, 5]
    assert sums.tolist() == [0.5, 1.0, 2 + 1.5 + 1 + 0.625, 3 + 2 + 1.25, 4 + 2.5, 5.0]


def test_discounted_sums_of_nothing_are_nothing():
    assert returns.discounted_sums(np.zeros(0), np.zeros(0, np.int64), 0.9).shape == (0,)


def test_only_termination_is_worth_nothing_afterwards():
    batch = batch_of([1, 1, 1], ends=[End.TERMINATED, End.TRUNCATED, End.CUT])
    assert returns.bootstrap_values(batch, np.array([3.0, 4.0, 5.0])).tolist() == [0.0, 4.0, 5.0]


@given(LENGTHS, SHARES, SHARES, st.integers(0, 99))
def test_advantages_are_those_of_the_equation(lengths, discount, gae_lambda, seed):
    generator = np.random.default_rng(seed)
    batch = batch_of(lengths, seed=seed, ends=generator.integers(0, 3, len(lengths)))
    v_t = generator.normal(size=batch.n_steps)
    v_last = returns.bootstrap_values(batch, generator.normal(size=len(lengths)))
    got = returns.advantages(batch, v_t, v_last, discount=discount, gae_lambda=gae_lambda, centre=False)
    expected = naive_advantages(batch, v_t, v_last, discount, gae_lambda)
    np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("end", End)
def test_with_lambda_0_advantages_are_the_one_step_errors(end):
    batch = batch_of([3], ends=[end], rewards=[1, 2, 4])
    v_t, v_after = np.array([10.0, 20.0, 40.0]), np.array([80.0])
    last = 0.0 if end is End.TERMINATED else 80.0
    got = returns.advantages(
        batch, v_t, returns.bootstrap_values(batch, v_after), discount=0.5, gae_lambda=0.0, centre=False
    )
    assert got.tolist() == [1 + 10 - 10, 2 + 20 - 20, 4 + 0.5 * last - 40]


@pytest.mark.parametrize("end", End)
def test_with_lambda_1_advantages_are_returns_less_values(end):
    batch = batch_of([3], ends=[end], rewards=[1, 2, 4])
    v_t, v_after = np.array([10.0, 20.0, 40.0]), np.array([80.0])
    last = 0.0 if end is End.TERMINATED else 80.0
    got = returns.advantages(
        batch, v_t, returns.bootstrap_values(batch, v_after), discount=0.5, gae_lambda=1.0, centre=False
    )
    assert got.tolist() == [3 + last / 8 - 10, 4 + last / 4 - 20, 4 + last / 2 - 40]


def test_cutting_an_episode_where_the_value_is_exact_changes_no_advantage():
    whole = batch_of([6], rewards=[1, 2, 3, 4, 5, 6])
    values = returns.discounted_sums(whole.rewards, whole.lengths, 0.9)
    cut = batch_of([2, 4], ends=[End.CUT, End.TERMINATED], rewards=whole.rewards, first_steps=[0, 2])
    options = {"discount": 0.9, "gae_lambda": 0.95, "centre": False}
    one = returns.advantages(whole, values, np.zeros(1), **options)
    two = returns.advantages(cut, values, np.array([values[2], 0.0]), **options)
    np.testing.assert_allclose(two, one, atol=1e-14)
    np.testing.assert_allclose(one, 0.0, atol=1e-14)


@given(LENGTHS.filter(lambda lengths: sum(lengths) > 1), st.integers(0, 99), st.sampled_from([0.1, 1.0, 7.0, 1e3]))
def test_centred_advantages_have_mean_0_and_deviation_1(lengths, seed, scale):
    """Divided by the variance they would have the deviation 1 / scale."""
    batch = batch_of(lengths, seed=seed)
    batch = batch_of(lengths, seed=seed, rewards=scale * batch.rewards)
    nothing = np.zeros(batch.n_steps), np.zeros(batch.n_segments)
    options = {"discount": 0.9, "gae_lambda": 0.9}
    plain = returns.advantages(batch, *nothing, **options, centre=False)
    centred = returns.advantages(batch, *nothing, **options, centre=True)
    assert abs(centred.mean()) < 1e-9
    assert abs(centred.std() - 1) < 1e-4
    np.testing.assert_allclose(centred, (plain - plain.mean()) / plain.std(), rtol=1e-4, atol=1e-6)


def test_centring_equal_advantages_gives_zeros():
    batch = batch_of([1, 1, 1], rewards=[2, 2, 2])
    options = {"discount": 0.9, "gae_lambda": 0.9, "centre": True}
    assert returns.advantages(batch, np.zeros(3), np.zeros(3), **options).tolist() == [0, 0, 0]


def test_values_of_a_segment_do_not_reach_into_the_one_before():
    batch = batch_of([2, 2], rewards=[1, 1, 1, 1])
    options = {"discount": 1.0, "gae_lambda": 1.0, "centre": False}
    v_t = np.array([0.0, 0.0, 1e6, 1e6])
    assert returns.advantages(batch, v_t, np.zeros(2), **options)[:2].tolist() == [2, 1]


def test_explained_variance():
    actual = np.array([1.0, 2.0, 3.0, 4.0])
    assert returns.explained_variance(actual, actual) == 1.0
    assert returns.explained_variance(actual + 5, actual) == 1.0
    assert returns.explained_variance(np.zeros(4), actual) == 0.0
    assert returns.explained_variance(-actual, actual) == -3.0
    assert np.isnan(returns.explained_variance(actual, np.ones(4)))


@given(LENGTHS)
def test_values_are_predicted_at_the_observations_and_after_segments_that_go_on(lengths):
    batch = batch_of(lengths, ends=[index % 3 for index in range(len(lengths))])
    asked = []

    def predict(observed):
        asked.append(observed)
        return observed.observations[:, 0].astype(np.float64) + 10.0

    v_t, v_last = returns.values(batch, predict)
    assert asked[0] is batch
    assert np.array_equal(v_t, batch.observations[:, 0].astype(np.float64) + 10.0)
    after = batch.last_observations[:, 0].astype(np.float64) + 10.0
    assert np.array_equal(v_last, np.where(batch.ends == End.TERMINATED, 0.0, after))


def test_centred_has_mean_zero_and_variance_one_unless_all_are_equal():
    centred = returns.centred(np.array([1.0, 2.0, 3.0, 6.0]))
    assert np.isclose(centred.mean(), 0.0)
    assert np.isclose(centred.std(), 1.0)
    assert returns.centred(np.full(3, 7.0)).tolist() == [0.0, 0.0, 0.0]
