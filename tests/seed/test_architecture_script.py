"""The script that users are shown first runs as it stands, the second half in a process that builds nothing."""

import subprocess
import sys

FIRST = """
from garage import wrap_experiment
from garage.algos import TRPO
from garage.baselines import LinearFeatureBaseline
from garage.envs import GymEnv
from garage.experiment import Trainer
from garage.experiment.deterministic import set_seed
from garage.np.policies import CategoricalMLPPolicy

@wrap_experiment
def trpo_cartpole(ctxt=None, seed=1):
    set_seed(seed)
    trainer = Trainer(ctxt)
    env = GymEnv('CartPole-v1')
    policy = CategoricalMLPPolicy(env_spec=env.spec, hidden_sizes=(32, 32))
    baseline = LinearFeatureBaseline(env_spec=env.spec)
    algo = TRPO(env=env, policy=policy, baseline=baseline, discount=0.99, max_kl_step=0.01)
    trainer.setup(algo, env)
    trainer.train(n_epochs=100, batch_size=4000)

trpo_cartpole(seed=1)
"""

SECOND = """
import garage
from garage.experiment import Trainer

trainer = Trainer()
trainer.restore('data/local/experiment/trpo_cartpole')
trainer.resume(n_epochs=200)

policy = garage.load_policy('data/local/experiment/trpo_cartpole')
print(type(policy).__name__, policy.theta.shape)
"""


def test_the_first_script_and_its_continuation(tmp_path):
    for name, text in (("first.py", FIRST), ("second.py", SECOND)):
        script = tmp_path / name
        script.write_text(text)
        done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert "epoch #100 | Obtaining samples for iteration 100..." in done.stdout
    assert "epoch #199 | Saved" in done.stdout
    assert done.stdout.splitlines()[-1] == "CategoricalMLPPolicy (1282,)"
