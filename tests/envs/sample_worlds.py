"""Small worlds that behave well, or badly in one way each."""

import random

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs


class Walk(gymnasium.Env):
    """A random walk that starts and drifts by its own seeded generator; well behaved."""

    observation_space = spaces.Box(-100, 100, (2,), np.float32)
    action_space = spaces.Box(np.array([-1, -2]), np.array([1, 2]), dtype=np.float32)

    def __init__(self, length=7):
        self.length = length
        self.closed = False
        self.received = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed, options=options)
        self.position = self.np_random.normal(size=2)
        self.age = 0
        return self.position.astype(np.float32), {"age": 0}

    def step(self, action):
        self.received.append(action)
        self.position = self.position + action + 0.1 * self.np_random.normal(size=2)
        self.age += 1
        info = {"age": self.age, "lucky": np.bool_(self.age > 1), "height": np.float32(0.5), "name": "walk"}
        info |= {"vector": np.zeros(2), "inner": {"x": 1.0}, "array0": np.array(3), 5: 1.0}
        if self.age % 3 == 0:
            del info["height"]
        if self.age > 4:
            info["array0"] = np.zeros(3)
        return self.position.astype(np.float32), -1.0, self.age >= self.length, False, info

    def close(self):
        self.closed = True


class Dial(gymnasium.Env):
    """Its three actions are 1, 2 and 3; the observation is the last one."""

    observation_space = spaces.Discrete(4)
    action_space = spaces.Discrete(3, start=1)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed, options=options)
        return int(self.np_random.integers(4)), {}

    def step(self, action):
        assert self.action_space.contains(action)
        return int(action), float(action), bool(self.np_random.random() < 0.05), False, {}


class IgnoresSeed(Walk):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=None, options=options)


class OwnGenerator(Walk):
    """Starts from the seed, and then draws from a generator that `reset` does not touch."""

    def __init__(self):
        super().__init__()
        self.generator = np.random.default_rng(3)

    def step(self, action):
        observation, _, terminated, truncated, info = super().step(action)
        return observation, float(self.generator.normal()), terminated, truncated, info


class GlobalNumpy(Walk):
    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed, options=options)
        return observation + np.float32(np.random.random()), info  # noqa: NPY002 - what this world does wrong


class GlobalRandom(Walk):
    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward, terminated, truncated or random.random() < 0.5, info


class DifferentCopies(Walk):
    """Every environment repeats itself, and no other one."""

    n_made = 0

    def __init__(self):
        super().__init__()
        DifferentCopies.n_made += 1
        self.offset = DifferentCopies.n_made

    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed, options=options)
        return observation + self.offset, info


class WrongShape(Walk):
    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        return observation[:1], reward, terminated, truncated, info


class Raises(Walk):
    """Raises at its 12th step after a reset: later than a rehearsal goes."""

    def __init__(self):
        super().__init__(length=100)

    def step(self, action):
        if self.age == 11:
            msg = "the wheel came off"
            raise ZeroDivisionError(msg)
        return super().step(action)


class TupleObservations(Walk):
    observation_space = spaces.Tuple((spaces.Discrete(2), spaces.Discrete(2)))


class DictActions(Walk):
    action_space = spaces.Dict({"a": spaces.Discrete(2)})


class Unrecorded(gymnasium.Wrapper):
    """A wrapper that no spec can name."""


class Doubled(gymnasium.RewardWrapper, RecordConstructorArgs):
    """A wrapper that a spec can name."""

    def __init__(self, env):
        RecordConstructorArgs.__init__(self)
        gymnasium.RewardWrapper.__init__(self, env)

    def reward(self, reward):
        return 2 * reward
