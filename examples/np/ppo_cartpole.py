"""PPO learns CartPole-v1 from fragments of episodes, in NumPy. Run it with ``python``, or with ``garage run``."""

from garage import wrap_experiment
from garage.algos import PPO
from garage.envs import GymEnv
from garage.experiment import Trainer
from garage.experiment.deterministic import set_seed
from garage.np.policies import CategoricalMLPPolicy
from garage.np.value_functions import MLPValueFunction


@wrap_experiment
def ppo_cartpole(ctxt=None, seed=1, n_epochs=391, batch_size=256):
    """Train from the beginning, 8 copies of the world at once; the learning rate falls to 0 at the end."""
    set_seed(seed)
    trainer = Trainer(ctxt)
    env = GymEnv("CartPole-v1")
    policy = CategoricalMLPPolicy(env_spec=env.spec, hidden_sizes=(64, 64))
    value_function = MLPValueFunction(
        env_spec=env.spec, hidden_sizes=(64, 64), n_passes=20, minibatch_size=256, time_input=False
    )
    algo = PPO(
        env=env,
        policy=policy,
        baseline=value_function,
        discount=0.98,
        gae_lambda=0.8,
        learning_rate=1e-3,
        n_passes=20,
        minibatch_size=256,
        decay_epochs=n_epochs,
        fragments=True,
    )
    trainer.setup(algo, env, n_lanes=8)
    trainer.train(n_epochs=n_epochs, batch_size=batch_size)


if __name__ == "__main__":
    ppo_cartpole(seed=1)
