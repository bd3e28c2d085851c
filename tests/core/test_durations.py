"""Times in words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from garage.core.durations import in_words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0 s"), (0.99, "0 s"), (1.0, "1 s"), (59.9, "59 s"), (60, "1 min"), (61, "1 min 1 s"),
        (3599, "59 min 59 s"), (3600, "1 h"), (3660, "1 h 1 min"), (3601, "1 h"), (86_400, "1 d"), (90_000, "1 d 1 h"),
        (8_640_000, "100 d"),
    ],
)  # fmt: skip
def test_times_in_words(seconds, words):
    assert in_words(seconds) == words


@given(st.integers(0, 10**7))
def test_times_in_words_are_short_by_less_than_their_smallest_unit(seconds):
    sizes = {"s": 1, "min": 60, "h": 3600, "d": 86_400}
    words = in_words(seconds).split()
    said = sum(int(n) * sizes[unit] for n, unit in zip(words[::2], words[1::2], strict=True))
    assert 0 <= seconds - said < max(sizes[words[-1]], sizes[words[1]] // 24)


@pytest.mark.parametrize(("seconds", "words"), [(0, "0 s"), (61, "1 min"), (3601, "1 h"), (90_000, "1 d")])
def test_times_in_one_unit(seconds, words):
    assert in_words(seconds, n_units=1) == words
