"""A script that is changed between two starts of one run, and worlds that a script brings along."""

import json

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
OTHER = "another experiment"


def test_what_changed_in_the_script_is_said_before_its_run_goes_on(garage):
    script, run = garage.folder / "corridor.py", garage.folder / "data/local/experiment/corridor"

    def auto(n_epochs, text):
        script.write_text(text.replace("n_epochs=1", f"n_epochs={n_epochs}"))
        done = garage("run", "corridor.py", "--resume", "auto")
        return next((line for line in (done.stdout + done.stderr).splitlines() if OTHER in line), "")

    assert auto(1, SCRIPT) == auto(2, f"# A remark, and other lines.\n{SCRIPT}") == ""
    discounted = SCRIPT.replace("0.99", "0.5")
    assert auto(3, discounted).endswith(": algo.discount: 0.99 when saved, 0.5 now")
    assert auto(4, discounted) == ""
    assert auto(5, discounted.replace("GAIN = 1.0", "GAIN = 2.0")).endswith(": env.world: its code has changed")
    assert OTHER not in garage("resume", run, "--n-epochs", 6).stdout  # by the recipe, whatever the script is now

    changed = [
        event
        for event in map(json.loads, (run / "events.jsonl").read_text().splitlines())
        if event["event"] == "changed"
    ]
    assert [(event["epoch"], event["changes"]) for event in changed] == [
        (2, ["algo.discount: 0.99 when saved, 0.5 now"]),
        (4, ["env.world: its code has changed"]),
    ]
    replayed = garage("replay", run, code=8).stdout
    assert "From epoch 2 on" in replayed
    assert "algo.discount: 0.99 when saved, 0.5 now" in replayed
