"""The command as a process, and a run to look at."""

import functools
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from storage.children import Parent

COMMAND = [sys.executable, "-W", "error", "-m", "garage.cli.main"]

SAMPLE = '''
import math
import time

from garage import wrap_experiment
from garage.algos import TRPO
from garage.baselines import LinearFeatureBaseline
from garage.envs import GymEnv
from garage.experiment import Trainer
from garage.experiment.deterministic import set_seed
from garage.np.policies import CategoricalMLPPolicy


class Slow(TRPO):
    """Of a class that lives in this file, and in no package."""

    def epoch(self, collect, streams):
        time.sleep(0.02)
        return super().epoch(collect, streams) | {"Sample/Missing": math.nan}


@wrap_experiment(snapshot_mode="all", archive_launch_repo=False)
def sample(ctxt=None, seed=1, n_epochs=4, batch_size=200, fails=False):
    set_seed(seed)
    trainer = Trainer(ctxt)
    env = GymEnv("CartPole-v1")
    policy = CategoricalMLPPolicy(env_spec=env.spec, hidden_sizes=(8,))
    algo = Slow(env=env, policy=policy, baseline=LinearFeatureBaseline(env_spec=env.spec))
    trainer.setup(algo, env)
    trainer.train(n_epochs=n_epochs, batch_size=batch_size)
    if fails:
        raise EOFError("the user's own")
'''


class Commands:
    """Runs ``garage`` in a directory of its own."""

    counter = itertools.count()
    printed = tempfile.TemporaryDirectory(prefix="garage-printed-")

    @staticmethod
    @functools.cache
    def parent():
        """The process that forks one for each command, started when it is needed; it ends with this one."""
        return Parent(Path(__file__).with_name("garage_worker.py"), options=("-W", "error"))

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "code" / "sample.py"
        self.run_path = folder / "data" / "local" / "experiment" / "sample"

    def __call__(self, *words, code=0):
        words = [str(word) for word in words]
        printed = [Path(self.printed.name, f"{name}-{next(self.counter)}") for name in ("out", "err")]
        job = {"folder": str(self.folder), "environment": dict(os.environ), "words": words}
        status = self.parent().run(job | {"stdout": str(printed[0]), "stderr": str(printed[1])})
        done = subprocess.CompletedProcess(["garage", *words], status, *(path.read_text() for path in printed))
        assert done.returncode == code, done.stdout + done.stderr
        if code not in {0, 1}:
            assert "Traceback" not in done.stderr
        return done

    def start(self, *words):
        """Start a command and leave it running."""
        words = [*COMMAND, *map(str, words)]
        return subprocess.Popen(words, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def python(self, script):
        """Run a script, and return it as it ended."""
        command = [sys.executable, str(script)]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=True)

    def wait_for(self, name):
        """Until the run has written a file."""
        path = self.run_path / name
        end = time.monotonic() + 60
        while not path.exists():
            assert time.monotonic() < end, f"{path} never appeared"
            time.sleep(0.005)

    def digests(self, path=None):
        """By epoch."""
        lines = ((path or self.run_path) / "metrics.jsonl").read_text().splitlines()
        return {row["epoch"]: row["digest"] for row in map(json.loads, lines)}

    def files(self):
        """All files of the run with their content."""
        found = {path: path.read_bytes() for path in self.run_path.rglob("*") if path.is_file()}
        return {path: data for path, data in found.items() if "lock-guard" not in path.name}


@pytest.fixture
def garage(tmp_path):
    """The command, in an empty directory with a file of one experiment."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "sample.py").write_text(SAMPLE)
    return Commands(tmp_path)


@pytest.fixture(scope="session")
def four_epochs(tmp_path_factory):
    """A directory in which the experiment has run its four epochs."""
    folder = tmp_path_factory.mktemp("four_epochs")
    (folder / "code").mkdir()
    (folder / "code" / "sample.py").write_text(SAMPLE)
    Commands(folder)("run", "code/sample.py")
    return folder


@pytest.fixture
def trained(four_epochs, tmp_path):
    """The command, in a directory of its own with the run of four epochs."""
    shutil.copytree(four_epochs, tmp_path, dirs_exist_ok=True)
    return Commands(tmp_path)


@pytest.fixture(scope="session")
def family(four_epochs, tmp_path_factory):
    """The run of four epochs and what became of it: forked, resumed, rewound. To look at, not to change."""
    garage = Commands(tmp_path_factory.mktemp("family"))
    shutil.copytree(four_epochs, garage.folder, dirs_exist_ok=True)
    run = garage.run_path.relative_to(garage.folder)
    garage("fork", f"{run}@1", "tuned", "--seed", 7)
    garage("resume", run.with_name("tuned"))
    garage("resume", run.with_name("tuned"), "--n-epochs", 6, "--batch-size", 300)
    garage("fork", run.with_name("tuned"), "grandchild", "--fails")
    garage("resume", run, "--from", 2, "--rewind", "--n-epochs", 5)
    garage("resume", run, "--from", 3)
    return garage


@pytest.fixture(scope="session")
def six_digests(tmp_path_factory):
    """By epoch, of an uninterrupted run of six epochs."""
    folder = tmp_path_factory.mktemp("six_epochs")
    (folder / "sample.py").write_text(SAMPLE)
    commands = Commands(folder)
    commands("run", "sample.py", "--n-epochs", 6)
    return commands.digests()
