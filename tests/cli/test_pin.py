import json

import pytest


def test_a_pinned_snapshot_is_shown_and_outlives_a_pruning(trained):
    assert "Pinned epoch 1 of" in trained("pin", f"{trained.run_path}@1").stdout
    assert "Pinned epoch 3 of" in trained("pin", trained.run_path).stdout
    assert "  pinned      epochs 1, 3\n" in trained("show", trained.run_path).stdout
    assert "kept: 1, 3." in trained("prune", trained.run_path, "--keep", "last").stdout
    assert "Epoch 1 of" in trained("pin", f"{trained.run_path}@1", "--remove").stdout
    assert json.loads(trained("show", trained.run_path, "--json").stdout)["pinned"] == [3]
    assert "kept: 3." in trained("prune", trained.run_path, "--keep", "last").stdout


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["@9"], 3, "There is no snapshot of epoch 9"),
        (["@1", "--remove"], 2, "Epoch 1 of"),
        (["", "--remove"], 2, "--remove needs the epoch"),
        (["@soon"], 2, "After the @ of RUN@EPOCH comes an epoch"),
    ],
)
def test_what_cannot_be_pinned(trained, words, code, message):
    before = trained.files()
    run, *options = words
    assert message in trained("pin", f"{trained.run_path}{run}", *options, code=code).stderr
    assert trained.files() == before


def test_pins_that_cannot_be_read_are_named(trained):
    (trained.run_path / "pins.json").write_text("[")
    assert "pins.json is damaged" in trained("verify", trained.run_path, code=3).stdout
    assert "pins.json is damaged" in trained("show", trained.run_path).stdout
