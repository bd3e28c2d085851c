"""Our own algorithms, in each framework, as an experiment to be killed."""

import contextlib
import importlib

from garage import algos, wrap_experiment
from garage.envs import GymEnv
from garage.experiment import TFTrainer, Trainer
from garage.experiment.deterministic import set_seed


@wrap_experiment
def learn(ctxt=None, *, algorithm="TRPO", port="np", world="CartPole-v1", fragments=False, seed=1, n_epochs=6):
    set_seed(seed)
    policies = importlib.import_module(f"garage.{port}.policies")
    functions = importlib.import_module(f"garage.{port}.value_functions")
    with TFTrainer(ctxt) if port == "tf" else contextlib.nullcontext(Trainer(ctxt)) as trainer:
        env = GymEnv(world)
        kind = policies.GaussianMLPPolicy if world.startswith("Pendulum") else policies.CategoricalMLPPolicy
        policy = kind(env_spec=env.spec, hidden_sizes=(8, 8))
        baseline = functions.MLPValueFunction(env.spec, hidden_sizes=(8, 8))
        algo = getattr(algos, algorithm)(env=env, policy=policy, baseline=baseline, fragments=fragments)
        trainer.setup(algo, env)
        trainer.train(n_epochs=n_epochs, batch_size=400)
