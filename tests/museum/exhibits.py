"""What the exhibits are of. An exhibit's part of this file never changes: recipes name what is defined here."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from gymnasium import spaces

from garage.algos import TRPO, Normalised
from garage.baselines import LinearFeatureBaseline, ZeroBaseline
from garage.core.recipe import Component
from garage.envs import GymEnv
from garage.experiment import TFTrainer, Trainer
from garage.np import policies as np_policies
from garage.np import value_functions as np_value_functions
from garage.replay import ReplayBuffer
from garage.tf import policies as tf_policies
from garage.tf import value_functions as tf_value_functions
from garage.tf.installation import import_tensorflow
from garage.torch import policies as torch_policies
from garage.torch import value_functions as torch_value_functions

v1 = import_tensorflow().compat.v1
CART, PENDULUM = "CartPole-v1", "Pendulum-v1"
SIZES = (3,)


class Steps(gymnasium.Env):
    """A world of five steps, so that an epoch of it is small."""

    observation_space = spaces.Box(-10, 10, (2,), np.float32)
    action_space = spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed, options=options)
        self.n_steps = 0
        return self.np_random.normal(size=2).astype(np.float32), {}

    def step(self, action):
        self.n_steps += 1
        observation = self.np_random.normal(size=2).astype(np.float32)
        return observation, -float(np.square(observation - action).sum()), self.n_steps == 5, False, {}


class Opaque:
    """An algorithm that has no state of its own, so that it is pickled whole."""

    discount = 0.9

    def __init__(self, policy):
        self.policy, self.n_epochs = policy, 0

    def initialise(self, streams):
        self.policy.initialise(streams.generator("policy"))

    def policies(self):
        return {"policy": self.policy}

    def epoch(self, collect, streams):
        collect(self.policy)
        self.n_epochs += 1
        return {"Opaque/Epochs": self.n_epochs}


class Counter(Component):
    """A user's own variables in the graph."""

    def __init__(self, name="counter"):
        self.name = name
        with v1.variable_scope(name):
            self.count = v1.get_variable("count", (), v1.int64, v1.zeros_initializer())
            self.total = v1.get_variable("inner/total", (3,), v1.float32, v1.zeros_initializer())
            self.step = v1.group(self.count.assign_add(1), self.total.assign(self.total * 1.5 + 1.0))


class Counting(TRPO):
    """TRPO beside such a part."""

    def __init__(self, *, counter, **options):
        super().__init__(**options)
        self.counter = counter

    def epoch(self, collect, streams):
        v1.get_default_session().run(self.counter.step)
        return super().epoch(collect, streams)


class Remembering:
    """Remembers transitions in a tracked group, and learns nothing."""

    discount = 0.9

    def __init__(self, policy, buffer):
        self.policy, self.buffer = policy, buffer

    def initialise(self, streams):
        self.policy.initialise(streams.generator("policy"))

    def policies(self):
        return {"policy": self.policy}

    def epoch(self, collect, streams):
        self.buffer.add(collect(self.policy))
        return {"Remembering/Transitions": len(self.buffer)}

    def state_dict(self):
        return {"policy": self.policy.state_dict(), "replay": self.buffer.state_dict()}

    def load_state_dict(self, state):
        self.policy.load_state_dict(state["policy"])
        self.buffer.load_state_dict(state["replay"])


def trpo(world, policy, baseline=LinearFeatureBaseline, kind=TRPO, **options):
    """TRPO of a policy and a baseline that are still to be built for the world."""
    env = GymEnv(world)
    return kind(env=env, policy=policy(env.spec), baseline=baseline(env.spec), **options), env


def mlp(module, kind, dtype="float32", **options):
    """A policy or value function of a port."""
    return lambda spec: getattr(module, kind)(spec, hidden_sizes=SIZES, dtype=dtype, **options)


def module_policy(spec):
    """A user's module with buffers, and with weights that do not depend on when it is built."""
    network = torch.nn.Sequential(
        torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Tanh(), torch.nn.Linear(3, 2)
    )
    with torch.no_grad():
        for n, weights in enumerate(network.parameters()):
            weights.copy_(torch.linspace(-1, 1 + n, weights.numel()).reshape(weights.shape))
        network[1].running_mean.copy_(torch.tensor([0.1, 0.2, 0.3]))
    return torch_policies.ModulePolicy(spec, network)


