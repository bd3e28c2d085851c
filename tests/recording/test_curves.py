"""Which runs are one curve, and what they say together."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from garage.errors import ArgumentError
from garage.recording.curves import MOST_POINTS, Series, curve, labels, series
from garage.recording.intervals import bootstrap_interval, mean


def rows(*pairs):
    return [{"epoch": epoch, "x": x, "y": y} for epoch, (x, y) in enumerate(pairs)]


def line(x, y, seed=1):
    return Series(f"run {seed}", seed, np.asarray(x, float), np.asarray(y, float))


def test_epochs_without_a_value_are_left_out_and_of_equal_x_the_last_counts():
    found = series(
        "run", 1, [*rows((30, 3.0), (10, math.nan), (20, 2.0), (20, 5.0), (40, math.inf)), {"epoch": 9}], "x", "y"
    )
    assert found.x.tolist() == [20, 30]
    assert found.y.tolist() == [5, 3]


@pytest.mark.parametrize(
    ("given_rows", "x", "message"),
    [
        ([], "x", "run has no rows to plot: no epoch of it is finished"),
        (rows((1, 1)), "steps", "run has no column 'steps'; it has: epoch, x, y"),
        (rows((1, math.nan)), "x", "no epoch with a finite 'y' over 'x'"),
    ],
)
def test_a_run_that_cannot_be_drawn(given_rows, x, message):
    with pytest.raises(ArgumentError, match=message):
        series("run", 1, given_rows, x, "y")


def test_a_curve_is_on_the_x_of_all_where_all_have_values():
    found = curve("a", [line([0, 10, 20], [0, 10, 20]), line([5, 10, 40], [5, 0, 30], 2)])
    assert found.x.tolist() == [5, 10, 20]
    assert found.mean.tolist() == [5, 5, 15]
    assert found.interquartile_mean.tolist() == [5, 5, 15]
    assert np.array_equal(found.interval, bootstrap_interval([[5, 10, 20], [5, 0, 10]], mean))
    assert found.interval[:, 1].tolist() == [0, 10]


def test_one_run_is_itself_without_an_interval():
    found = curve("a", [line([1, 2], [3, 4])])
    assert found.mean.tolist() == [3, 4]
    assert np.isnan(found.interval).all()


def test_very_many_points_are_thinned_evenly():
    x = np.arange(10.0 * MOST_POINTS)
    found = curve("a", [line(x, 2 * x), line(x, 2 * x, 2)])
    assert len(found.x) == MOST_POINTS
    assert (found.x[0], found.x[-1]) == (x[0], x[-1])
    np.testing.assert_allclose(found.mean, 2 * found.x)


def test_runs_without_any_x_in_common():
    with pytest.raises(ArgumentError, match=r"no x in common:\n  run 1: 0 to 1\n  run 2: 2 to 3\n"):
        curve("a", [line([0, 1], [0, 0]), line([2, 3], [0, 0], 2)])


@given(st.lists(st.lists(st.integers(0, 50), min_size=1, unique=True).map(sorted), min_size=1, max_size=4))
def test_interpolation_keeps_straight_lines_straight(grids):
    members = [line([-1, *grid, 51], [3 * x - 7 for x in (-1, *grid, 51)], seed) for seed, grid in enumerate(grids)]
    found = curve("a", members)
    np.testing.assert_allclose(found.mean, 3 * found.x - 7)
    assert set(found.x) == {x for grid in grids for x in grid} | {-1, 51}


def test_a_label_says_what_differs():
    assert labels([{"e": "f", "lr": 1, "n": 2}, {"e": "f", "lr": 3, "n": 2}], ["a", "b"]) == ["lr=1", "lr=3"]
    assert labels([{"e": "f", "lr": 1}, {"e": "g"}], ["a", "b"]) == ["e=f, lr=1", "e=g"]
    assert labels([{"e": ""}, {"e": ""}], ["a", "b"]) == ["a", "b"]
    assert labels([{"lr": 1}, {"lr": 2}, {"lr": 2}], ["a", "b", "c"]) == ["lr=1", "lr=2, b", "lr=2, c"]
