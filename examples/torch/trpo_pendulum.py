"""TRPO learns Pendulum-v1, whose actions are continuous, in PyTorch. Run it with ``python``, or with ``garage run``."""

from garage import wrap_experiment
from garage.algos import TRPO
from garage.baselines import LinearFeatureBaseline
from garage.envs import GymEnv
from garage.experiment import Trainer
from garage.experiment.deterministic import set_seed
from garage.torch.policies import GaussianMLPPolicy


@wrap_experiment
def trpo_pendulum(ctxt=None, seed=1, n_epochs=50, batch_size=10000):
    """Train from the beginning."""
    set_seed(seed)
    trainer = Trainer(ctxt)
    env = GymEnv("Pendulum-v1")
    policy = GaussianMLPPolicy(env_spec=env.spec, hidden_sizes=(32, 32))
    baseline = LinearFeatureBaseline(env_spec=env.spec)
    algo = TRPO(env=env, policy=policy, baseline=baseline, discount=0.99, max_kl_step=0.01)
    trainer.setup(algo, env)
    trainer.train(n_epochs=n_epochs, batch_size=batch_size)


if __name__ == "__main__":
    trpo_pendulum(seed=1)