def opaque():
    """See `Opaque`."""
    env = GymEnv(CART)
    return Opaque(np_policies.CategoricalMLPPolicy(env.spec, hidden_sizes=SIZES)), env


def remembering():
    """See `Remembering`."""
    env = GymEnv(Steps)
    return Remembering(np_policies.GaussianMLPPolicy(env.spec, hidden_sizes=SIZES), ReplayBuffer(env.spec, 2000)), env


def normalised():
    """Observations and rewards by statistics, and a policy that is described with them."""
    algo, env = trpo(Steps, mlp(torch_policies, "GaussianMLPPolicy", "float64", init_std=0.5))
    return Normalised(algo, clip=math.inf), env


class Exhibit(NamedTuple):
    """A run to keep.

    Attributes:
        build: makes the algorithm and its environment.
        trainer: of which kind.
        n_epochs: that were trained.
        context: how snapshots were kept.
        options: of the training.
        forks: the exhibit that it was forked from, and the epoch; it is trained no further.
        rewinds_to: the epoch that it was rewound to after training.
        signed: whether its snapshots are.
    """

    build: Callable[[], tuple[Any, Any]]
    trainer: type[Trainer] = Trainer
    n_epochs: int = 1
    context: Mapping[str, Any] = MappingProxyType({})
    options: Mapping[str, Any] = MappingProxyType({})
    forks: tuple[str, int] | None = None
    rewinds_to: int | None = None
    signed: bool = True


def several():
    """What the runs of several snapshots are of."""
    return trpo(CART, mlp(np_policies, "CategoricalMLPPolicy"))


EXHIBITS = {
    "np-categorical-float32": Exhibit(several, n_epochs=2, context={"snapshot_mode": "all"}),
    "np-categorical-float64": Exhibit(
        lambda: trpo(CART, mlp(np_policies, "CategoricalMLPPolicy", "float64"), ZeroBaseline), signed=False
    ),
    "np-gaussian-float32": Exhibit(
        lambda: trpo(Steps, mlp(np_policies, "GaussianMLPPolicy"), mlp(np_value_functions, "MLPValueFunction")),
        options={"store_episodes": True},
    ),
    "np-gaussian-float64": Exhibit(
        lambda: trpo(
            Steps,
            mlp(np_policies, "GaussianMLPPolicy", "float64"),
            mlp(np_value_functions, "MLPValueFunction", "float64"),
        )
    ),
    "torch-categorical-float32": Exhibit(
        lambda: trpo(CART, mlp(torch_policies, "CategoricalMLPPolicy"), mlp(torch_value_functions, "MLPValueFunction"))
    ),
    "torch-gaussian-float64": Exhibit(
        lambda: trpo(
            Steps,
            mlp(torch_policies, "GaussianMLPPolicy", "float64"),
            mlp(torch_value_functions, "MLPValueFunction", "float64"),
        )
    ),
    "torch-module": Exhibit(lambda: trpo(CART, module_policy)),
    "tf-categorical-float32": Exhibit(
        lambda: trpo(CART, mlp(tf_policies, "CategoricalMLPPolicy"), mlp(tf_value_functions, "MLPValueFunction")),
        trainer=TFTrainer,
    ),
    "tf-gaussian-float64": Exhibit(
        lambda: trpo(
            Steps,
            mlp(tf_policies, "GaussianMLPPolicy", "float64"),
            mlp(tf_value_functions, "MLPValueFunction", "float64", name="values"),
        ),
        trainer=TFTrainer,
    ),
    "tf-variables": Exhibit(
        lambda: trpo(CART, mlp(tf_policies, "CategoricalMLPPolicy"), kind=Counting, counter=Counter()),
        trainer=TFTrainer,
    ),
    "opaque": Exhibit(opaque),
    "tracked-group": Exhibit(remembering, options={"batch_size": 100}),
    "fork": Exhibit(several, forks=("np-categorical-float32", 0)),
    "rewound": Exhibit(several, n_epochs=2, rewinds_to=0),
    "in-flight": Exhibit(lambda: trpo("Acrobot-v1", mlp(np_policies, "CategoricalMLPPolicy"), fragments=True)),
    "normalised": Exhibit(normalised, n_epochs=2),
}
