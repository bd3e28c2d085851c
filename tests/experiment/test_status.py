"""What the status line says."""

import math
import time

from garage.experiment.arguments import Stats, TrainArgs
from garage.experiment.progress import Progress
from garage.experiment.status import Status


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
