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


class Drifting(Walk):
    """Keeps something from one episode to the next; freshly made it repeats."""

    def __init__(self):
        super().__init__(length=50)
        self.n_resets = 0

    def reset(self, *, seed=None, options=None):
        self.n_resets += 1
        observation, info = super().reset(seed=seed, options=options)
        return observation + np.float32(self.n_resets), info


class RunningMean(gymnasium.ObservationWrapper, RecordConstructorArgs):
    """A user's own running statistics, that no list knows of."""

    def __init__(self, env):
        RecordConstructorArgs.__init__(self)
        gymnasium.ObservationWrapper.__init__(self, env)
        self.total, self.n = np.zeros(2), 0

    def observation(self, observation):
        self.total, self.n = self.total + observation, self.n + 1
        return (observation - self.total / self.n).astype(np.float32)


class EpisodeMean(RunningMean):
    """Learns its statistics only when an episode ends, so that a short rehearsal does not meet them."""

    def observation(self, observation):
        return (observation - np.float32(self.total[0])).astype(np.float32)

    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        self.total = self.total + float(terminated)
        return observation, reward, terminated, truncated, info


class NoEarlyReset(gymnasium.Wrapper, RecordConstructorArgs):
    """Insists that episodes are finished, as some monitors do."""

    def __init__(self, env):
        RecordConstructorArgs.__init__(self)
        gymnasium.Wrapper.__init__(self, env)
        self.ended = True

    def reset(self, **kwargs):
        if not self.ended:
            msg = "reset before the episode was done"
            raise RuntimeError(msg)
        self.ended = False
        return super().reset(**kwargs)

    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        self.ended = terminated or truncated
        return observation, reward, terminated, truncated, info


class Stopwatch(Walk):
    """Says in its info how many environments of its kind there were: not what the seed says."""

    n_steps = 0

    def step(self, action):
        Stopwatch.n_steps += 1
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward, terminated, truncated, {"age": info["age"], "clock": Stopwatch.n_steps}


class Hashing(Walk):
    """Does what the hashes of its strings say, which are others in each process."""

    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward + hash("wind") % 1000, terminated, truncated, info


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
