"""Random search on CartPole, with one kind of hidden state, or several, on request; and experiments that go wrong."""

import itertools
import random
import time

import gymnasium
import numpy as np
from gymnasium import spaces

from garage import wrap_experiment
from garage.core.recipe import Component
from garage.core.state import take
from garage.envs import GymEnv
from garage.experiment import Trainer
from garage.experiment.deterministic import set_seed
from garage.np.policies import CategoricalMLPPolicy

n_calls = 0


class Search(Component):
    """Keeps the better of two policies; each kind of hidden state decides over the size of its steps."""

    n_made = 0

    def __init__(self, env, policy, kinds):
        self.env, self.policy, self.kinds = env, policy, kinds
        self.discount, self.best = 0.99, -1.0
        for kind in kinds:
            getattr(self, f"begin_{kind}", lambda: None)()

    def initialise(self, streams):
        self.policy.initialise(streams.generator("policy"))

    def policies(self):
        return {"policy": self.policy}

    def epoch(self, collect, streams):
        theta = self.policy.theta
        size = 1.0 + sum(getattr(self, f"size_{kind}")(streams) for kind in self.kinds)
        step = size * streams.generator("step").normal(size=len(theta))
        trial = self.policy.at((theta + step).astype(theta.dtype))
        batch = collect(trial)
        if "batch" in self.kinds:
            self.batch = batch
        score = float(batch.rewards.sum()) / batch.n_segments
        if score > self.best:
            self.best, self.policy.theta = score, trial.theta
        return {"Search/Best": self.best, "Search/Size": size}

    def state_dict(self):
        return {"policy": self.policy.state_dict(), "best": self.best}

    def load_state_dict(self, state):
        self.policy.load_state_dict(take(state, "policy", "Search"))
        self.best = take(state, "best", "Search")

    def begin_numpy(self):
        self.generator = np.random.default_rng(3)

    def size_numpy(self, streams):
        return self.generator.random()

    def begin_python(self):
        self.rng = random.Random(3)

    def size_python(self, streams):
        return self.rng.random()

    def begin_torch(self):
        import torch  # noqa: PLC0415 - one kind alone needs it

        self.torch = torch.Generator().manual_seed(3)

    def size_torch(self, streams):
        import torch  # noqa: PLC0415 - see above

        return float(torch.rand((), generator=self.torch))

    def begin_counter(self):
        self.n_epochs = 0

    def size_counter(self, streams):
        self.n_epochs += 1
        return self.n_epochs / 7

    def begin_list(self):
        self.sizes = [1.0]

    def size_list(self, streams):
        self.sizes.append(self.sizes[-1] / 2)
        return self.sizes[-1]

    def begin_schedule(self):
        self.schedule = Schedule()

    def size_schedule(self, streams):
        return self.schedule.next()

    def size_global(self, streams):
        global n_calls  # noqa: PLW0603 - it is the kind
        n_calls += 1
        return n_calls / 7

    def size_class(self, streams):
        Search.n_made += 1
        return Search.n_made / 7

    def begin_closure(self):
        self.step = counting()

    def size_closure(self, streams):
        return self.step() / 7

    def begin_iterator(self):
        self.ticks = itertools.cycle([0.1, 0.7, 0.3])

    def size_iterator(self, streams):
        return next(self.ticks)

    def begin_generator(self):
        self.halves = halving()

    def size_generator(self, streams):
        return next(self.halves)

    def size_default(self, streams, seen=[]):  # noqa: B006 - it is the kind
        seen.append(1)
        return len(seen) / 7

    def begin_batch(self):
        self.batch = None

    def size_batch(self, streams):
        return 0.0 if self.batch is None else self.batch.n_steps / 100

    def size_world(self, streams):
        return 0.0

    def size_clock_metric(self, streams):
        return 0.0

    def size_clock(self, streams):
        return time.time() % 1.0

    def size_sets(self, streams):
        return ("a", "b", "c", "d", "e", "f", "g", "h").index(next(iter({"a", "b", "c", "d", "e", "f", "g", "h"})))

    def size_address(self, streams):
        return id(self) % 9973 / 9973

    def size_process(self, streams):
        return np.random.random() + random.random()  # noqa: NPY002 - what the snapshot holds

    def size_streams(self, streams):
        return streams.generator("size").random()

    def begin_unused(self):
        self.n_unused = 0

    def size_unused(self, streams):
        self.n_unused += 1
        return 0.0


