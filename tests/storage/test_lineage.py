"""Which epochs of a run were computed by whom, with which arguments."""

import json
import shutil

import msgspec
import pytest

from garage.errors import NoSnapshotError
from garage.storage.lineage import Stretch, counts, find_run, history
from garage.storage.linking import Beginning
from garage.storage.run_directory import RunDirectory
from garage.storage.store import SnapshotStore
from garage.storage.writer import parent_of
from storage.sample_runs import INFO, events_named, opened, written


def add(path, *events):
    with RunDirectory(path).events_path.open("a") as file:
        file.writelines(json.dumps({"at": "2026-11-22T09:00:00.000+00:00"} | event) + "\n" for event in events)


def begun(event, epoch, batch_size):
    return {"event": event, "epoch": epoch, "batch_size": batch_size}


def stretches(path):
    return [(stretch.first, stretch.batch_size) for stretch in history(path).stretches]


def child_of(parent, path, created_at, epoch=2):
    manifest = SnapshotStore(parent).read(epoch).manifest
    info = msgspec.structs.replace(
        INFO, id=path.name.ljust(16, "0"), created_at=created_at, parent=parent_of(manifest, parent)
    )
    opened(path, "all", info=info, begins_with=Beginning(parent, manifest)).close()
    return path


def test_what_is_begun_again_takes_the_place_of_what_was(tmp_path):
    written(tmp_path, [])
    add(tmp_path, begun("start", 0, 10), begun("resume", 3, 20), begun("resume", 7, 30))
    assert stretches(tmp_path) == [(0, 10), (3, 20), (7, 30)]
    add(tmp_path, {"event": "rewind", "to": 4, "abandoned": {}})
    assert history(tmp_path).rewound_to == 4
    add(tmp_path, begun("resume", 5, 40))
    assert stretches(tmp_path) == [(0, 10), (3, 20), (5, 40)]
    assert history(tmp_path).rewound_to is None
    add(tmp_path, begun("start", 0, 50))
    assert stretches(tmp_path) == [(0, 50)]


def test_events_that_say_nothing_are_passed_over(tmp_path):
    written(tmp_path, [])
    add(tmp_path, begun("start", 0, 10), begun("resume", -1, 1), begun("resume", 2, 0), begun("resume", "3", 5), {})
    add(tmp_path, {"event": "resume"}, begun("resume", 2.0, 5), begun("resume", 2, None), {"event": "preempted"})
    assert stretches(tmp_path) == [(0, 10)]
    assert counts(RunDirectory(tmp_path)) == {"resumes": 6, "rewinds": 0, "preemptions": 1}


def test_a_forks_epochs_are_its_parents_as_they_were_then(tmp_path):
    parent = written(tmp_path / "parent", range(4))
    add(parent, begun("start", 0, 10), begun("resume", 2, 20), begun("resume", 3, 30))
    add(parent, begun("resume", 1, 99) | {"at": "2026-11-22T11:00:00.000+00:00"})  # later than the fork
    child = child_of(parent, tmp_path / "child", "2026-11-22T10:00:00.000+00:00")
    add(child, begun("resume", 3, 40))
    assert history(child).stretches == (
        Stretch(0, 10, parent, reseeded=False),
        Stretch(2, 20, parent, reseeded=False),
        Stretch(3, 40, child, reseeded=False),
    )
    assert history(child).missing is None


def test_a_parent_is_found_by_its_id_where_it_was_or_beside_its_child(tmp_path):
    parent = written(tmp_path / "parent", [2])
    child = child_of(parent, tmp_path / "child", "2026-11-22T10:00:00.000+00:00")
    run = RunDirectory(parent).info().id
    assert find_run(run, parent, child) == parent
    moved = parent.rename(tmp_path / "moved")
    shutil.copytree(child, parent)  # another run lies where it was
    assert find_run(run, parent, child) == moved
    shutil.rmtree(moved)
    assert find_run(run, parent, child) is None
    assert history(child).missing.path == str(parent)


def test_runs_that_descend_from_each_other_end_somewhere(tmp_path):
    parent = written(tmp_path / "parent", [2])
    child = child_of(parent, tmp_path / "child", "2026-11-22T10:00:00.000+00:00")
    info = json.loads((parent / "run.json").read_text())
    back = {"run": RunDirectory(child).info().id, "epoch": 2, "digest": "", "path": str(child)}
    (parent / "run.json").write_text(json.dumps(info | {"parent": back}))
    assert history(child).missing is not None


@pytest.mark.parametrize("mode", ["all", "none"])
@pytest.mark.parametrize("changes", [{}, {"counters/seed": 7}])
def test_every_fork_is_an_event_and_its_parent_is_not_touched(tmp_path, mode, changes):
    parent = written(tmp_path / "parent", [2])
    before = {path: path.read_bytes() for path in parent.rglob("*") if path.is_file()}
    manifest = SnapshotStore(parent).read().manifest
    info = msgspec.structs.replace(INFO, id="c" * 16, parent=parent_of(manifest, parent))
    child = tmp_path / "child"
    opened(child, mode, info=info, begins_with=Beginning(parent, manifest, changes)).close()
    (event,) = events_named(child, "fork")
    assert (event["epoch"], event["parent"]["run"], event["reseeded"]) == (2, INFO.id, bool(changes))
    assert {path: path.read_bytes() for path in parent.rglob("*") if path.is_file()} == before
    add(child, begun("resume", 3, 10))
    assert history(child).stretches == (Stretch(3, 10, child, reseeded=bool(changes)),)


def test_no_run(tmp_path):
    with pytest.raises(NoSnapshotError, match="There is no run"):
        history(tmp_path)
