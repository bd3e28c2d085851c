"""The scripts of the page on clusters, with stand-ins for the two commands of Slurm."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.pages import ROOT

TEXT = (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")

EXPERIMENT = """
import os
import signal

from garage import wrap_experiment
from garage.algos import TRPO
from garage.baselines import ZeroBaseline
from garage.envs import GymEnv
from garage.experiment import Trainer
from garage.experiment.deterministic import set_seed
from garage.np.policies import CategoricalMLPPolicy


class UntilTimeIsUp(TRPO):
    def epoch(self, collect, streams):
        if streams.path[-1] == int(os.environ.get("TIME_IS_UP_IN", "-1")):
            os.kill(os.getpid(), signal.SIGUSR1)
        return super().epoch(collect, streams)


@wrap_experiment(archive_launch_repo=False)
def experiment(ctxt=None, seed=0):
    set_seed(seed)
    trainer = Trainer(ctxt)
    env = GymEnv("CartPole-v1")
    policy = CategoricalMLPPolicy(env.spec, hidden_sizes=(4,))
    trainer.setup(UntilTimeIsUp(env=env, policy=policy, baseline=ZeroBaseline(env.spec)), env)
    trainer.train(n_epochs=4, batch_size=60)
"""
STAND_INS = {
    "srun": 'exec "$@"',
    "scontrol": 'echo "$@" >> requeued',
    "garage": f'exec {sys.executable} -W error -m garage.cli.main "$@"',
}


def block(language):
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    return found


@pytest.fixture
def sbatch(tmp_path, monkeypatch):
    """Runs the page's script as a batch system would; returns its exit code."""
    monkeypatch.chdir(tmp_path)
    Path("experiment.py").write_text(EXPERIMENT, encoding="utf-8")
    Path("job.sh").write_text(block("bash"), encoding="utf-8")
    Path("job.sh").chmod(0o755)
    Path("bin").mkdir()
    for name, text in STAND_INS.items():
        path = Path("bin", name)
        path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        path.chmod(0o755)

    def submit(**environment):
        path = os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]])
        done = subprocess.run(
            [str(tmp_path / "job.sh")],
            env=os.environ | {"PATH": path, "SLURM_JOB_ID": "17"} | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stdout + done.stderr
        return done.returncode

    return submit


def test_the_job_is_put_back_until_it_has_finished(sbatch):
    assert sbatch(TIME_IS_UP_IN="0") == 75
    assert sbatch(TIME_IS_UP_IN="2") == 75
    assert Path("requeued").read_text() == "requeue 17\n" * 2
    assert sbatch() == 0
    assert sbatch() == 0
    assert Path("requeued").read_text() == "requeue 17\n" * 2
    (run,) = Path("data/local/experiment").iterdir()
    events = [json.loads(line)["event"] for line in (run / "events.jsonl").read_text().splitlines()]
    assert [event for event in events if event != "snapshot"] == ["start", "preempted"] * 2 + ["resume", "finished"]


def test_codes_of_the_page_are_those_of_the_command():
    listed = subprocess.run(
        [sys.executable, "-m", "garage.cli.main", "--help"], capture_output=True, text=True, check=True
    ).stdout
    codes = set(re.findall(r"^ +(\d+)  +\S", listed, re.MULTILINE))
    named = re.findall(r"values: \[(.*)\]|RestartPreventExitStatus=(.*)", TEXT)
    used = {code for groups in named for text in groups for code in re.findall(r"\d+", text)}
    assert used == {"75", "2", "3", "5", "6"}
    assert used <= codes
