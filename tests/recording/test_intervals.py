"""The interquartile mean and the bootstrap's interval."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from garage.errors import ArgumentError
from garage.recording.intervals import bootstrap_interval, interquartile_mean, mean

FINITE = st.floats(-1e6, 1e6)
CURVES = arrays(np.float64, st.tuples(st.integers(1, 9), st.integers(1, 4)), elements=FINITE)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0], 3.0),
        ([1.0, 2.0, 9.0], 4.0),
        ([-100.0, 1.0, 3.0, 900.0], 2.0),
        ([5.0, 1.0, 2.0, 3.0, 90.0], 10.0 / 3.0),
        ([0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 50.0, 60.0], 2.5),
        ([np.inf, 1.0, 2.0, -np.inf], 1.5),
    ],
)
def test_a_quarter_is_left_out_at_either_end(values, expected):
    assert interquartile_mean(values) == pytest.approx(expected)


def test_nan_is_not_left_out():
    values = [[1.0, np.nan], [2.0, 2.0], [3.0, 3.0], [4.0, 4.0]]
    assert np.array_equal(interquartile_mean(values), [2.5, np.nan], equal_nan=True)
    ends = bootstrap_interval(values)
    assert np.isfinite(ends[:, 0]).all()
    assert np.isnan(ends[:, 1]).all()


@given(CURVES)
def test_each_point_of_a_curve_is_computed_for_itself(curves):
    for statistic in (mean, interquartile_mean):
        whole, ends = statistic(curves), bootstrap_interval(curves, statistic, n_resamples=20)
        assert ends.shape == (2, curves.shape[1])
        for point in range(curves.shape[1]):
            alone = bootstrap_interval(curves[:, point], statistic, n_resamples=20)
            assert ends[:, point] == pytest.approx(alone, nan_ok=True)
            assert whole[point] == pytest.approx(statistic(curves[:, point]))


def test_points_beyond_what_is_held_at_once():
    curves = np.arange(3.0 * 1500.0).reshape(3, 1500) % 7.0
    ends = bootstrap_interval(curves)
    assert ends[:, 1499] == pytest.approx(bootstrap_interval(curves[:, 1499]))


@given(arrays(np.float64, st.integers(2, 12), elements=FINITE))
def test_an_interval_lies_within_the_values_and_is_always_the_same(values):
    low, high = bootstrap_interval(values, n_resamples=50)
    slack = 1e-9 * np.abs(values).max()
    assert values.min() - slack <= low <= high <= values.max() + slack
    assert np.array_equal(bootstrap_interval(values, n_resamples=50), (low, high))


def test_it_covers_the_truth_about_as_often_as_it_says():
    draws = np.random.default_rng(1).normal(size=(20, 400))
    low, high = bootstrap_interval(draws, mean, 0.9)
    covered = np.mean((low <= 0.0) & (high >= 0.0))
    assert 0.82 <= covered <= 0.93  # with few runs, percentiles cover a little less than they say


def test_runs_are_drawn_within_their_task():
    values, tasks = np.array([1.0, 1.0, 9.0, 9.0]), ["a", "a", "b", "b"]
    assert bootstrap_interval(values, mean, strata=tasks).tolist() == [5.0, 5.0]
    assert bootstrap_interval(values, mean).tolist() == [1.0, 9.0]


def test_of_one_run_there_is_no_interval():
    assert np.isnan(bootstrap_interval([3.0])).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), r"at least one run along the first axis, got shape \(0,\)"),
        ((3.0,), r"got shape \(\)"),
        (([1.0, 2.0], mean, 1.0), "level must be between 0 and 1"),
        (([1.0, 2.0], mean, float("nan")), "level must be between 0 and 1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        bootstrap_interval(*arguments)
    with pytest.raises(ArgumentError, match="the task of each of 2 runs, got 1 names"):
        bootstrap_interval([1.0, 2.0], strata=["a"])
    with pytest.raises(ArgumentError, match="n_resamples must be at least 1"):
        bootstrap_interval([1.0, 2.0], n_resamples=0)
