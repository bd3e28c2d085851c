"""Episodes of one environment that shows itself."""

from collections.abc import Iterator

import numpy as np

from garage.core.ports import Policy
from garage.core.streams import Streams
from garage.envs.rendered import Stage

_NOISE_BLOCK_STEPS = 256


def episode(
    stage: Stage, policy: Policy, streams: Streams, *, stochastic: bool, most_steps: int | None
) -> Iterator[float]:
    """Play one, and yield 0 when it has begun and then the reward of each step.

    Args:
        stage: where.
        policy: who acts.
        streams: of the episode alone.
        stochastic: whether actions are drawn; else they are the most likely ones.
        most_steps: after which it is left; None to play it to its end.
    """
    observations, memory = stage.reset(streams.world_seed("world")), policy.initial_memory(1)
    yield 0.0
    n_steps, noise = 0, None
    while most_steps is None or n_steps < most_steps:
        if stochastic:
            block, row = divmod(n_steps, _NOISE_BLOCK_STEPS)
            if row == 0:
                drawn = policy.draw_noise(streams.generator("noise", block), _NOISE_BLOCK_STEPS)
            noise = drawn[row : row + 1]
        actions, memory, _ = policy.act(observations, memory, noise)
        moved = stage.step(np.asarray(actions))
        n_steps += 1
        yield float(moved.rewards[0])
        if moved.terminated[0] or moved.truncated[0]:
            return
        observations = moved.observations
