"""progress.csv: one row an epoch, whatever happens."""

import csv
import os
from pathlib import Path

import pytest

from garage.errors import WriteError
from garage.recording.progress_table import ProgressTable

PATH = Path("progress.csv")


def read():
    with PATH.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_epoch_and_the_x_axis_come_first_and_the_rest_is_sorted():
    table = ProgressTable(PATH, "TotalEnvSteps")
    assert read() == []
    table.record(0, {"b": 1, "TotalEnvSteps": 7, "a": 0.5, "digest": "ff"})
    assert read() == [["epoch", "TotalEnvSteps", "a", "b"], ["0", "7", "0.5", "1"]]


def test_an_x_axis_that_is_not_there_or_the_epoch_itself():
    for x_axis in ("missing", "epoch"):
        ProgressTable(PATH, x_axis).record(0, {"b": 1, "a": 2})
        assert read() == [["epoch", "a", "b"], ["0", "2", "1"]]


def test_columns_that_appear_late_or_stay_away_are_kept():
    table = ProgressTable(PATH, "x")
    table.record(0, {"b": 1})
    table.record(1, {"b": 2, "a": 'text, with "all"\r\nof it', "x": 3})
    table.record(2, {"x": 4})
    assert read() == [
        ["epoch", "x", "a", "b"],
        ["0", "", "", "1"],
        ["1", "3", 'text, with "all"\r\nof it', "2"],
        ["2", "4", "", ""],
    ]


def test_rows_are_appended_and_not_all_written_again():
    table = ProgressTable(PATH, "x")
    table.record(0, {"x": 1, "digest": "ff"})
    before = os.stat(PATH).st_ino  # noqa: PTH116 - the file's identity
    for epoch in range(1, 4):
        table.record(epoch, {"x": 1, "digest": "ff"})
    assert os.stat(PATH).st_ino == before  # noqa: PTH116 - as above
    assert [row[0] for row in read()] == ["epoch", "0", "1", "2", "3"]


def test_at_a_start_it_is_made_of_the_rows_so_far():
    PATH.write_text("epoch,x\r\n0,1\r\n0,1\r\n1,torn")
    rows = [{"epoch": 0, "digest": "ff", "x": 1}, {"epoch": 1, "digest": "fe", "y": 2}]
    table = ProgressTable(PATH, "x", rows)
    assert read() == [["epoch", "x", "y"], ["0", "1", ""], ["1", "", "2"]]
    table.record(2, {"x": 3, "y": 4})
    assert read()[-1] == ["2", "3", "4"]
    ProgressTable(PATH, "x", rows)
    assert len(read()) == 3
    assert [path.name for path in Path().iterdir()] == ["progress.csv"]


def test_a_disk_that_refuses():
    table = ProgressTable(PATH, "x")
    table.record(0, {"x": 1})
    PATH.unlink()
    PATH.mkdir()
    for metrics in ({"x": 2}, {"y": 2}):
        with pytest.raises(WriteError, match=r"Cannot write progress\.csv: .*metrics\.jsonl.*continue the run"):
            table.record(1, metrics)
    with pytest.raises(WriteError, match="Is a directory"):
        ProgressTable(PATH, "x")
