"""One epoch of the page's size by others: the TRPO of sb3-contrib and of Tianshou, at several numbers of environments.

10,000 steps of CartPole-v1 or Pendulum-v1, a tanh policy with two hidden layers of 32, one TRPO update and a save,
with the peer's own defaults otherwise and one thread; timed by the calls that its training makes, without its logger.
Every epoch begins with the weights that it is given. Run alone, prints the fastest of some epochs at each number of
environments, from first weights; ``epoch.py`` puts the best beside ours. A peer that is not installed is left out and
named.
"""

import argparse
import importlib.util
import io
import itertools
import os
import time
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

os.environ.setdefault("OMP_NUM_THREADS", "1")
# Tianshou loads TensorFlow where it is installed; garage.tf, which sets this, may come later.
os.environ.setdefault("TF_OVERRIDE_GLOBAL_THREADPOOL", "1")

import gymnasium
import numpy as np
import torch

from garage.core.mlp import MLPShape
from garage.core.streams import Streams

BATCH = 10_000
HIDDEN = (32, 32)
WIDTHS = (1, 4, 16, 64)


class World(NamedTuple):
    """A world to learn, and its policy's network."""

    name: str
    """gymnasium's."""
    n_inputs: int
    n_outputs: int
    n_log_stds: int
    """Parameters after the network's: those of a Gaussian policy."""
    lengths: tuple[int, ...]
    """Mean lengths of episodes to measure at, about."""

    @property
    def shape(self) -> MLPShape:
        """Of the network."""
        return MLPShape((self.n_inputs, *HIDDEN, self.n_outputs))

    def first_theta(self) -> np.ndarray:
        """First weights, and stds of 1."""
        return np.concatenate([self.shape.draw(Streams(1).generator("policy")), np.zeros(self.n_log_stds)])


WORLDS = {
    world.name: world
    for world in (World("CartPole-v1", 4, 2, 0, (20, 200, 500)), World("Pendulum-v1", 3, 1, 1, (200,)))
}


class Peer(Protocol):
    """Who is measured."""

    name: str
    n_envs: int

    def epoch(self, theta: np.ndarray) -> dict[str, float]:
        """Seconds of one epoch by part, scaled up where the number of environments does not divide the batch."""
        ...


class StableBaselines:
    """sb3-contrib's TRPO."""

    name = "sb3-contrib"

    def __init__(self, world: World, n_envs: int) -> None:
        import sb3_contrib  # noqa: PLC0415 - a peer may not be installed
        from stable_baselines3.common.env_util import make_vec_env  # noqa: PLC0415

        warnings.filterwarnings("ignore", message="You have specified a mini-batch size")
        self.model = sb3_contrib.TRPO(
            "MlpPolicy",
            make_vec_env(world.name, n_envs, seed=1),
            n_steps=BATCH // n_envs,
            seed=1,
            device="cpu",
            policy_kwargs={"net_arch": {"pi": [*HIDDEN], "vf": [*HIDDEN]}, "activation_fn": torch.nn.Tanh},
        )
        self.world, self.n_envs, self.steps = world, n_envs, BATCH // n_envs * n_envs
        self.model._setup_learn(self.steps)

    def epoch(self, theta: np.ndarray) -> dict[str, float]:
        """See `Peer`."""
        policy = self.model.policy
        layers = [policy.mlp_extractor.policy_net[0], policy.mlp_extractor.policy_net[2], policy.action_net]
        load(self.world, theta, layers, policy.log_std if self.world.n_log_stds else None)
        _, callback = self.model._setup_learn(self.steps)
        times = [time.perf_counter()]
        self.model.collect_rollouts(self.model.env, callback, self.model.rollout_buffer, self.model.n_steps)
        times.append(time.perf_counter())
        self.model.train()
        times.append(time.perf_counter())
        self.model.save(io.BytesIO())
        times.append(time.perf_counter())
        return parts(times, self.steps)


