import json
import shutil
import tarfile

import numpy as np
import pytest

from garage.storage.run_directory import RunDirectory
from garage.storage.store import SnapshotStore


@pytest.fixture
def twins(trained):
    """Two runs that only their names tell apart."""
    shutil.copytree(trained.run_path, trained.run_path.with_name("twin"))
    trained.twin = trained.run_path.with_name("twin")
    return trained


def found(garage, a, b, code=1):
    return json.loads(garage("diff", a, b, "--json", code=code).stdout)


def test_equal_runs(twins):
    printed = twins("diff", twins.run_path, twins.twin).stdout
    assert printed.splitlines()[:4] == [
        f"A: {twins.run_path}, epoch 3", f"B: {twins.twin}, epoch 3", "They are equal.",
        "  digests      equal in 4 common epochs",
    ]  # fmt: skip
    both = found(twins, twins.run_path, twins.twin, code=0)
    assert both["equal"]
    assert both["parted"] is None
    assert both["state"]["leaves"] == []


def test_a_fork_with_another_seed(family):
    both = found(family, family.run_path, family.run_path.with_name("tuned"))
    assert both["seed"] == [1, 7]
    assert both["arguments"] == {"seed": [1, 7]}
    assert both["metrics"]["epoch"] == 2
    assert both["metrics"]["only_b"] == [5]
    assert "algo/policy/theta" in both["state"]["leaves"]
    assert both["parted"] is None  # they are not of one seed
    assert both["versions"] == both["packages"] == both["environment"] == {}


def test_one_seed_and_another_batch_size_part_where_that_began(trained):
    trained("fork", f"{trained.run_path}@1", "other")
    other = trained.run_path.with_name("other")
    trained("resume", other, "--batch-size", 300)
    both = found(trained, trained.run_path, other)
    assert both["parted"]["epoch"] == 2
    assert both["parted"]["state"]["first"]["component"] == "algo/baseline"
    printed = trained("diff", trained.run_path, other, code=1).stdout
    assert "they part    at epoch 2, in `algo/baseline`: `algo/baseline/coefficients` <f8[12]: 12 of" in printed
    for epoch in (2, 3):
        RunDirectory(other).manifest_path(epoch).unlink()
    assert "at epoch 2; there is no snapshot of both" in trained("diff", trained.run_path, other, code=1).stdout


def without_snapshots(path, *epochs):
    for epoch in epochs:
        RunDirectory(path).manifest_path(epoch).unlink()


def test_runs_of_other_lengths_are_compared_epoch_by_epoch(trained):
    other = trained.run_path.with_name("longer")
    trained("fork", f"{trained.run_path}@2", "longer")
    trained("resume", other, "--n-epochs", 5)
    without_snapshots(other, 2, 3)
    printed = trained("diff", trained.run_path, other, code=1).stdout.splitlines()
    assert printed[:3] == [
        f"A: {trained.run_path}, snapshots of epochs 0-3", f"B: {other}, snapshots of epochs 4",
        "  digests      equal in 4 common epochs",
    ]  # fmt: skip
    assert "  state        not compared: there is no epoch that both have a snapshot of" in "\n".join(printed)
    both = found(trained, trained.run_path, other)
    assert both["digests"] == {"n_common": 4, "epoch": None, "n_before": 4}
    assert (both["state"], both["parted"], both["metrics"]["only_b"]) == (None, None, [4])
    assert found(trained, f"{trained.run_path}@3", f"{other}@4")["state"]["leaves"]
    assert found(trained, f"{trained.run_path}@3", other)["state"] is None
    assert "leaves differ between epoch 3 of A and 4 of B" in (
        trained("diff", f"{trained.run_path}@3", f"{other}@last", code=1).stdout
    )


def test_one_epoch_that_is_named_is_compared_with_the_same_of_the_other_run(twins):
    both = found(twins, f"{twins.run_path}@1", twins.twin, code=0)
    assert (both["state"]["a"], both["state"]["b"], both["state"]["leaves"]) == (1, 1, [])
    assert found(twins, f"{twins.run_path}@1", twins.run_path)["state"]["b"] == 3


