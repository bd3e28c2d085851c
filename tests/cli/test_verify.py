import json
import shutil

from garage.storage.store import SnapshotStore


def test_a_whole_run(trained):
    assert "is whole: snapshots of epochs 0, 1, 2, 3;" in trained("verify", trained.run_path).stdout
    said = json.loads(trained("verify", trained.run_path, "--json").stdout)
    signers = dict.fromkeys("0123", "this key")
    path = str(trained.run_path)
    assert said == {"path": path, "whole": True, "epochs": [0, 1, 2, 3], "problems": [], "signers": signers}


def flip_a_bit(trained):
    manifest = json.loads((trained.run_path / "snapshots" / "000002.json").read_text())
    name = manifest["chunks"][0]["pack"]
    pack = trained.run_path / "packs" / name[:2] / name[2:]
    data = bytearray(pack.read_bytes())
    data[100] ^= 1
    pack.write_bytes(bytes(data))
    return pack


def test_a_flipped_bit_is_one_line(trained):
    pack = flip_a_bit(trained)
    done = trained("verify", trained.run_path, code=3)
    (line,) = done.stdout.splitlines()
    values, reason = line.split(": the chunk ")
    assert values.startswith("epoch 2: Cannot read ")
    assert "`algo/policy/theta`" in values or " more" in values
    assert f" values, `{values.split('`')[1]}`, `" in values
    assert reason.endswith(f" of {pack} is not as written.")
    assert "the values of epochs 0-1, 3 read whole and can be restored. Problems: 1." in done.stderr
    said = json.loads(trained("verify", trained.run_path, "--json", code=3).stdout)
    assert (said["whole"], said["epochs"], said["problems"]) == (False, [0, 1, 3], [line])


def test_a_missing_pack_is_one_line_and_every_value_is_known(trained):
    pack = flip_a_bit(trained)
    pack.unlink()
    (line,) = trained("verify", trained.run_path, code=3).stdout.splitlines()
    assert line.count(str(pack)) == 1
    problems = SnapshotStore(trained.run_path).problems()
    assert {(problem.epoch, problem.pack) for problem in problems} == {(2, pack.parent.name + pack.name)}
    assert "algo/policy/theta" in {problem.leaf for problem in problems}
    assert f"Cannot read {len(problems)} values, " in line


def test_values_can_be_restored_without_recipe_and_rows(trained):
    (trained.run_path / "recipe").unlink()
    (trained.run_path / "metrics.jsonl").write_text("")
    done = trained("verify", trained.run_path, code=3)
    assert len(done.stdout.splitlines()) == 8
    assert "the values of epochs 0-3 read whole and can be restored. Problems: 8." in done.stderr


def test_without_any_pack_nothing_can_be_restored(trained):
    shutil.rmtree(trained.run_path / "packs")
    done = trained("verify", trained.run_path, code=3)
    assert len(done.stdout.splitlines()) == 4
    assert "is damaged; the values of no epoch read whole, so a copy of the directory is needed. Prob" in done.stderr


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
