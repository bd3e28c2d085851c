import json
import re
import shutil
import subprocess
import sys
from datetime import datetime

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from garage.storage.store import SnapshotStore
from recording.watching_tensorboard import Watcher

LOADED = """
import sys
from garage.cli.main import garage
garage(sys.argv[1:], standalone_mode=False)
loaded = {name.partition(".")[0] for name in sys.modules}
print(*sorted(loaded & {"torch", "tensorflow", "cloudpickle", "sample"}), file=sys.stderr)
"""


def test_npz(trained):
    assert "Wrote 20 values of epoch 3 to sample@3.npz." in trained("export", trained.run_path, "--to", "npz").stdout
    state = SnapshotStore(trained.run_path).read().state
    with np.load(trained.folder / "sample@3.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["algo/policy/theta"], state["algo"]["policy"]["theta"])
        assert file["counters/epoch"] == 3
        assert file["counters/total_env_steps"] == state["counters"]["total_env_steps"]


def test_safetensors(trained):
    file = trained.folder / "out" / "values.safetensors"
    trained("export", f"{trained.run_path}@1", "--to", "safetensors", "-o", file, "--only", "algo")
    state = SnapshotStore(trained.run_path).read(1).state
    tensors = load_file(file)
    assert set(tensors) == {"algo/policy/theta", "algo/baseline/coefficients"}
    np.testing.assert_array_equal(tensors["algo/policy/theta"], state["algo"]["policy"]["theta"])


def test_stored_episodes_only_when_asked_for(trained):
    trained("resume", trained.run_path, "--n-epochs", 5)
    message = trained("export", trained.run_path, "--to", "npz", "--only", "episodes", code=2).stderr
    assert "has nothing at or below 'episodes'" in message


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--to", "npz", "--only", "algo/pol"], 2, "There is: algo/baseline, algo/policy,"),
        (["--to", "npz", "-o", "."], 2, "it is a directory"),
        (["--to", "pickle"], 2, "'pickle' is not one of"),
        ([], 2, "Missing option '--to'"),
    ],
)
def test_what_cannot_be_is_refused(trained, words, code, message):
    assert message in trained("export", trained.run_path, *words, code=code).stderr
    assert not list(trained.folder.glob("*.npz"))


@pytest.mark.parametrize("kind", ["npz", "csv", "tensorboard"])
def test_a_place_that_cannot_be_written_is_said_without_talk_of_the_run(trained, kind):
    (trained.folder / "file").write_text("")
    refusal = trained("export", trained.run_path, "--to", kind, "-o", "file/out", code=1).stderr
    assert re.search(r"Cannot write file/out: .+\. Nothing was exported; give another place with -o\.", refusal)
    assert "snapshot" not in refusal


def test_what_is_no_run_is_refused(garage):
    assert "there is no such directory" in garage("export", "nowhere", "--to", "npz", code=3).stderr
    assert "There is no run in nowhere" in garage("export", "nowhere", "--to", "csv", code=3).stderr


def test_metrics_to_csv_are_those_of_the_table(trained):
    assert "Wrote the metrics of 4 epochs to sample.csv." in trained("export", trained.run_path, "--to", "csv").stdout
    assert (trained.folder / "sample.csv").read_bytes() == (trained.run_path / "progress.csv").read_bytes()


def test_metrics_to_parquet(trained):
    trained("export", trained.run_path, "--to", "parquet", "-o", "deep/m.parquet")
    frame = pd.read_parquet(trained.folder / "deep" / "m.parquet")
    expected = pd.read_csv(trained.run_path / "progress.csv")
    pd.testing.assert_frame_equal(frame, expected, check_exact=True)


def test_metrics_up_to_an_epoch_and_some_of_them(trained):
    trained("export", f"{trained.run_path}@1", "--to", "csv", "--only", "Evaluation/MaxReturn", "-o", "m.csv")
    lines = (trained.folder / "m.csv").read_text().splitlines()
    assert lines[0] == "epoch,TotalEnvSteps,Evaluation/MaxReturn"
    assert len(lines) == 3
    trained("export", f"{trained.run_path}@first", "--to", "csv", "--only", "policy", "-o", "m.csv")
    assert len((trained.folder / "m.csv").read_text().splitlines()) == 2


def test_metrics_to_events(trained):
    for words in ([], ["--only", "Evaluation"]):
        shutil.rmtree(trained.folder / "sample-tensorboard", ignore_errors=True)
        assert "to sample-tensorboard." in trained("export", trained.run_path, "--to", "tensorboard", *words).stdout
        rows = [json.loads(line) for line in (trained.run_path / "metrics.jsonl").read_text().splitlines()]
        watcher = Watcher(trained.folder / "sample-tensorboard")
        expected = [(row["TotalEnvSteps"], np.float32(row["Evaluation/AverageReturn"])) for row in rows]
        assert watcher.points("Evaluation/AverageReturn") == expected
    assert "policy/KL" not in watcher.look()


def test_events_have_the_times_of_the_snapshots(trained):
    trained("export", trained.run_path, "--to", "tensorboard")
    found = Watcher(trained.folder / "sample-tensorboard").look()["Evaluation/AverageReturn"]
    events = [json.loads(line) for line in (trained.run_path / "events.jsonl").read_text().splitlines()]
    saved = [datetime.fromisoformat(event["at"]).timestamp() for event in events if event["event"] == "snapshot"]
    assert [at for _, _, at in found] == saved


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "csv", "--only", "Evaluate"], "No metric of data/local/experiment/sample is named 'Evaluate'"),
        (["--to", "csv", "-o", "code"], "it is a directory"),
        (["--to", "tensorboard", "-o", "code/sample.py"], "it is a file"),
    ],
)
def test_metrics_that_cannot_be_written(trained, words, message):
    run = trained.run_path.relative_to(trained.folder)
    assert message in trained("export", run, *words, code=2).stderr


def test_a_run_without_metrics(trained):
    (trained.run_path / "metrics.jsonl").unlink()
    assert "There are no metrics in" in trained("export", trained.run_path, "--to", "csv", code=2).stderr


@pytest.mark.parametrize(
    "words",
    [
        ["export", "{run}", "--to", "npz"],
        ["export", "{run}", "--to", "csv"],
        ["export", "{run}", "--to", "tensorboard"],
        ["plot", "{run}"],
        ["show", "{run}"],
        ["prune", "{run}", "--keep", "last"],
        ["du"],
    ],
)
def test_nothing_of_the_experiment_is_loaded(trained, words):
    words = [word.format(run=trained.run_path) for word in words]
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *words], cwd=trained.folder, capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == ""
