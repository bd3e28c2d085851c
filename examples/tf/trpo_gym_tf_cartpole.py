"""TRPO learns CartPole-v1, in TensorFlow. Run it with ``python``, or with ``garage run``."""

from garage import wrap_experiment
from garage.algos import TRPO
from garage.baselines import LinearFeatureBaseline
from garage.envs import GymEnv
from garage.experiment import TFTrainer
from garage.experiment.deterministic import set_seed
from garage.tf.policies import CategoricalMLPPolicy


@wrap_experiment
def trpo_gym_tf_cartpole(ctxt=None, seed=1, n_epochs=10, batch_size=10000):
    """Train from the beginning."""
    set_seed(seed)
    with TFTrainer(snapshot_config=ctxt) as trainer:
        env = GymEnv("CartPole-v1")
        policy = CategoricalMLPPolicy(env_spec=env.spec, hidden_sizes=(32, 32))
        baseline = LinearFeatureBaseline(env_spec=env.spec)
        algo = TRPO(env=env, policy=policy, baseline=baseline, discount=0.99, max_kl_step=0.01)
        trainer.setup(algo, env)
        trainer.train(n_epochs=n_epochs, batch_size=batch_size)


if __name__ == "__main__":
    trpo_gym_tf_cartpole(seed=1)
