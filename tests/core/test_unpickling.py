"""What is unpickled in the process of a script leaves the classes of the script as they are."""

import subprocess
import sys
from pathlib import Path

_SCRIPT = """
from garage.algos import TRPO
from garage.baselines import ZeroBaseline
from garage.envs import GymEnv
from garage.experiment import Trainer
from garage.np.policies import CategoricalMLPPolicy

epochs = []

class Counting(TRPO):
    def epoch(self, collect, streams):
        epochs.append(len(epochs))
        return super().epoch(collect, streams)

method = Counting.epoch
env = GymEnv("CartPole-v1")
policy = CategoricalMLPPolicy(env.spec)
trainer = Trainer()
trainer.setup(Counting(env=env, policy=policy, baseline=ZeroBaseline(env.spec)), env)
assert Counting.epoch is method
trainer.train(n_epochs=2, batch_size=50)
assert epochs == [0, 1], epochs
again = Trainer()
again.restore(trainer.snapshot_dir)
assert Counting.epoch is method
assert type(again.algo).__name__ == "Counting"
"""


def test_methods_of_the_scripts_classes_go_on_seeing_the_scripts_variables(tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT)

    ended = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr


_SHARED = """
import cloudpickle
from garage.core.unpickling import unpickled

class Part:
    pass

pickled = cloudpickle.dumps(Part())
first, second = unpickled(pickled), unpickled(pickled)
assert type(first) is type(second)
assert type(first) is not Part
assert type(unpickled(cloudpickle.dumps(3))) is int
"""


def test_what_is_unpickled_one_after_the_other_has_the_same_classes(tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(_SHARED)

    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr
