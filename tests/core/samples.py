"""Batches and spaces that several tests need."""

import numpy as np
from gymnasium import spaces

from garage.core.types import End, EnvSpec, EpisodeBatch

PLANE = spaces.Box(-np.inf, np.inf, (4,), np.float32)
TWO_ACTIONS = EnvSpec(PLANE, spaces.Discrete(2), 500)
THREE_ACTIONS = EnvSpec(PLANE, spaces.Discrete(3), 500)
ONE_FORCE = EnvSpec(PLANE, spaces.Box(-1, 1, (1,), np.float32), 200)
TWO_FORCES = EnvSpec(PLANE, spaces.Box(-1, 1, (2,), np.float32), 200)


def batch_of(lengths, *, ends=None, spec=TWO_ACTIONS, seed=0, first_steps=None, rewards=None):
    """A batch of random steps that fits a spec."""
    generator = np.random.default_rng(seed)
    lengths = np.array(lengths, np.int64)
    n, e = int(lengths.sum()), len(lengths)
    return EpisodeBatch(
        observations=draws(spec.observation_space, generator, n),
        actions=draws(spec.action_space, generator, n),
        rewards=generator.normal(size=n) if rewards is None else np.array(rewards, np.float64),
        lengths=lengths,
        last_observations=draws(spec.observation_space, generator, e),
        ends=np.array([End.TERMINATED] * e if ends is None else ends, np.int8),
        first_steps=np.zeros(e, np.int64) if first_steps is None else np.array(first_steps, np.int64),
        memories=np.zeros((e, 0), np.float32),
        env_infos={"height": generator.normal(size=n)},
        agent_infos={"logits": generator.normal(size=(n, 2))},
    )


def draws(space, generator, n):
    """n members of a space, as policies and worlds give them: Discrete actions count from 0."""
    if isinstance(space, spaces.Discrete):
        return generator.integers(0, space.n, n) + space.start
    if isinstance(space, spaces.MultiBinary):
        return generator.integers(0, 2, (n, *space.shape)).astype(np.int8)
    if space.dtype == np.uint8:
        return generator.integers(0, 256, (n, *space.shape)).astype(np.uint8)
    return generator.normal(size=(n, *space.shape)).astype(space.dtype)
