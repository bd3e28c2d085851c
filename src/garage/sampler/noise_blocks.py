"""Noise of episodes, drawn in blocks: each has an address of its own, so that it is the same whoever draws it when."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from garage.core.ports import Policy, uniform_noise_of
from garage.core.streams import Streams, first_uniforms
from garage.core.types import Array

NOISE_BLOCK_STEPS = 256
"""Noise is drawn in blocks of so many steps; a constant of the format."""

_MOST_AHEAD = 16
"""Episodes whose noise may be drawn before they start: together it takes less, and what starts last wastes it."""


class Block(NamedTuple):
    """Noise of an episode."""

    streams: Streams
    """Of the call in which the episode started."""
    ordinal: int
    """Of the episode in that call."""
    number: int
    """Of the block in the episode."""


class NoiseBlocks:
    """Draws blocks of a policy's noise.

    Args:
        policy: whose.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._by_uniforms = uniform_noise_of(policy)

    def n_at_once(self, n_missing: int, n_started: int) -> int:
        """For how many episodes to draw when some are missing, and some have started before."""
        return n_missing if self._by_uniforms is None else max(n_missing, min(n_started, _MOST_AHEAD))

    def drawn(self, blocks: Sequence[Block]) -> Array:
        """The noise of each of at least one block, ``[k, 256, K]``."""
        if self._by_uniforms is None:
            draw = self._policy.draw_noise
            return np.stack(
                [draw(streams.generator(ordinal, number), NOISE_BLOCK_STEPS) for streams, ordinal, number in blocks]
            )
        n_uniforms, noise_of = self._by_uniforms
        keys = [streams.key(ordinal, number) for streams, ordinal, number in blocks]
        uniforms = first_uniforms(keys, NOISE_BLOCK_STEPS * n_uniforms)
        noise = noise_of(uniforms.reshape(len(blocks) * NOISE_BLOCK_STEPS, n_uniforms))
        return noise.reshape(len(blocks), NOISE_BLOCK_STEPS, noise.shape[1])
