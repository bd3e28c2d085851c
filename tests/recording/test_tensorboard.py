"""Events as TensorBoard's own reader sees them, also one that has been looking since before a rewind."""

import contextlib
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from garage.errors import ArgumentError, WriteError
from garage.recording.event_file import crc32c
from garage.recording.tensorboard import TensorBoardEvents
from recording.watching_tensorboard import Watcher

FOLDER = Path("events")


def rows(*epochs, factor=1.0):
    return [{"epoch": epoch, "x": 100 * epoch, "a/b": factor * epoch, "digest": "ff"} for epoch in epochs]


def files():
    return sorted(path.name for path in FOLDER.iterdir())


def test_each_metric_over_the_x_axis_and_nothing_else():
    with contextlib.closing(TensorBoardEvents(FOLDER, "x", rows(0, 1), {0: 1000.5})) as events:
        events.record(2, {"x": 250, "a/b": "NaN", "new": 0.1, "digest": "ff"})
    found = Watcher(FOLDER).look()
    assert set(found) == {"a/b", "new"}
    assert [point[:2] for point in found["a/b"][:2]] == [(0, 0.0), (100, 1.0)]
    assert found["a/b"][0][2] == 1000.5
    assert found["a/b"][2][0] == 250
    assert math.isnan(found["a/b"][2][1])
    assert found["new"][0][:2] == (250, np.float32(0.1))


def test_the_epoch_as_the_x_axis():
    with contextlib.closing(TensorBoardEvents(FOLDER, "epoch", rows(0, 7))):
        pass
    assert Watcher(FOLDER).points("x") == [(0, 0.0), (7, 700.0)]


def test_who_has_been_looking_sees_no_double_and_no_abandoned_point():
    watcher = Watcher(FOLDER)
    with contextlib.closing(TensorBoardEvents(FOLDER, "x", rows(0, 1))) as events:
        for row in rows(2, 3, 4):
            events.record(row["epoch"], row)
    assert len(watcher.points("a/b")) == 5
    # Killed and resumed from epoch 3, then rewound to 1 with another course from there.
    for again, new in ((rows(0, 1, 2, 3), rows(4)), (rows(0, 1), rows(2, 3, factor=2.0))):
        with contextlib.closing(TensorBoardEvents(FOLDER, "x", again)) as events:
            for row in new:
                events.record(row["epoch"], row)
        expected = [(row["x"], row["a/b"]) for row in (*again, *new)]
        assert watcher.points("a/b") == Watcher(FOLDER).points("a/b") == expected


def test_old_files_are_removed_when_nobody_can_be_reading_them():
    for n_files in (1, 2, 3):
        TensorBoardEvents(FOLDER, "x", rows(0)).close()
        assert len(files()) == n_files
    for name in files():
        os.utime(FOLDER / name, (0, 0))
    TensorBoardEvents(FOLDER, "x", rows(0)).close()
    assert len(files()) == 1


def test_a_machine_whose_clock_is_behind():
    FOLDER.mkdir()
    ahead = FOLDER / "events.out.tfevents.1999999999.elsewhere.garage"
    TensorBoardEvents(FOLDER, "x", rows(0, 1, 2)).close()
    next(FOLDER.iterdir()).rename(ahead)
    TensorBoardEvents(FOLDER, "x", rows(0)).close()
    assert Watcher(FOLDER).points("a/b") == [(0, 0.0)]


def test_what_a_kill_left_unfinished_is_no_trouble():
    events = TensorBoardEvents(FOLDER, "x", rows(0, 1))
    events.close()
    path = next(FOLDER.iterdir())
    path.write_bytes(path.read_bytes()[:-7])
    with contextlib.closing(TensorBoardEvents(FOLDER, "x", rows(0, 1, 2))):
        assert [x for x, _ in Watcher(FOLDER).points("a/b")] == [0, 100, 200]


def test_a_users_own_events_stay():
    FOLDER.mkdir()
    (FOLDER / "events.out.tfevents.1.host").write_bytes(b"")
    os.utime(FOLDER / "events.out.tfevents.1.host", (0, 0))
    TensorBoardEvents(FOLDER, "x", rows(0)).close()
    assert "events.out.tfevents.1.host" in files()


def test_points_can_be_seen_while_training_goes_on():
    watcher = Watcher(FOLDER)
    with contextlib.closing(TensorBoardEvents(FOLDER, "x")) as events:
        for row in rows(0, 1):
            events.record(row["epoch"], row)
            assert watcher.points("a/b")[-1] == (row["x"], row["a/b"])


@pytest.mark.parametrize(
    ("x_axis", "message"),
    [
        ("steps", "There is no metric 'steps' for TensorBoard's x axis; this run has: a/b, digest, epoch, x."),
        ("a/b", r"the x_axis 'a/b' of epoch 1 is 0\.5\. Take another x_axis"),
    ],
)
def test_an_x_axis_that_cannot_be_drawn_over(x_axis, message):
    with pytest.raises(ArgumentError, match=message):
        TensorBoardEvents(FOLDER, x_axis, rows(1, factor=0.5))
    assert files() == []


@pytest.mark.parametrize("x", ["NaN", 2**70, -(2**63)])
def test_a_step_that_tensorboard_cannot_count(x):
    with (
        contextlib.closing(TensorBoardEvents(FOLDER, "x")) as events,
        pytest.raises(ArgumentError, match="whole numbers"),
    ):
        events.record(0, {"x": x})


def test_neither_torch_nor_any_package_for_it_is_loaded():
    code = """
import sys
from pathlib import Path
from garage.recording.tensorboard import TensorBoardEvents
TensorBoardEvents(Path("events"), "x").close()
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "tensorflow", "tensorboard", "tensorboardX", "google"} & set(done.stdout.split())


def test_numbers_that_single_precision_has_not():
    with contextlib.closing(TensorBoardEvents(FOLDER, "x")) as events:
        events.record(0, {"x": 2**40, "large": 1e300, "small": -1e300, "tiny": 1e-300, "é/ü": 3})
    found = {tag: points[0][:2] for tag, points in Watcher(FOLDER).look().items()}
    assert found == {"large": (2**40, math.inf), "small": (2**40, -math.inf), "tiny": (2**40, 0), "é/ü": (2**40, 3)}


def test_steps_below_zero_come_back():
    with contextlib.closing(TensorBoardEvents(FOLDER, "x")) as events:
        events.record(0, {"x": -5, "a": 1.0})
    assert Watcher(FOLDER).points("a") == [(-5, 1.0)]


@given(st.binary(max_size=300))
def test_the_check_is_that_of_rfc_3720(data):
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    assert crc32c(data) == crc ^ 0xFFFFFFFF


def test_a_disk_that_refuses():
    FOLDER.write_text("a file")
    with pytest.raises(WriteError, match=r"Cannot write events: File exists\. .*metrics\.jsonl"):
        TensorBoardEvents(FOLDER, "x")
    if not os.path.exists("/dev/full"):  # noqa: PTH110 - a device
        return
    events = TensorBoardEvents(Path("others"), "x")
    path = next(Path("others").iterdir())
    full = os.open("/dev/full", os.O_WRONLY)
    target = next(int(file.name) for file in Path("/proc/self/fd").iterdir() if file.resolve() == path.resolve())
    os.dup2(full, target)
    os.close(full)
    with pytest.raises(WriteError, match="No space left on device"):
        events.record(0, {"x": 1, "a": 2.0})
    with contextlib.suppress(WriteError):
        events.close()
