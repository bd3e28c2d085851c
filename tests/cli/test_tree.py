import json
import shutil

import pytest

from garage.storage.run_directory import RunDirectory


@pytest.fixture
def relatives(family, tmp_path):
    """A copy of the family that can be changed."""
    shutil.copytree(family.folder, tmp_path, dirs_exist_ok=True)
    return type(family)(tmp_path)


def trees(garage, *words):
    return json.loads(garage("tree", *words, "--json").stdout)


def change(path, **fields):
    file = path / "run.json"
    info = json.loads(file.read_text())
    file.write_text(json.dumps(info | fields))


def test_each_run_stands_below_the_one_that_it_went_on_from(family):
    changed = "seed=1 -> 7"
    assert family("tree").stdout.splitlines() == [
        "data/local/experiment/sample  finished, epoch 4, seed 1, resumes: 1, rewinds: 1",
        f"├── from epoch 1: data/local/experiment/tuned  finished, epoch 5, seed 7 (reseeded), {changed}, resumes: 2",
        "│   └── from epoch 5: data/local/experiment/grandchild  finished, epoch 5, seed 7, fails=False -> True",
        "└── from epoch 3: data/local/experiment/sample_1  finished, epoch 4, seed 1, resumes: 1",
    ]


def test_json_says_what_changed_on_each_edge(family):
    (root,) = trees(family)
    tuned, again = root["children"]
    assert (root["parent"], root["changed"], root["reseeded"]) == (None, {}, False)
    assert root["marks"] == {"resumes": 1, "rewinds": 1, "preemptions": 0}
    assert tuned["parent"]["epoch"] == 1
    assert tuned["parent"]["run"] == root["id"]
    assert tuned["changed"] == {"seed": [1, 7]}
    assert tuned["reseeded"]
    assert again["changed"] == {}
    assert not again["reseeded"]
    assert [child["path"] for child in tuned["children"]] == ["data/local/experiment/grandchild"]


def test_the_child_of_another_experiment_lists_what_both_have(relatives):
    path = relatives.run_path.with_name("tuned")
    change(path, target="code:fine_tune", arguments={"seed": 7, "rate": 0.1})
    tuned = trees(relatives)[0]["children"][0]
    assert (tuned["experiment"], tuned["changed"]) == ("fine_tune", {"seed": [1, 7]})
    assert "seed 7 (reseeded), experiment fine_tune, seed=1 -> 7, resumes: 2" in relatives("tree").stdout


def test_preemptions_are_counted(relatives):
    with RunDirectory(relatives.run_path).events_path.open("a") as file:
        file.write('{"event":"preempted","at":"2026-01-01T00:00:00.000+00:00"}\n' * 2)
    assert trees(relatives)[0]["marks"]["preemptions"] == 2
    assert "preemptions: 2" in relatives("tree").stdout


def test_a_missing_parent_is_shown_with_what_its_child_noted_of_it(relatives):
    run = RunDirectory(relatives.run_path).info().id
    shutil.rmtree(relatives.run_path)
    (root,) = trees(relatives)
    assert (root["id"], root["state"]) == (run, "missing")
    assert root["children"][0]["reseeded"]
    assert root["children"][0]["changed"] == {"seed": [None, 7]}
    printed = relatives("tree").stdout
    assert f"sample (missing: run {run})\n" in printed
    assert "seed 7 (reseeded), seed=7" in printed


def test_a_folder_of_the_family_is_a_tree_of_its_own(relatives):
    path = relatives.run_path.with_name("tuned")
    (root,) = trees(relatives, path)
    assert root["state"] == "missing"
    assert [child["path"] for child in root["children"]] == [str(path)]


def test_of_two_copies_of_the_parent_the_one_that_lies_where_it_was_has_the_children(relatives):
    original, copy = relatives.run_path, relatives.run_path.with_name("a_copy")
    for name in ("tuned", "sample_1"):
        parent = RunDirectory(original.with_name(name)).info().parent
        fields = {"run": parent.run, "epoch": parent.epoch, "digest": parent.digest, "path": str(original)}
        change(original.with_name(name), parent=fields)
    shutil.copytree(original, copy)
    n_children = {root["path"]: len(root["children"]) for root in trees(relatives)}
    assert n_children == {"data/local/experiment/a_copy": 0, "data/local/experiment/sample": 2}


def test_parents_that_descend_from_each_other_do_not_hang(relatives):
    tuned = RunDirectory(relatives.run_path.with_name("tuned")).info()
    parent = {"run": tuned.id, "epoch": 0, "digest": "", "path": "elsewhere"}
    change(relatives.run_path, parent=parent)
    found = trees(relatives)
    assert {root["state"] for root in found} == {"missing"}


def test_a_run_that_cannot_be_read_stands_alone(relatives):
    relatives.run_path.with_name("grandchild").joinpath("run.json").write_text("{")
    assert "data/local/experiment/grandchild  damaged" in relatives("tree").stdout


def test_no_runs(garage):
    assert "There are no runs below" in garage("tree").stderr
    assert "There is no directory nowhere" in garage("tree", "nowhere", code=2).stderr