def test_what_a_fork_that_has_not_begun_has_not_recorded_is_not_compared(trained):
    trained("fork", trained.run_path, "copy")
    copy = trained.run_path.with_name("copy")
    both = found(trained, trained.run_path, copy, code=0)
    assert both["packages"] == both["environment"] == both["versions"] == {}
    assert both["not_recorded"] == {"packages": ["B"], "environment": ["B"]}
    printed = trained("diff", copy, trained.run_path).stdout
    assert "  packages     not compared: not recorded in A\n" in printed


def test_how_far_apart_two_epochs_are(trained):
    first = found(trained, f"{trained.run_path}@1", f"{trained.run_path}@last")["state"]["first"]
    theta = [SnapshotStore(trained.run_path).read(epoch).state["algo"]["baseline"]["coefficients"] for epoch in (1, 3)]
    assert first["path"] == "algo/baseline/coefficients"
    assert first["distance"] == np.abs(theta[0] - theta[1]).max()
    assert first["n_unequal"] == np.count_nonzero(theta[0] != theta[1])


def test_what_was_recorded_of_packages_code_and_environment(twins):
    for path, version, folder in ((twins.run_path, "1.0", "a"), (twins.twin, "2.0", "b")):
        file = path / "provenance.json"
        provenance = json.loads(file.read_text())
        provenance["packages"].append(f"wheel-of-theirs=={version}")
        provenance["environment"] = {"description": f"<World {version}>"}
        provenance["git"] = {"commit": "c0ffee", "diff": folder}
        file.write_text(json.dumps(provenance))
    both = found(twins, twins.run_path, twins.twin)
    assert both["packages"] == {"wheel-of-theirs": ["1.0", "2.0"]}
    assert both["environment"] == {"description": ["<World 1.0>", "<World 2.0>"]}
    assert both["code"] == {"compared": "git", "differs": {"diff": ["a", "b"]}, "problem": None}
    printed = twins("diff", twins.run_path, twins.twin, code=1).stdout
    assert "packages     wheel-of-theirs: 1.0 in A, 2.0 in B" in printed
    assert "code         git diff: a in A, b in B" in printed


def test_launch_archives_are_compared_file_by_file(twins):
    for path, names in ((twins.run_path, ["same", "mine", "changed"]), (twins.twin, ["same", "theirs", "changed"])):
        with tarfile.open(path / "launch_archive.tar.xz", "w:xz") as archive:
            for name in names:
                text = twins.folder / "text"
                text.write_text("x" if name == "same" else str(path))
                archive.add(text, arcname=name)
    both = found(twins, twins.run_path, twins.twin)
    assert both["code"]["compared"] == "launch archive"
    assert both["code"]["differs"].keys() == {"mine", "theirs", "changed"}
    printed = twins("diff", twins.run_path, twins.twin, code=1).stdout
    for words in ("in A only: mine", "in B only: theirs", "differ: changed"):
        assert f"code         {words}\n" in printed
    (twins.twin / "launch_archive.tar.xz").write_bytes(b"no archive")
    assert "code         not compared: Cannot read" in twins("diff", twins.run_path, twins.twin).stdout


def test_a_run_without_a_snapshot_has_rows_to_compare(twins):
    shutil.rmtree(twins.twin / "snapshots")
    printed = twins("diff", twins.run_path, twins.twin).stdout
    assert "not compared: there is no snapshot of both" in printed


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["nowhere", "{run}"], 3, "There is no run in nowhere"),
        (["{run}@17", "{run}"], 3, "There is no snapshot of epoch 17"),
        (["{run}@soon", "{run}"], 2, "After the @ of RUN@EPOCH comes an epoch"),
    ],
)
def test_what_cannot_be_compared(trained, words, code, message):
    assert message in trained("diff", *(word.format(run=trained.run_path) for word in words), code=code).stderr
