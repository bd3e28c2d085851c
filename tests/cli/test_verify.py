import json
import shutil


def test_a_whole_run(trained):
    assert "is whole: snapshots of epochs 0, 1, 2, 3;" in trained("verify", trained.run_path).stdout
    said = json.loads(trained("verify", trained.run_path, "--json").stdout)
    signers = dict.fromkeys("0123", "this key")
    path = str(trained.run_path)
    assert said == {"path": path, "whole": True, "epochs": [0, 1, 2, 3], "problems": [], "signers": signers}


def test_a_flipped_bit_is_named_by_its_leaf(trained):
    manifest = json.loads((trained.run_path / "snapshots" / "000002.json").read_text())
    name = manifest["chunks"][0]["pack"]
    pack = trained.run_path / "packs" / name[:2] / name[2:]
    data = bytearray(pack.read_bytes())
    data[100] ^= 1
    pack.write_bytes(bytes(data))
    lines = trained("verify", trained.run_path, code=3).stdout.splitlines()
    assert any(line.startswith("epoch 2: Cannot read `algo/policy/theta`: ") for line in lines)
    said = json.loads(trained("verify", trained.run_path, "--json", code=3).stdout)
    assert said["whole"] is False
    assert said["problems"] == lines


def test_every_kind_of_damage_is_a_line(trained):
    path = trained.run_path
    shutil.rmtree(path / "packs")
    (path / "recipe").unlink()
    (path / "run.json").write_text("{")
    (path / "metrics.jsonl").write_text("")
    (path / "lock").write_text("no lock")
    (path / "snapshots" / "000000.json").write_text("{}")
    lines = trained("verify", path, code=3).stdout.splitlines()
    for words in (
        "000000.json is damaged",
        "cannot read the pack",
        "the recipe",
        "run.json is damaged",
        "metrics.jsonl",
    ):
        assert any(words in line for line in lines), words


def test_a_run_without_snapshots_is_not_whole(trained):
    shutil.rmtree(trained.run_path / "snapshots")
    assert "has no snapshot" in trained("verify", trained.run_path, code=3).stdout
    assert json.loads(trained("verify", trained.run_path, "--json", code=3).stdout)["whole"] is False
