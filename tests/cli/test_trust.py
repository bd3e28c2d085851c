"""``garage trust``, and what the other commands do with runs that somebody else has signed."""

import json
import shutil

import pytest

from garage.storage import manifest as manifests
from garage.storage.signing_key import VARIABLE, find_key

MINE = "ab" * 32


@pytest.fixture
def theirs(trained, monkeypatch):
    """The command, as another user than the one who trained."""
    monkeypatch.setenv(VARIABLE, MINE)
    return trained


def my_id():
    return find_key().id


def signers(garage):
    return json.loads(garage("verify", garage.run_path, "--json").stdout)["signers"]


def test_it_says_what_the_run_is_signs_it_and_it_can_be_resumed(theirs):
    before, digests = theirs.files(), theirs.digests()
    refused = theirs("resume", theirs.run_path, "--n-epochs", 5, code=6).stderr
    assert f"garage trust {theirs.run_path}" in refused
    assert theirs.files() == before
    printed = theirs("trust", theirs.run_path).stdout
    run = json.loads((theirs.run_path / "run.json").read_text())
    recipe = manifests.read(theirs.run_path / "snapshots" / "000003.json").recipe
    for words in (
        f"{theirs.run_path} says of itself:",
        f"sample, id {run['id']}, created {run['created_at']}",
        "target      sample:sample",
        "arguments   seed=1 n_epochs=4",
        "host        ",
        f"recipe      {recipe[:12]}, ",
        "its own modules: sample (",
        "epoch 3     is signed by the key",
        f"Signed with your key {my_id()}: epochs 0-3.",
    ):
        assert words in printed
    assert printed.count("recipe  ") == 1
    assert signers(theirs) == dict.fromkeys("0123", "this key")
    after = theirs.files()
    changed = {path.name for path in after if after[path] != before.get(path)}
    assert changed == {"events.jsonl", *(f"{epoch:06d}.json" for epoch in range(4))}
    assert before.keys() == after.keys()
    assert theirs.digests() == digests
    theirs("resume", theirs.run_path, "--n-epochs", 5)
    assert "There was nothing to sign" in theirs("trust", theirs.run_path).stdout


def test_resume_with_trust_asks_nobody(theirs):
    theirs("resume", theirs.run_path, "--n-epochs", 5, "--trust")
    assert signers(theirs) == {**dict.fromkeys("0123", "another key"), "4": "this key"}
    refused = theirs("resume", theirs.run_path, "--from", 2, "--rewind", "--n-epochs", 5, code=6).stderr
    assert "epoch 2 of" in refused
    assert signers(theirs)["4"] == "this key"
    theirs("resume", theirs.run_path, "--from", 2, "--rewind", "--n-epochs", 4, "--trust")
    assert signers(theirs)["3"] == "this key"


def test_going_on_by_its_own_script_needs_no_trust(theirs):
    (theirs.run_path / "recipe").write_bytes(b"not a recipe at all")
    theirs("run", "code/sample.py", "--resume", "must", "--n-epochs", 4, code=4)


def test_show_says_who_signed_it(theirs, monkeypatch):
    printed = " ".join(theirs("show", theirs.run_path).stdout.split())
    assert f", and yours is '{my_id()}'; its code does not run before `garage trust`" in printed
    assert json.loads(theirs("show", theirs.run_path, "--json").stdout)["signer"] == "another key"
    theirs("trust", theirs.run_path)
    assert f"signature   is signed by your key {my_id()}\n" in theirs("show", theirs.run_path).stdout
    monkeypatch.setenv(VARIABLE, "/nowhere/key")
    assert "signature   cannot be checked: GARAGE_SIGNING_KEY is set to" in theirs("show", theirs.run_path).stdout


def test_verify_says_who_signed_it(theirs):
    printed = theirs("verify", theirs.run_path).stdout
    assert "Signed by another key: epochs 0-3.\n" in printed
    theirs("resume", theirs.run_path, "--trust", "--n-epochs", 5)
    path = theirs.run_path / "snapshots" / "000002.json"
    manifest = json.loads(path.read_bytes()) | {"signature": None}
    path.write_bytes(manifests.with_checksum(json.dumps(manifest, indent=1).encode()))
    printed = theirs("verify", theirs.run_path).stdout
    assert "Signed by another key: epochs 0-1, 3.\n" in printed
    assert "Signed by your key: epochs 4.\n" in printed
    assert "Not signed: epochs 2.\n" in printed


