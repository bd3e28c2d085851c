import json
import os
import signal
import subprocess

import pytest

from cli.conftest import COMMAND

DIFFERENT = 8
NUDGED = """
        metrics = super().epoch(collect, streams)
        if streams.path[-1] == 2:
            self.policy.theta = self.policy.theta * 1.5
        return metrics
"""


@pytest.fixture
def own(garage):
    """A run whose code lies where its recipe says."""
    garage("run", "code/sample.py")
    return garage


@pytest.fixture
def change_code(own):
    """Puts other lines in the place of the last one of the algorithm's epoch."""
    source = own.file.read_text()
    last = '        return super().epoch(collect, streams) | {"Sample/Missing": math.nan}\n'
    assert last in source
    return lambda text: own.file.write_text(source.replace(last, text))


def replayed(garage, run, *words, code=0):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    done = garage("replay", run, *words, code=code)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    return done


def test_a_run_is_the_same_again(trained):
    run = trained.run_path
    lines = replayed(trained, run).stdout.splitlines()
    assert lines == [
        f"Replaying epochs 0 to 3 of {run}, from recipe and seed 1.",
        *(f"epoch {epoch}: equal" for epoch in range(4)),
        "Equal: 4 epochs have the digests that were recorded.",
    ]
    assert [path.name for path in trained.folder.iterdir()] == ["code", "data"]


def test_a_fork_of_a_fork_with_another_seed_and_another_batch_size(family):
    found = json.loads(replayed(family, family.run_path.with_name("grandchild"), "--json").stdout)
    assert found["equal"]
    assert found["parted"] is None
    assert [epoch["equal"] for epoch in found["epochs"]] == [True] * 6


def test_a_rewound_run_from_an_epoch(family):
    lines = replayed(family, family.run_path, "--from", "0", "--epochs", 3).stdout.splitlines()
    assert lines[0].endswith(", from epoch 0.")
    assert [line for line in lines if line.startswith("epoch")] == [f"epoch {epoch}: equal" for epoch in (1, 2, 3)]


def test_a_planted_change_is_named(own, change_code):
    change_code(NUDGED)
    done = replayed(own, own.run_path, code=DIFFERENT)
    lines = done.stdout.splitlines()
    noted = "equal (metrics: Sample/Missing not as recorded)"
    assert lines[1].endswith("the objects are not those that the run was trained with: algo: its code has changed")
    assert lines[2:5] == [f"epoch 0: {noted}", f"epoch 1: {noted}", "epoch 2: different"]
    assert lines[5] == "Different from epoch 2 on, first in `algo/policy`:"
    assert lines[6].startswith("  `algo/policy/theta` <f4[58]: 58 of its numbers differ, by at most 0.")
    assert lines[7] == "  Leaves that differ: 1."
    found = json.loads(replayed(own, own.run_path, "--from", 1, "--json", code=DIFFERENT).stdout)
    assert not found["equal"]
    assert found["parted"]["epoch"] == found["parted"]["seen_in"] == 2
    assert found["parted"]["first"]["path"] == "algo/policy/theta"


def test_what_a_users_code_raises_and_prints_goes_to_the_standard_error(own, change_code):
    change_code('        print("so far")\n        raise EOFError("the user\'s own")\n')
    done = replayed(own, own.run_path, code=1)
    assert "so far" not in done.stdout
    for words in ("so far", "EOFError: the user's own", "its process exited with 1"):
        assert words in done.stderr


def test_a_folder_to_work_in(own, change_code):
    change_code('        open("notes.txt").close()\n        return super().epoch(collect, streams)\n')
    (own.folder / "notes.txt").touch()
    assert "FileNotFoundError" in replayed(own, own.run_path, code=1).stderr
    replayed(own, own.run_path, "--folder", own.folder, "--epochs", 1)


def test_errors_keep_their_exit_codes(trained, monkeypatch):
    assert "none of first, last, best" in replayed(trained, trained.run_path, "--from", "soon", code=2).stderr
    assert "There is nothing to replay" in replayed(trained, trained.run_path, "--from", "last", code=4).stderr
    monkeypatch.setenv("GARAGE_SIGNING_KEY", "00" * 32)
    assert "garage trust" in replayed(trained, trained.run_path, code=6).stderr


def test_ctrl_c_ends_it_and_its_process(own, change_code):
    change_code("        import os\n        print(os.getpid(), flush=True)\n        time.sleep(600)\n")
    process = subprocess.Popen(
        [*COMMAND, "replay", str(own.run_path)],
        cwd=own.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    child = int(process.stderr.readline())
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=60)[1] == "Interrupted.\n"
    assert process.returncode == 130
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
