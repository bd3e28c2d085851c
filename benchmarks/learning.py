"""How well TRPO has learned CartPole-v1 after 100,000 steps: the mean return of five seeds, each epoch's own policy.

The experiment is that of ``examples/np/trpo_cartpole.py``, at its settings. Exits with 1 if the mean is below 475.
"""

import argparse
import contextlib
import io
import statistics
import sys
import tempfile

from garage.algos import TRPO
from garage.baselines import LinearFeatureBaseline
from garage.envs import GymEnv
from garage.experiment import ExperimentContext, Trainer
from garage.experiment.deterministic import set_seed
from garage.np.policies import CategoricalMLPPolicy

STEPS = 100_000
BATCH = 4_000
SOLVED = 475


def learned(seed: int) -> tuple[float, int]:
    """The mean return of the first epoch that ends after the steps, and those steps."""
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(io.StringIO()):
        set_seed(seed)
        env = GymEnv("CartPole-v1")
        policy = CategoricalMLPPolicy(env.spec, hidden_sizes=(32, 32))
        algo = TRPO(env=env, policy=policy, baseline=LinearFeatureBaseline(env.spec))
        trainer = Trainer(ExperimentContext(scratch, snapshot_mode="none"))
        trainer.setup(algo, env)
        mean_return, n_epochs = trainer.train(n_epochs=1, batch_size=BATCH), 1
        while trainer.total_env_steps < STEPS:
            n_epochs += 1
            mean_return = trainer.resume(n_epochs=n_epochs)
        return mean_return, trainer.total_env_steps


def main() -> int:
    """Learn and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    returns = []
    for seed in parser.parse_args().seeds:
        mean_return, steps = learned(seed)
        returns.append(mean_return)
        print(f"seed {seed}: mean return {mean_return:.1f} of 500 after {steps:,} steps", flush=True)
    mean = statistics.mean(returns)
    print(
        f"mean of {len(returns)} seeds: {mean:.1f} (range {min(returns):.1f} to {max(returns):.1f}); solved: {SOLVED}"
    )
    return 0 if mean >= SOLVED else 1


if __name__ == "__main__":
    sys.exit(main())
