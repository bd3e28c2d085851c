"""``--portable``, and the proof that it holds: an emulator of other CPUs."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from experiment.test_portable import needs_v3
from garage.experiment import portable

QEMU = shutil.which("qemu-x86_64")


def started(garage, *words):
    """A command in a process of its own from its start, for it starts itself again."""
    command = [sys.executable, "-m", "garage.cli.main", *map(str, words)]
    done = subprocess.run(command, cwd=garage.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def manifest(garage, epoch):
    """Of a snapshot."""
    return json.loads((garage.run_path / "snapshots" / f"{epoch:06}.json").read_text())


@needs_v3
def test_a_portable_run_says_so_and_is_resumed_in_its_mode(garage):
    started(garage, "run", "--portable", "code/sample.py", "--n-epochs", 1)
    recorded = manifest(garage, 0)["fingerprint"]
    assert recorded["portable"] is True
    assert recorded["pinned"] == portable.settings()
    assert any("Haswell" in blas for blas in recorded["blas"])
    plain = shutil.copytree(garage.run_path, garage.run_path.with_name("plain"))
    said = started(garage, "resume", garage.run_path, "--n-epochs", 2)
    assert "portable mode" not in said
    assert manifest(garage, 1)["fingerprint"] == recorded
    assert "Equal: 2 epochs have the digests that were recorded." in started(garage, "replay", garage.run_path)
    said = started(garage, "resume", plain, "--n-epochs", 2, "--no-portable")
    assert "portable mode: on when saved, off now" in said


@needs_v3
def test_a_run_can_be_made_portable(garage):
    started(garage, "run", "code/sample.py", "--n-epochs", 1)
    assert "portable" not in manifest(garage, 0)["fingerprint"]
    said = started(garage, "resume", garage.run_path, "--n-epochs", 2, "--portable")
    assert "portable mode: off when saved, on now" in said
    assert manifest(garage, 1)["fingerprint"]["portable"] is True


EXPERIMENT = """
from garage import wrap_experiment
from garage.algos import TRPO
from garage.baselines import LinearFeatureBaseline
from garage.envs import GymEnv
from garage.experiment import Trainer
from garage.experiment.deterministic import set_seed
from garage.{port}.policies import CategoricalMLPPolicy


@wrap_experiment(archive_launch_repo=False)
def sample(ctxt=None):
    set_seed(1)
    trainer = Trainer(ctxt)
    env = GymEnv("CartPole-v1")
    policy = CategoricalMLPPolicy(env_spec=env.spec, hidden_sizes=(32, 32))
    trainer.setup(TRPO(env=env, policy=policy, baseline=LinearFeatureBaseline(env_spec=env.spec)), env)
    trainer.train(n_epochs=2, batch_size=500)
"""


@pytest.mark.long
@pytest.mark.timeout(1800)
@needs_v3
@pytest.mark.skipif(QEMU is None, reason="qemu-x86_64 is not installed (Debian's package qemu-user)")
@pytest.mark.parametrize("port", ["np", "torch"])
def test_other_cpus_come_to_the_same_digests(garage, port, tmp_path):
    """Three CPUs without AVX-512, of both makers and with other caches, and this one."""
    if port == "torch":
        pytest.importorskip("torch")
    (garage.folder / "code" / "sample.py").write_text(EXPERIMENT.format(port=port))
    started(garage, "run", "--portable", "code/sample.py")
    here = garage.digests()
    assert len(here) == 2
    for cpu in ("Haswell", "EPYC", "max"):
        shutil.rmtree(garage.run_path)
        # Set beforehand: the emulator would hand the new process to the real CPU.
        subprocess.run(
            [QEMU, "-cpu", cpu, sys.executable, "-m", "garage.cli.main", "run", "--portable", "code/sample.py"],
            cwd=garage.folder,
            env=os.environ | portable.settings(),
            check=True,
            capture_output=True,
        )
        assert garage.digests() == here, cpu
