"""What only processes of their own can show: empty scripts, missing modules, a directory that is in use."""

import subprocess
import sys
from pathlib import Path

import pytest

from experiment.parts import digests, everything_below, kept, run_script, trained
from garage.envs import GymEnv
from garage.errors import InUseError
from garage.experiment import Trainer

ALGORITHM = '''
from garage.algos import TRPO

class Slower(TRPO):
    """Of a module beside the script."""
'''

WORLDS = """
from gymnasium.envs.classic_control import CartPoleEnv

def make_world():
    return CartPoleEnv()
"""

TRAINING = """
import sys

from garage import wrap_experiment
from garage.baselines import LinearFeatureBaseline
from garage.envs import GymEnv
from garage.experiment import Trainer
from garage.experiment.deterministic import set_seed
from garage.np.policies import CategoricalMLPPolicy
from mine.algorithms import Slower
from mine.worlds import make_world


class OfTheScript(LinearFeatureBaseline):
    pass


@wrap_experiment(log_dir=sys.argv[1], archive_launch_repo=False)
def train(ctxt=None, n_epochs=2):
    set_seed(3)
    trainer = Trainer(ctxt)
    env = GymEnv(make_world, max_episode_length=50)
    algo = Slower(
        env=env,
        policy=CategoricalMLPPolicy(env.spec, hidden_sizes=(4,)),
        baseline=OfTheScript(env.spec),
    )
    trainer.setup(algo, env)
    trainer.train(n_epochs=n_epochs, batch_size=60)


train(n_epochs=int(sys.argv[2]))
"""

EMPTY = """
import sys

from garage.errors import RecipeError
from garage.experiment import Trainer

assert "mine" not in sys.modules
trainer = Trainer()
try:
    trainer.restore(sys.argv[1])
except RecipeError as error:
    print(error)
else:
    trainer.resume(n_epochs=int(sys.argv[2]))
"""


def test_an_empty_script_goes_on_from_the_recipe_and_names_what_is_missing(tmp_path):
    package = tmp_path / "launcher" / "mine"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "algorithms.py").write_text(ALGORITHM)
    (package / "worlds.py").write_text(WORLDS)
    run_script(tmp_path / "launcher" / "training.py", TRAINING, "undisturbed", 4)
    run_script(tmp_path / "launcher" / "training.py", None, "run", 2)
    # The script's folder is tried, so a script that lies elsewhere finds the modules beside the first.
    printed = run_script(tmp_path / "elsewhere" / "empty.py", EMPTY, "run", 3)
    assert "Restore from snapshot saved in run" in printed
    package.rename(tmp_path / "launcher" / "moved")
    printed = run_script(tmp_path / "elsewhere" / "empty.py", None, "run", 4)
    assert "there is no module 'mine'. It was at" in printed
    assert str(tmp_path / "launcher" / "mine" / "algorithms.py") in printed
    assert "call trainer.setup(algo, env) before restore" in printed
    (tmp_path / "launcher" / "moved").rename(tmp_path / "mine")
    run_script(tmp_path / "elsewhere" / "empty.py", None, "run", 4, PYTHONPATH=str(tmp_path))
    assert digests("run") == digests("undisturbed")
    (tmp_path / "mine" / "worlds.py").rename(tmp_path / "mine" / "other_worlds.py")
    printed = run_script(tmp_path / "elsewhere" / "empty.py", None, "run", 5, PYTHONPATH=str(tmp_path))
    assert f"there is no module 'mine.worlds'. It was at {tmp_path / 'launcher' / 'mine' / 'worlds.py'}" in printed
    (tmp_path / "mine" / "worlds.py").write_text("")
    printed = run_script(tmp_path / "elsewhere" / "empty.py", None, "run", 5, PYTHONPATH=str(tmp_path))
    assert "Cannot rebuild the experiment: AttributeError" in printed
    assert "Did its code change, or does a script in" in printed


HOLDING = """
import sys

from garage.algos import TRPO
from garage.baselines import ZeroBaseline
from garage.envs import GymEnv
from garage.experiment import ExperimentContext, Trainer
from garage.np.policies import CategoricalMLPPolicy


class Waits(TRPO):
    def epoch(self, collect, streams):
        metrics = super().epoch(collect, streams)
        if streams.path[-1] == 1:
            print("waiting", flush=True)
            sys.stdin.read()
        return metrics


env = GymEnv("CartPole-v1")
algo = Waits(env=env, policy=CategoricalMLPPolicy(env.spec, hidden_sizes=(4,)), baseline=ZeroBaseline(env.spec))
trainer = Trainer(ExperimentContext("run"))
trainer.setup(algo, env)
trainer.train(n_epochs=1, batch_size=60)  # so that epoch 0 is on the disk
trainer.resume(n_epochs=2)
"""


def test_a_directory_in_use_is_left_alone(tmp_path):
    (tmp_path / "holding.py").write_text(HOLDING)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "holding.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        while "waiting" not in process.stdout.readline():
            assert process.poll() is None
        assert kept("run") == [0]
        before = everything_below("run")
        with pytest.raises(InUseError, match=rf"run is in use: process {process.pid} .*Wait for it or end it"):
            Trainer().restore("run")
        with pytest.raises(InUseError, match=f"process {process.pid}"):
            trained("run", 1)
        assert {path for path in everything_below("run") if "lock-guard" not in path.name} == {
            path for path in before if "lock-guard" not in path.name
        }
    finally:
        process.communicate(input="", timeout=60)
    assert process.returncode == 0
    assert not Path("run/lock").exists()
    restored = Trainer()
    assert restored.restore("run").start_epoch == 2
    assert isinstance(restored.env, GymEnv)
