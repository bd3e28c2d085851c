"""TRPO trains a network of your own: a convolution over the board of a little world that is seen as an image."""

import gymnasium
import numpy as np
import torch
from gymnasium import spaces

from garage import wrap_experiment
from garage.algos import TRPO
from garage.baselines import LinearFeatureBaseline
from garage.envs import GymEnv
from garage.experiment import Trainer
from garage.experiment.deterministic import set_seed
from garage.torch.policies import ModulePolicy


class Catch(gymnasium.Env):
    """A ball falls through an 8x8 board; the paddle at its foot moves left, stays or moves right."""

    observation_space = spaces.Box(0, 1, (1, 8, 8), np.float32)
    action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed, options=options)
        self.row, self.column, self.paddle = 0, int(self.np_random.integers(8)), 4
        return self.image(), {}

    def step(self, action):
        self.paddle = min(7, max(0, self.paddle + int(action) - 1))
        self.row += 1
        landed = self.row == 7
        return self.image(), float(landed and self.paddle == self.column), landed, False, {}

    def image(self):
        board = np.zeros((1, 8, 8), np.float32)
        board[0, self.row, self.column] = board[0, 7, self.paddle] = 1
        return board


@wrap_experiment
def custom_module(ctxt=None, seed=1, n_epochs=25, batch_size=2000):
    """Any module that maps observations to the logits of the actions will do; it keeps its first weights."""
    set_seed(seed)
    trainer = Trainer(ctxt)
    env = GymEnv(Catch, max_episode_length=7)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, kernel_size=3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 6 * 6, 3)
    )
    policy = ModulePolicy(env.spec, network)
    algo = TRPO(env=env, policy=policy, baseline=LinearFeatureBaseline(env.spec), max_kl_step=0.05)
    trainer.setup(algo, env)
    trainer.train(n_epochs=n_epochs, batch_size=batch_size)


if __name__ == "__main__":
    custom_module(seed=1)
