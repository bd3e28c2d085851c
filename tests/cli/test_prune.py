import json

import pytest

from garage.storage.disk import Disk
from garage.storage.lock import WriterLock


def test_it_says_what_it_did(trained):
    dry = trained("prune", trained.run_path, "--keep", "first", "--dry-run").stdout
    assert "Would forget snapshots of epochs: 1-2; kept: 0, 3." in dry
    assert "is whole: snapshots of epochs 0, 1, 2, 3;" in trained("verify", trained.run_path).stdout
    done = trained("prune", trained.run_path, "--keep", "first").stdout
    assert "Forgot snapshots of epochs: 1-2; kept: 0, 3." in done
    assert dry.splitlines()[-1].rpartition(" ")[2] == done.splitlines()[-1].rpartition(" ")[2]
    assert "is whole: snapshots of epochs 0, 3;" in trained("verify", trained.run_path).stdout


def test_json(trained):
    dry = json.loads(trained("prune", trained.run_path, "--keep=last,gap:2", "--dry-run", "--json").stdout)
    said = json.loads(trained("prune", trained.run_path, "--keep", "last", "--keep", "gap:2", "--json").stdout)
    assert said == {**dry, "dry_run": False}
    assert (said["kept"], said["forgotten"], said["problems"]) == ([0, 2, 3], [1], [])
    assert said["bytes_freed"] > 0


def test_without_keep_nothing_is_forgotten(trained):
    assert "Forgot snapshots of epochs: none; kept: 0-3." in trained("prune", trained.run_path).stdout


def test_the_run_goes_on_to_the_same_numbers(trained, six_digests):
    trained("prune", trained.run_path, "--keep", "last")
    trained("resume", trained.run_path, "--n-epochs", 6)
    assert trained.digests() == six_digests
    assert json.loads(trained("ls", "--json").stdout)[0]["state"] == "finished"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--keep", "soon"], 2, "Cannot keep 'soon': expected all, last, first, best, an epoch such as 17"),
        (["--keep", "last,"], 2, "Cannot keep ''"),
        (["--keep", "9"], 3, "There is no snapshot of epoch 9"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_changes(trained, words, code, message):
    before = trained.files()
    assert message in trained("prune", trained.run_path, *words, code=code).stderr
    assert trained.files() == before


def test_a_run_in_use_is_left_alone(trained):
    before = trained.files()
    with WriterLock(trained.run_path / "lock", Disk()):
        assert "is in use" in trained("prune", trained.run_path, "--keep", "last", code=5).stderr
    assert trained.files() == before
