"""Statistics that are merged batch by batch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from garage.core.state import copied
from garage.core.statistics import Statistics
from garage.errors import MismatchError

NUMBERS = st.floats(-1e3, 1e3, width=32)


def merged(batches, shape=()):
    statistics = Statistics.none(shape)
    for batch in batches:
        statistics = statistics.with_rows(batch)
    return statistics


@given(
    rows=hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40), elements=NUMBERS),
    cuts=st.lists(st.integers(0, 40), max_size=5),
)
def test_they_are_those_of_all_rows_however_these_come(rows, cuts):
    batches = np.split(rows, sorted(min(cut, len(rows)) for cut in cuts))
    got = merged(batches, rows.shape[1:])
    exact = rows.astype(np.float64)
    assert got.n == len(rows)
    np.testing.assert_allclose(got.mean, exact.mean(axis=0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(got.squares / got.n, exact.var(axis=0), rtol=1e-7, atol=1e-7)


def test_a_large_mean_does_not_swallow_a_small_variance():
    rows = 1e8 + np.random.default_rng(0).normal(size=(5000, 1))
    got = merged(np.split(rows, range(7, 5000, 7)), (1,))
    np.testing.assert_allclose(got.variance, rows.var(axis=0), rtol=1e-6)


def test_blocks_have_1024_rows_whatever_the_batch():
    rows = np.random.default_rng(0).normal(size=(2500, 3)).astype(np.float32)
    whole = merged([rows], (3,))
    in_blocks = merged([rows[:1024], rows[1024:2048], rows[2048:]], (3,))
    assert whole.mean.tobytes() == in_blocks.mean.tobytes()
    assert whole.squares.tobytes() == in_blocks.squares.tobytes()


@pytest.mark.parametrize("n", [0, 1])
def test_what_has_not_varied_yet_has_the_variance_1(n):
    assert merged([np.full((n, 2), 5.0)], (2,)).variance.tolist() == [1, 1]


def test_they_go_on_from_their_state():
    generator = np.random.default_rng(1)
    first, second = generator.normal(size=(2, 50, 2))
    again = Statistics.from_state(copied(merged([first], (2,)).state_dict()), "x", (2,)).with_rows(second)
    whole = merged([first, second], (2,))
    assert (again.n, again.mean.tobytes(), again.squares.tobytes()) == (
        whole.n,
        whole.mean.tobytes(),
        whole.squares.tobytes(),
    )


@pytest.mark.parametrize(
    "change",
    [{"n": -1}, {"n": 1.0}, {"mean": np.zeros(3)}, {"mean": np.array([np.nan, 0])}, {"squares": np.array([-1.0, 0])}],
)
def test_what_are_no_statistics_is_refused(change):
    state = {**Statistics.none((2,)).state_dict(), **change}
    with pytest.raises(MismatchError, match="Cannot load the state of the observations"):
        Statistics.from_state(state, "the observations", (2,))