class Schedule:
    def __init__(self):
        self.position = 0

    def next(self):
        self.position += 1
        return 1 / self.position


def counting():
    n = 0

    def step():
        nonlocal n
        n += 1
        return n

    return step


def halving():
    value = 1.0
    while True:
        value /= 2
        yield value


class PickledWhole:
    """Without a state of its own."""

    discount = 0.99

    def __init__(self, env, policy, kinds):
        self.search = Search(env, policy, kinds)

    def initialise(self, streams):
        self.search.initialise(streams)

    def policies(self):
        return self.search.policies()

    def epoch(self, collect, streams):
        return self.search.epoch(collect, streams)


class Tiring(gymnasium.Env):
    """A world whose episodes grow longer in the long run, whatever the seed."""

    observation_space = spaces.Box(-1.0, 1.0, (3,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self):
        self.n_episodes = self.n_steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.n_episodes, self.n_steps = self.n_episodes + 1, 0
        return self.np_random.uniform(-1, 1, 3).astype(np.float32), {}

    def step(self, action):
        self.n_steps += 1
        observation = self.np_random.uniform(-1, 1, 3).astype(np.float32)
        return observation, float(action), self.n_steps > 5 + self.n_episodes // 30, False, {}


def train(ctxt, kinds, n_epochs, algorithm=Search):
    trainer = Trainer(ctxt)
    chosen = tuple(kinds.split(","))
    env = GymEnv(Tiring(), max_episode_length=50) if "world" in chosen else GymEnv("CartPole-v1")
    policy = CategoricalMLPPolicy(env_spec=env.spec, hidden_sizes=(4,))
    trainer.setup(algorithm(env, policy, chosen), env)
    trainer.train(n_epochs=n_epochs, batch_size=100)


@wrap_experiment
def search(ctxt=None, kinds="streams", seed=1, n_epochs=8):
    set_seed(seed)
    train(ctxt, kinds, n_epochs)


@wrap_experiment(snapshot_mode="none")
def unseeded(ctxt=None, kinds="process", n_epochs=8):
    train(ctxt, kinds, n_epochs)


@wrap_experiment
def pickled_whole(ctxt=None, kinds="streams", seed=1, n_epochs=8):
    set_seed(seed)
    train(ctxt, kinds, n_epochs, PickledWhole)


@wrap_experiment
def elsewhere(ctxt=None):
    set_seed(1)
    train(None, "streams", 4)


@wrap_experiment
def without_a_trainer(ctxt=None):
    print("nothing is trained")


@wrap_experiment
def failing(ctxt=None, seed=1):
    set_seed(seed)
    train(ctxt, "streams", 2)
    raise RuntimeError("the user's own")  # noqa: EM101, TRY003 - short


@wrap_experiment
def different_metrics(ctxt=None, seed=1, clock=0):
    set_seed(seed)
    env = GymEnv("CartPole-v1")
    policy = CategoricalMLPPolicy(env_spec=env.spec, hidden_sizes=(4,))
    trainer = Trainer(ctxt)
    trainer.setup(Counting(env, policy, ("clock_metric",) if clock else ()), env)
    trainer.train(n_epochs=8, batch_size=100)


class Counting(Search):
    """Tells a number that it forgets."""

    def __init__(self, env, policy, kinds):
        Search.__init__(self, env, policy, kinds)
        self.n_told = 0

    def clock(self):
        return time.perf_counter() if "clock_metric" in self.kinds else 0

    def epoch(self, collect, streams):
        self.n_told += 1
        return {**Search.epoch(self, collect, streams), "Counting/Told": self.n_told, "Counting/Clock": self.clock()}
