"""Whatever a run's JSON says, with every checksum right: an error of ours or a fallback, and no code is run."""

import contextlib
import json
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faults.forgeries import RAW, Copy, act, changed, raw_json, read_in_every_way, restore_values
from garage import load_policy
from garage.core.tracked import Column, group_text
from garage.errors import GarageError

quick = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
thorough = settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def attempt_to_restore(path):
    with contextlib.suppress(GarageError):
        restore_values(path)


def forge_manifests(copy, draw):
    copy.put_back()
    for epoch in draw(st.sampled_from([(2,), (0, 1, 2)])):
        document = copy.manifest(epoch)
        for _ in range(draw(st.integers(1, 3))):
            changed(document, draw)
        copy.forge(document, epoch)


def check_manifests(copy, data):
    forge_manifests(copy, data.draw)
    read_in_every_way(copy.path)
    attempt_to_restore(copy.path)


@quick
@given(st.data())
def test_manifests(copy, data):
    check_manifests(copy, data)


@pytest.mark.long
@pytest.mark.timeout(3000)
@thorough
@given(st.data())
def test_many_manifests(copy, data):
    check_manifests(copy, data)


def check_policies(copy, data):
    copy.put_back()
    document = copy.manifest()
    for _ in range(data.draw(st.integers(1, 3))):
        changed(document["policies"], data.draw)
    copy.forge(document)
    with contextlib.suppress(GarageError):
        act(load_policy(copy.path, 2))
    assert not list(copy.path.glob("unpickled"))


@settings(quick, max_examples=100)
@given(st.data())
def test_descriptions_of_policies(copy, data):
    check_policies(copy, data)


@pytest.mark.long
@pytest.mark.timeout(3000)
@thorough
@given(st.data())
def test_many_descriptions_of_policies(copy, data):
    check_policies(copy, data)


def check_run_json(copy, data):
    copy.put_back()
    document = json.loads(copy.directory.info_path.read_bytes())
    document["parent"] = {"run": "0", "epoch": 1, "digest": "0", "path": "/"}
    changed(document, data.draw)
    copy.directory.info_path.write_text(raw_json(document))
    read_in_every_way(copy.path)
    attempt_to_restore(copy.path)


@quick
@given(st.data())
def test_run_json(copy, data):
    check_run_json(copy, data)


@pytest.mark.long
@pytest.mark.timeout(3000)
@thorough
@given(st.data())
def test_many_run_jsons(copy, data):
    check_run_json(copy, data)


def check_lines(copy, data):
    copy.put_back()
    for path in (copy.directory.events_path, copy.directory.metrics_path):
        lines = [json.loads(line) for line in path.read_bytes().splitlines()]
        lines.insert(0, {"event": "rewind", "abandoned": {"7": "0" * 64}})
        for _ in range(data.draw(st.integers(1, 3))):
            changed(lines, data.draw)
        text = "".join(raw_json(line).replace("\n", " ") + "\n" for line in lines)
        path.write_text(text[: len(text) - data.draw(st.integers(0, 1))])
    read_in_every_way(copy.path)
    attempt_to_restore(copy.path)


@quick
@given(st.data())
def test_lines_of_logs(copy, data):
    check_lines(copy, data)


@pytest.mark.long
@pytest.mark.timeout(3000)
@thorough
@given(st.data())
def test_many_lines_of_logs(copy, data):
    check_lines(copy, data)


@pytest.fixture(scope="module")
def with_group(tmp_path_factory):
    """A run whose state holds a tracked group."""
    runs = Path(__file__).parents[1] / "museum" / "runs"
    return Copy(runs / "tracked-group", tmp_path_factory.mktemp("group") / "run")


def check_groups(with_group, data):
    with_group.put_back()
    document = with_group.manifest(0)
    part = {"groups": document["groups"], "chunks": document["chunks"]}
    for _ in range(data.draw(st.integers(1, 3))):
        changed(part, data.draw)
    with_group.forge(document | part, 0)
    read_in_every_way(with_group.path)


@quick
@given(st.data())
def test_tracked_groups(with_group, data):
    check_groups(with_group, data)


@pytest.mark.long
@pytest.mark.timeout(3000)
@thorough
@given(st.data())
def test_many_tracked_groups(with_group, data):
    check_groups(with_group, data)


HUGE = [-1, 0, 1, 2**31, 2**40, 2**62, 2**63, 2**70]


@pytest.mark.parametrize("value", HUGE)
@pytest.mark.parametrize("field", ["rows", "capacity", "block_rows"])
def test_impossible_sizes_of_a_tracked_group_with_the_right_hash(with_group, field, value):
    with_group.put_back()
    document = with_group.manifest(0)
    (group,) = document["groups"]
    group[field] = value
    columns = [Column(column["name"], column["dtype"], tuple(column["shape"])) for column in group["columns"]]
    hashes = [document["chunks"][index]["hash"] for index in group["blocks"]]
    group["hash"] = blake3(group_text(columns, group["capacity"], hashes)).hexdigest()
    with_group.forge(document, 0)
    read_in_every_way(with_group.path)


TOP = ["train_args", "metrics", "fingerprint", "policies", "log", "leaves", "chunks"]


@pytest.mark.parametrize("name", RAW)
@pytest.mark.parametrize("key", TOP)
def test_what_json_can_say_beyond_pythons_values(copy, key, name):
    copy.put_back()
    for epoch in range(3):
        document = copy.manifest(epoch)
        if key in {"train_args", "stats", "metrics", "fingerprint", "policies"}:
            document[key] = dict.fromkeys(document[key], name)
        else:
            document[key] = name
        copy.forge(document, epoch)
    read_in_every_way(copy.path)
    attempt_to_restore(copy.path)


@pytest.mark.parametrize("name", RAW)
@pytest.mark.parametrize("file", ["run.json", "events.jsonl", "metrics.jsonl", "lock"])
def test_what_other_files_can_say(copy, file, name):
    copy.put_back()
    before = (copy.path / file).read_bytes() if file != "lock" else b""
    try:
        (copy.path / file).write_bytes(RAW[name].encode() + b"\n" + before)
        read_in_every_way(copy.path)
        attempt_to_restore(copy.path)
    finally:
        (copy.path / "lock").unlink(missing_ok=True)
