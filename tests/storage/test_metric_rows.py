"""Rows as numbers, those that count."""

import json
import math

import pytest

from garage.errors import DamagedError, NoSnapshotError
from garage.storage.metric_rows import metric_rows, save_times
from garage.storage.run_directory import RunDirectory
from garage.storage.writer import rewind
from storage.sample_runs import written


def test_numbers_and_what_json_lacks(tmp_path):
    rows = metric_rows(written(tmp_path / "run", range(3)))
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert rows[1].keys() == {"epoch", "Evaluation/AverageReturn", "Loss"}
    assert rows[1]["Evaluation/AverageReturn"] == 1.0
    assert math.isnan(rows[1]["Loss"])


def test_rows_that_a_rewind_abandoned_do_not_count(tmp_path):
    path = written(tmp_path / "run", range(5))
    rewind(RunDirectory(path), 2)
    assert [row["epoch"] for row in metric_rows(path)] == [0, 1, 2]
    assert [row["epoch"] for row in metric_rows(path, 1)] == [0, 1]
    assert [row["epoch"] for row in metric_rows(path, 4)] == [0, 1, 2]


@pytest.mark.parametrize(
    "row", [{"epoch": "0"}, {"a": 1}, {"epoch": 0, "a": "x"}, {"epoch": 0, "a": True}, {"epoch": 0, "a": 10**400}]
)
def test_rows_that_say_what_cannot_be(tmp_path, row):
    path = written(tmp_path / "run", range(1))
    (path / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DamagedError, match="is damaged: "):
        metric_rows(path)


def test_what_is_no_run(tmp_path):
    with pytest.raises(NoSnapshotError, match="There is no run"):
        metric_rows(tmp_path)


def test_when_epochs_were_saved(tmp_path):
    directory = RunDirectory(tmp_path)
    lines = [
        {"event": "start", "at": "2026-01-01T00:00:00.000+00:00", "epoch": 0},
        *(
            {"event": "snapshot", "at": f"2026-01-01T00:00:0{at}.500+00:00", "epoch": epoch}
            for at, epoch in enumerate((1, 4, 2, 5))
        ),
        {"event": "snapshot", "at": "soon", "epoch": 7},
        {"event": "snapshot", "epoch": 8},
    ]  # fmt: skip
    directory.events_path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    times = save_times(directory)
    start = 1767225600.0
    assert times == {0: start + 0.5, 1: start + 0.5, 2: start + 2.5, 3: start + 3.5, 4: start + 3.5, 5: start + 3.5}
    assert save_times(RunDirectory(tmp_path / "nowhere")) == {}
