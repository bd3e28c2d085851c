"""A script that is changed between two starts of one run, and worlds that a script brings along."""

import json
import os

import pytest

SCRIPT = """
import gymnasium
import numpy as np
from garage import wrap_experiment
from garage.algos import VPG
from garage.baselines import LinearFeatureBaseline
from garage.envs import GymEnv
from garage.experiment import Trainer
from garage.experiment.deterministic import set_seed
from garage.np.policies import CategoricalMLPPolicy

GAIN = 1.0


class Corridor(gymnasium.Env):
    observation_space, action_space = gymnasium.spaces.Box(-9, 9, (1,)), gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.age = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.age += 1
        return np.full(1, self.age, np.float32), GAIN * float(action), self.age > 5, False, {}


@wrap_experiment(archive_launch_repo=False)
def corridor(ctxt=None, seed=1):
    set_seed(seed)
    trainer, env = Trainer(ctxt), GymEnv(lambda: Corridor())
    policy, baseline = CategoricalMLPPolicy(env.spec, hidden_sizes=(4,)), LinearFeatureBaseline(env.spec)
    trainer.setup(VPG(env=env, policy=policy, baseline=baseline, discount=0.99), env)
    trainer.train(n_epochs=1, batch_size=60)
"""
OTHER = "Another experiment"


def test_what_changed_in_the_script_is_said_before_its_run_goes_on(garage):
    script, run = garage.folder / "corridor.py", garage.folder / "data/local/experiment/corridor"

    def auto(n_epochs, text):
        script.write_text(text.replace("n_epochs=1", f"n_epochs={n_epochs}"))
        os.utime(script, (10**9, 10**9))  # bytecode that was cached before would still count as the script's
        done = garage("run", "corridor.py", "--resume", "auto")
        return next((line for line in (done.stdout + done.stderr).splitlines() if OTHER in line), "")

    assert auto(1, SCRIPT) == auto(2, f"# A remark, and other lines.\n{SCRIPT}") == ""
    discounted = SCRIPT.replace("0.99", "0.5")
    assert auto(3, discounted).endswith(": algo.discount: 0.99 when saved, 0.5 now")
    assert auto(4, discounted) == ""
    assert auto(5, discounted.replace("GAIN = 1.0", "GAIN = 2.0")).endswith(": env.world: its code has changed")
    assert OTHER not in garage("resume", run, "--n-epochs", 6).stdout  # by the recipe, whatever the script is now

    events = map(json.loads, (run / "events.jsonl").read_text().splitlines())
    changed = [event for event in events if event["event"] == "changed"]
    assert [(event["epoch"], event["changes"]) for event in changed] == [
        (2, ["algo.discount: 0.99 when saved, 0.5 now"]),
        (4, ["env.world: its code has changed"]),
    ]
    replayed = garage("replay", run, code=8).stdout
    assert "From epoch 2 on" in replayed
    assert "algo.discount: 0.99 when saved, 0.5 now" in replayed


REGISTERED = """
import gymnasium
import walks
from garage import wrap_experiment
from garage.algos import VPG
from garage.baselines import LinearFeatureBaseline
from garage.envs import GymEnv
from garage.experiment import Trainer
from garage.experiment.deterministic import set_seed
from garage.np.policies import CategoricalMLPPolicy


@wrap_experiment(archive_launch_repo=False, log_dir="run")
def walk(ctxt=None, seed=1):
    set_seed(seed)
    trainer, env = Trainer(ctxt), GymEnv(WORLD, gain=3.0)
    policy, baseline = CategoricalMLPPolicy(env.spec, hidden_sizes=(4,)), LinearFeatureBaseline(env.spec)
    trainer.setup(VPG(env=env, policy=policy, baseline=baseline), env)
    trainer.train(n_epochs=1, batch_size=60)


if __name__ == "__main__":
    walk()
"""
WALKS = """
import gymnasium
import numpy as np


class Walk(gymnasium.Env):
    observation_space, action_space = gymnasium.spaces.Box(-9, 9, (1,)), gymnasium.spaces.Discrete(2)

    def __init__(self, gain=1.0):
        self.gain = gain

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), self.gain * float(action), False, False, {}


gymnasium.register("My/Walk-v0", entry_point="walks:Walk", max_episode_steps=5)
"""


@pytest.mark.parametrize(
    ("world", "entry"), [("My/Walk-v0", ""), ("walks:My/Walk-v0", ""), ("Own-v0", "__main__:Walk")]
)
def test_a_world_that_the_script_has_registered_is_rebuilt_elsewhere(garage, world, entry):
    """By its id, with its module before it, and of the script itself."""
    (garage.folder / "code" / "walks.py").write_text(WALKS)
    script = garage.folder / "code" / "walk.py"
    text = REGISTERED.replace("WORLD", repr(world))
    if entry:
        own = f"Walk = walks.Walk\ngymnasium.register('Own-v0', entry_point={entry!r}, max_episode_steps=4)\n"
        text = text.replace("import walks\n", f"import walks\n{own}")
    script.write_text(text)
    if entry:
        garage.python(script)
    else:
        garage("run", script)
    run = garage.folder / "run"
    garage("resume", run, "--n-epochs", 2)
    assert "Equal: 2 epochs" in garage("replay", run).stdout
    shown = json.loads((run / "provenance.json").read_text())["environment"]
    assert shown["max_episode_length"] == (4 if entry else 5)
