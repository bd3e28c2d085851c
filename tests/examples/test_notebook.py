"""The notebook runs in a kernel, and a cell that is stopped while it trains loses nothing."""

import json
import re
from contextlib import contextmanager

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient

from examples.scripts import EXAMPLES, RUNS

NOTEBOOK = EXAMPLES / "jupyter" / "trpo_gym_tf_cartpole.ipynb"
SECONDS = 120
"""To wait for a cell at most."""

TRAINING = """
def train(ctxt=None, n_epochs=100_000):
    set_seed(1)
    with TFTrainer(ctxt) as trainer:
        env = GymEnv("CartPole-v1")
        policy = CategoricalMLPPolicy(env_spec=env.spec, hidden_sizes=(8,))
        trainer.setup(TRPO(env=env, policy=policy, baseline=LinearFeatureBaseline(env_spec=env.spec)), env)
        trainer.train(n_epochs=n_epochs, batch_size=200)


wrap_experiment(train, name="interrupted")()
"""
RESUMING = """
with TFTrainer() as trainer:
    print("start epoch:", trainer.restore("data/local/experiment/interrupted").start_epoch)
    trainer.resume(n_epochs={n_epochs})

wrap_experiment(train, name="undisturbed")(n_epochs={n_epochs})
"""


@pytest.fixture(autouse=True)
def jupyters_folders(monkeypatch, tmp_path):
    """What Jupyter writes for its user goes to the folder of the test, and warnings in kernels are errors."""
    for variable in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        folder = tmp_path / "jupyter" / variable.lower()
        folder.mkdir(parents=True)
        monkeypatch.setenv(variable, str(folder))
    monkeypatch.setenv("PYTHONWARNINGS", "error")


@contextmanager
def kernel(folder):
    """A kernel that runs in ``folder``: its manager and a client."""
    manager, client = start_new_kernel(cwd=str(folder))
    try:
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


class Cell:
    """Runs a cell and keeps what it says.

    Args:
        client: of a kernel.
        code: to run.
        heard: called with everything that it has said so far, whenever there is more.
    """

    def __init__(self, client, code, heard=lambda said: None):
        self.said, self._heard = "", heard
        self.reply = client.execute_interactive(code, output_hook=self._hear, timeout=SECONDS)["content"]

    def _hear(self, message):
        self.said += message["content"].get("text", "")
        self._heard(self.said)


def digests(folder, name):
    lines = (folder / RUNS / name / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["digest"] for line in lines]


def said_by(cell):
    return "".join(output.get("text", "") for output in cell.outputs)


def test_the_notebook_runs_from_top_to_bottom(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": str(tmp_path)}}).execute()
    _, training, tuning, using = (cell for cell in notebook.cells if cell.cell_type == "code")
    assert "epoch #9 | Saved" in said_by(training)
    assert f"Restore from snapshot saved in {RUNS}/trpo_gym_tf_cartpole\n" in said_by(tuning)
    assert "last_epoch           9\n" in said_by(tuning)
    assert "epoch #9 |" not in said_by(tuning)
    assert "epoch #29 | Saved" in said_by(tuning)
    returns = [float(value) for value in re.findall(r"Evaluation/AverageReturn +(\S+)", said_by(tuning))]
    assert len(returns) == 20
    assert max(returns) > 450
    assert re.fullmatch(rf"The policy of {RUNS}/pre_trained_\w+ pushes the cart to the (left|right).\n", said_by(using))


def test_a_stopped_cell_has_saved_its_epoch_and_the_next_one_goes_on(tmp_path):
    imports = "".join(nbformat.read(NOTEBOOK, as_version=4).cells[1].source)
    with kernel(tmp_path) as (manager, client):
        pressed = []

        def press(said):
            if "epoch #2 | Saved" in said and not pressed:
                pressed.append(said)
                manager.interrupt_kernel()

        assert Cell(client, imports).reply["status"] == "ok"
        stopped = Cell(client, TRAINING, press)
        assert (stopped.reply["status"], stopped.reply["ename"]) == ("error", "KeyboardInterrupt")
        (last,) = map(int, re.findall(r"Interrupted after epoch (\d+), which is saved", stopped.said))
        assert f"epoch #{last} | Saved" in stopped.said
        assert f"epoch #{last + 1} |" not in stopped.said
        resumed = Cell(client, RESUMING.format(n_epochs=last + 4))
        assert resumed.reply["status"] == "ok", resumed.reply
    assert f"start epoch: {last + 1}\n" in resumed.said
    assert digests(tmp_path, "interrupted") == digests(tmp_path, "undisturbed")
    assert len(digests(tmp_path, "undisturbed")) == last + 4
