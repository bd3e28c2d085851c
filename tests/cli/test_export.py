import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from garage.storage.store import SnapshotStore

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


def test_what_is_no_run_is_refused(garage):
    assert "there is no such directory" in garage("export", "nowhere", "--to", "npz", code=3).stderr


@pytest.mark.parametrize(
    "words",
    [
        ["export", "{run}", "--to", "npz"],
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