def test_what_was_altered_is_a_problem(trained):
    path = trained.run_path / "snapshots" / "000002.json"
    path.write_bytes(manifests.with_checksum(path.read_bytes().replace(b'"epoch": 2', b'"epoch":  2', 1)))
    printed = trained("verify", trained.run_path, code=3).stdout
    assert printed == "epoch 2: the manifest has been altered since your key signed it\n"
    assert "has been altered since your key" in trained("resume", trained.run_path, "--from", 2, code=6).stderr


def test_verify_does_without_a_key(theirs, monkeypatch):
    monkeypatch.setenv(VARIABLE, "")
    done = theirs("verify", theirs.run_path)
    assert "is whole" in done.stdout
    assert "Who signed the snapshots cannot be told. GARAGE_SIGNING_KEY is set, but empty." in done.stderr


def test_what_cannot_be_read_is_not_signed(theirs):
    (theirs.run_path / "recipe").write_bytes(b"something else")
    (theirs.run_path / "snapshots" / "000001.json").write_bytes(b"{}")
    done = theirs("trust", theirs.run_path, code=3)
    assert "Epoch 3 is not signed: the recipe" in done.stderr
    assert "000001.json is damaged" in done.stderr
    assert "Signed with" not in done.stdout


def test_a_run_cannot_pretend_to_be_another_by_what_a_terminal_makes_of_it(theirs):
    path = theirs.run_path / "run.json"
    info = json.loads(path.read_text()) | {"name": "\x1b[2K\rmine\nrecipe      harmless", "arguments": {"a": "\u202e"}}
    path.write_text(json.dumps(info))
    for command in ("trust", "show"):
        printed = theirs(command, theirs.run_path).stdout
        assert r"\x1b[2K\rmine\nrecipe      harmless, id" in printed
        assert not set(printed) & {"\x1b", "\r", "\u202e"}


@pytest.mark.parametrize("provenance", [b"", b"[]", b"{", b'{"command": 3, "host": null}', None])
def test_a_run_that_says_little_of_itself(theirs, provenance):
    path = theirs.run_path / "provenance.json"
    path.unlink()
    if provenance is not None:
        path.write_bytes(provenance)
    (theirs.run_path / "run.json").write_bytes(b"{}")
    assert "Signed with your key" in theirs("trust", theirs.run_path).stdout


def test_what_is_no_run_or_has_no_snapshot(garage, theirs):
    assert "There is no run in" in garage("trust", garage.folder, code=3).stderr
    shutil.rmtree(theirs.run_path / "snapshots")
    assert "There was nothing to sign" in theirs("trust", theirs.run_path).stdout


def test_without_a_key_nothing_can_be_signed(theirs, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    before = theirs.files()
    assert "Cannot sign" in theirs("trust", theirs.run_path, code=1).stderr
    assert theirs.files() == before


def test_a_run_that_trains_is_not_signed(garage, monkeypatch):
    running = garage.start("run", "code/sample.py", "--n-epochs", 1000)
    try:
        garage.wait_for("snapshots/000001.json")
        monkeypatch.setenv(VARIABLE, MINE)
        assert "is in use" in garage("trust", garage.run_path, code=5).stderr
    finally:
        running.kill()
        running.communicate()


def test_a_fork_of_what_is_not_ones_own_is_not_ones_own(theirs):
    theirs("fork", theirs.run_path, "forked")
    forked = theirs.run_path.with_name("forked")
    assert "is not signed" in theirs("resume", forked, "--n-epochs", 5, code=6).stderr
    theirs("trust", theirs.run_path)
    theirs("fork", theirs.run_path, "mine")
    theirs("resume", theirs.run_path.with_name("mine"), "--n-epochs", 5)


def test_pruning_ones_own_keeps_it_ones_own(trained):
    trained("prune", trained.run_path, "--keep", "last")
    assert set(signers(trained).values()) == {"this key"}
    trained("resume", trained.run_path, "--n-epochs", 5)
