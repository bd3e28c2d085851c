"""Which epochs are saved, and which are kept."""

import math

import pytest

from garage.errors import ArgumentError
from garage.storage.retention import Retention, best_of

EPOCHS = range(8)
SAVED_AND_KEPT = {
    ("last", 1): ([0, 1, 2, 3, 4, 5, 6, 7], [6, 7], [6, 7]),
    ("all", 1): ([0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5, 6, 7]),
    ("gap", 1): ([0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5, 6, 7]),
    ("gap", 3): ([0, 3, 6], [0, 3, 6], [0, 1, 3, 6]),
    ("gap", 10): ([0], [0], [0, 1]),
    ("gap_and_last", 1): ([0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5, 6, 7]),
    ("gap_and_last", 3): ([0, 1, 2, 3, 4, 5, 6, 7], [0, 3, 6, 7], [0, 1, 3, 6, 7]),
    ("gap_and_last", 10): ([0, 1, 2, 3, 4, 5, 6, 7], [0, 6, 7], [0, 1, 6, 7]),
    ("gap_overwrite", 1): ([0, 1, 2, 3, 4, 5, 6, 7], [6, 7], [6, 7]),
    ("gap_overwrite", 3): ([0, 3, 6], [3, 6], [3, 6]),
    ("gap_overwrite", 10): ([0], [0], [0, 1]),
    ("none", 1): ([], [], [1]),
}
"""By mode and gap: epochs saved, epochs kept, and those kept if the user asked for epoch 1."""


@pytest.fixture(params=SAVED_AND_KEPT, ids=lambda case: f"{case[0]}-{case[1]}")
def case(request):
    return Retention(*request.param), *SAVED_AND_KEPT[request.param]


def kept(retention, requested):
    """What is left when each epoch supersedes others at once."""
    left = []
    for epoch in EPOCHS:
        if retention.saves(epoch) or epoch in requested:
            left.append(epoch)
            for gone in retention.superseded(left, requested=requested):
                left.remove(gone)
    return left


def test_the_table(case):
    retention, saved, left, left_if_requested = case
    assert [epoch for epoch in EPOCHS if retention.saves(epoch)] == saved
    assert kept(retention, frozenset()) == left
    assert kept(retention, frozenset({1})) == left_if_requested


def test_the_newest_and_the_one_before_are_never_superseded(case):
    retention = case[0]
    for n in range(8):
        epochs = list(range(n))
        assert not set(retention.superseded(epochs, requested=frozenset())) & set(epochs[-2:])


def test_a_bad_mode_is_named_with_those_there_are():
    with pytest.raises(ArgumentError, match=r"one of last, all, gap, gap_and_last, gap_overwrite, none; got 'lsat'"):
        Retention("lsat")


@pytest.mark.parametrize("gap", [0, -1, True, 2.0, "2", None])
def test_a_bad_gap(gap):
    with pytest.raises(ArgumentError, match="at least 1, got"):
        Retention("gap", gap)


@pytest.mark.parametrize("mode", ["last", "all", "none"])
def test_a_gap_that_would_be_ignored(mode):
    with pytest.raises(ArgumentError, match=f"snapshot_gap=2 would be ignored by snapshot_mode='{mode}'"):
        Retention(mode, 2)


def test_seconds_between_snapshots():
    retention = Retention("last", seconds=60.0)
    assert [retention.saves(3, seconds_since_last=seconds) for seconds in (0.0, 59.9, 60.0, math.inf)] == [
        False,
        False,
        True,
        True,
    ]
    assert not Retention("gap", 2, seconds=1).saves(3)


@pytest.mark.parametrize("seconds", [0, -1.0, math.inf, math.nan, True, "60"])
def test_seconds_that_are_none(seconds):
    with pytest.raises(ArgumentError, match="snapshot_seconds must be a finite number above 0"):
        Retention("last", seconds=seconds)


def test_options_that_a_mode_would_ignore():
    with pytest.raises(ArgumentError, match="snapshot_seconds=5 would be ignored"):
        Retention("none", seconds=5)
    for mode in ("all", "gap", "none"):
        with pytest.raises(ArgumentError, match=f"keep_best='Loss' would be ignored by snapshot_mode='{mode}'"):
            Retention(mode, keep_best="Loss")


def test_the_best_is_judged_by_the_row_after_it_and_ties_keep_the_earlier():
    judgements = {1: 5.0, 2: 7.0, 3: math.nan, 4: 7.0, 5: 9.0, 6: math.inf}
    assert best_of([0, 1, 2, 3], judgements) == 1
    assert best_of([0, 2, 3, 4], judgements) == 4
    assert best_of([2, 5], judgements) is None  # NaN and infinity never win
    assert best_of([9], judgements) is None


@pytest.mark.parametrize(("mode", "gap"), [("last", 1), ("gap_and_last", 4), ("gap_overwrite", 2)])
def test_the_best_is_kept_besides(mode, gap):
    judgements = {3: 8.0, 5: 1.0, 9: 2.0}
    epochs = [1, 2, 3, 4, 7, 8, 9]
    with_best = Retention(mode, gap, keep_best="Return")
    without = Retention(mode, gap)
    gone = without.superseded(epochs, requested=frozenset())
    assert 2 in gone
    assert with_best.superseded(epochs, requested=frozenset(), judgements=judgements) == [e for e in gone if e != 2]
    assert with_best.superseded(epochs, requested=frozenset()) == gone
