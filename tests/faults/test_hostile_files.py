"""Whatever lies where a run's files should be: damaged bytes, folders, pipes, links, devices, refusals."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faults.forgeries import Copy, read_in_every_way, restore_values
from garage.core.state import differences
from garage.errors import GarageError
from garage.storage.store import SnapshotStore

HERE = Path(__file__).parent
quick = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
thorough = settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def files_of(path):
    return sorted(file for file in path.rglob("*") if file.is_file())


def assert_true_or_refused(copy, original):
    """What can be read is what was written, of some epoch; nothing else is ever taken for it."""
    with contextlib.suppress(GarageError):
        snapshot = SnapshotStore(copy.path).read()
        written = SnapshotStore(original).read(snapshot.manifest.epoch)
        assert snapshot.manifest == written.manifest
        assert differences(written.state, snapshot.state) == []


def damaged(data, draw):
    """Other bytes than there were: flipped, cut, grown, turned, or of another kind altogether."""
    at = draw(st.integers(0, max(0, len(data) - 1)))
    return draw(
        st.sampled_from(
            [
                data[:at] + bytes(byte ^ 1 << draw(st.integers(0, 7)) for byte in data[at : at + 1]) + data[at + 1 :],
                data[:at],
                data + data[at:],
                data[:at] + bytes(len(data) - at),
                data[at:] + data[:at],
                data[:at] + draw(st.binary(min_size=1, max_size=40)) + data[at:],
                draw(st.binary(max_size=200)),
            ]
        )
    )


def check_bytes(copy, original, data):
    copy.put_back()
    files = files_of(copy.path)
    for _ in range(data.draw(st.integers(1, 3))):
        file = data.draw(st.sampled_from(files))
        file.write_bytes(damaged(file.read_bytes(), data.draw))
    read_in_every_way(copy.path)
    assert_true_or_refused(copy, original)
    with contextlib.suppress(GarageError):
        restore_values(copy.path)


@quick
@given(st.data())
def test_damaged_bytes(copy, original, data):
    check_bytes(copy, original, data)


@pytest.mark.long
@pytest.mark.timeout(3000)
@thorough
@given(st.data())
def test_many_damaged_bytes(copy, original, data):
    check_bytes(copy, original, data)


def a_folder(path):
    path.mkdir()


def a_pipe(path):
    os.mkfifo(path)


def a_link_to_itself(path):
    path.symlink_to(path)


def a_link_to_nothing(path):
    path.symlink_to(path.with_name("nothing"))


def a_link_to_a_device_without_end(path):
    path.symlink_to("/dev/zero")


def a_link_to_its_folder(path):
    path.symlink_to(path.parent)


def a_sparse_file(path):
    with path.open("wb") as file:
        file.truncate(1 << 43)


def nothing(path):
    pass


KINDS = [
    a_folder,
    a_pipe,
    a_link_to_itself,
    a_link_to_nothing,
    a_link_to_a_device_without_end,
    a_link_to_its_folder,
    a_sparse_file,
    nothing,
]
PLACES = [
    "run.json",
    "events.jsonl",
    "metrics.jsonl",
    "recipe",
    "lock",
    "snapshots/000002.json",
    "snapshots/000003.json",
    "snapshots",
    "packs",
    "packs/*",
    "packs/*/*",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", PLACES)
def test_something_else_in_the_place_of_a_file(original, tmp_path, place, kind):
    copy = Copy(original, tmp_path / "run")
    for path in sorted(copy.path.glob(place)) or [copy.path / place]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        try:
            kind(path)
        except OSError as error:  # a file system without such large files
            pytest.skip(f"cannot be made here: {error}")
    read_in_every_way(copy.path)
    assert_true_or_refused(copy, original)
    with contextlib.suppress(GarageError):
        restore_values(copy.path)


READER = """
import json, os, sys
from pathlib import Path
from faults.forgeries import read_in_every_way
from garage.storage.store import SnapshotStore

if os.getuid() == 0:
    os.setuid(65534)
for path in map(Path, sys.argv[1:]):
    read_in_every_way(path)
    print(json.dumps([path.name, len(SnapshotStore(path).verify())]))
"""
CLOSED = {
    f"{place} {mode:o}": (place, mode)
    for mode in (0o000, 0o444)
    for place in (".", "snapshots", "packs", "run.json", "events.jsonl", "metrics.jsonl", "recipe")
    if mode == 0o000 or ("." not in place.strip(".") and place != "recipe")  # a file of that mode is an ordinary one
}


@pytest.fixture(scope="module")
def closed(original):
    """How many problems a user finds who may not enter or read a part of a run; by that part."""
    folder = Path("/tmp") / f"garage-{os.getpid()}"  # noqa: S108 - pytest's own folders are closed to other users
    folder.mkdir(mode=0o755)
    try:
        paths = [Copy(original, folder / name.replace(".", "run", 1)).path for name in CLOSED]
        for path, (place, mode) in zip(paths, CLOSED.values(), strict=True):
            (path / place).chmod(mode)
        done = subprocess.run(
            [sys.executable, "-c", READER, *map(str, paths)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), *sys.path])},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        for path, (place, _) in zip(paths, CLOSED.values(), strict=True):
            (path / place).chmod(0o755)
        shutil.rmtree(folder)
    assert done.returncode == 0, done.stderr
    return dict(zip(CLOSED, [json.loads(line)[1] for line in done.stdout.splitlines()], strict=True))


@pytest.mark.parametrize("name", CLOSED)
def test_what_the_reader_may_not_enter_or_read(closed, name):
    assert closed[name] > 0