class Tianshou:
    """Tianshou's TRPO, with its networks."""

    name = "Tianshou"

    def __init__(self, world: World, n_envs: int) -> None:
        from tianshou.algorithm import TRPO  # noqa: PLC0415 - a peer may not be installed
        from tianshou.algorithm.optim import AdamOptimizerFactory  # noqa: PLC0415
        from tianshou.data import Collector, VectorReplayBuffer  # noqa: PLC0415
        from tianshou.env import DummyVectorEnv  # noqa: PLC0415
        from tianshou.utils.torch_utils import policy_within_training_step  # noqa: PLC0415

        self._training = policy_within_training_step
        torch.manual_seed(1)
        self.policy, critic = self._networks(gymnasium.make(world.name))
        self.algorithm = TRPO(policy=self.policy, critic=critic, optim=AdamOptimizerFactory())
        self.world, self.n_envs, self.steps = world, n_envs, BATCH // n_envs * n_envs
        envs = DummyVectorEnv([lambda: gymnasium.make(world.name)] * n_envs)
        envs.seed(1)
        self.collector = Collector(self.algorithm, envs, VectorReplayBuffer(self.steps, n_envs))
        self.collector.reset()

    def epoch(self, theta: np.ndarray) -> dict[str, float]:
        """See `Peer`."""
        actor = self.policy.actor
        layers = [module for module in actor.modules() if isinstance(module, torch.nn.Linear)]
        load(self.world, theta, layers, actor.sigma_param if self.world.n_log_stds else None)
        self.collector.reset_buffer(keep_statistics=True)
        times = [time.perf_counter()]
        with self._training(self.policy):
            self.collector.collect(n_step=self.steps)
            times.append(time.perf_counter())
            self.algorithm.update(buffer=self.collector.buffer, batch_size=None, repeat=1)
        times.append(time.perf_counter())
        torch.save(self.algorithm.state_dict(), io.BytesIO())
        times.append(time.perf_counter())
        return parts(times, self.steps)

    @staticmethod
    def _networks(env: gymnasium.Env) -> tuple[Any, Any]:
        """Policy and critic."""
        from tianshou.algorithm.modelfree import reinforce  # noqa: PLC0415
        from tianshou.utils.net import continuous, discrete  # noqa: PLC0415
        from tianshou.utils.net.common import Net  # noqa: PLC0415

        def net() -> Net:
            return Net(state_shape=env.observation_space.shape, hidden_sizes=HIDDEN, activation=torch.nn.Tanh)

        spaces = {"action_space": env.action_space, "observation_space": env.observation_space}
        if isinstance(env.action_space, gymnasium.spaces.Discrete):
            actor = discrete.DiscreteActor(preprocess_net=net(), action_shape=env.action_space.n, softmax_output=False)
            return reinforce.DiscreteActorPolicy(actor=actor, **spaces), discrete.DiscreteCritic(preprocess_net=net())
        actor = continuous.ContinuousActorProbabilistic(
            preprocess_net=net(), action_shape=env.action_space.shape, unbounded=True
        )

        def normals(means_and_stds: tuple[torch.Tensor, torch.Tensor]) -> torch.distributions.Distribution:
            return torch.distributions.Independent(torch.distributions.Normal(*means_and_stds), 1)

        policy = reinforce.ProbabilisticActorPolicy(actor=actor, dist_fn=normals, **spaces)
        return policy, continuous.ContinuousCritic(preprocess_net=net())


def load(world: World, theta: np.ndarray, layers: Sequence[torch.nn.Linear], log_std: torch.Tensor | None) -> None:
    """Give a peer's layers these weights."""
    n = world.shape.n_parameters
    with torch.no_grad():
        for layer, (weights, biases) in zip(layers, world.shape.layers(theta[:n]), strict=True):
            layer.weight.copy_(torch.tensor(weights.T.copy()))
            layer.bias.copy_(torch.tensor(biases.copy()))
        if log_std is not None:
            log_std.copy_(torch.tensor(theta[n:].copy()).reshape(log_std.shape))


def parts(times: Sequence[float], steps: int) -> dict[str, float]:
    """Seconds between the times, scaled up from so many steps to the batch."""
    sampling, update, save = (BATCH / steps * (b - a) for a, b in itertools.pairwise(times))
    return {"sampling": sampling, "update": update, "save": save, "total": sampling + update + save}


_MODULES = {StableBaselines: "sb3_contrib", Tianshou: "tianshou"}
INSTALLED = [kind for kind, module in _MODULES.items() if importlib.util.find_spec(module)]
MISSING = [kind.name for kind in _MODULES if kind not in INSTALLED]


def best(kind: type[Peer], world: World, widths: Sequence[int], theta: np.ndarray) -> Peer:
    """The peer with the number of environments whose second epoch is the fastest."""
    torch.set_num_threads(1)
    found = {}
    for peer in [kind(world, width) for width in widths]:
        peer.epoch(theta)
        found[peer.epoch(theta)["total"]] = peer
    return found[min(found)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS), choices=list(WORLDS))
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS)
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in MISSING:
        print(f"{name} is not installed and left out")
    for name, kind, width in itertools.product(arguments.worlds, INSTALLED, arguments.widths):
        peer = kind(WORLDS[name], width)
        seconds = min(peer.epoch(WORLDS[name].first_theta())["total"] for _ in range(arguments.epochs))
        print(f"{name}, {peer.name} with {width} environments: {1e3 * seconds:.0f} ms", flush=True)


if __name__ == "__main__":
    main()
