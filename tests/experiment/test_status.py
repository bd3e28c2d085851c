"""What the status line says."""

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from garage.experiment.arguments import Stats, TrainArgs
from garage.experiment.progress import Progress
from garage.experiment.status import Status, in_words


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


def test_before_the_first_epoch_little_is_known():
    status = Status(Progress(), TrainArgs(7, 100))
    assert status.parts() == ["0 of 7 epochs", "nothing saved yet"]


def test_after_epochs(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    progress = Progress(stats=Stats(1, 500))
    status = Status(progress, TrainArgs(10, 100))
    for epoch in (2, 3):
        now += 2.0
        progress.stats = Stats(epoch, 500 + 3000 * (epoch - 1))
        progress.metrics = {"Evaluation/AverageReturn": 123.456789}
        progress.saved_at = now - 0.5
        status.epoch_ended()
    now += 3.0
    assert status.parts() == ["4 of 10 epochs", "1,500 steps/s", "return 123.46", "9 s left", "saved 3 s ago"]
    now += 60.0
    assert status.parts()[3:] == ["0 s left", "saved 1 min 3 s ago"]
    progress.metrics = {"Evaluation/AverageReturn": math.nan}
    assert status.parts()[2] == "return nan"
