"""The noise of the steps to come: drawn by episodes and blocks, read by steps and lanes."""

from typing import NamedTuple

import numpy as np

from garage.core.ports import Policy
from garage.core.streams import Streams
from garage.core.types import Array

NOISE_BLOCK_STEPS = 256
"""Noise is drawn in blocks of so many steps, each with an address of its own; a constant of the format."""


class _Refill(NamedTuple):
    """The next block that an episode needs."""

    lane: int
    streams: Streams
    ordinal: int
    block: int


class NoiseAhead:
    """Noise of each step of a group, on a clock that counts the group's steps.

    Args:
        policy: draws it.
        n_lanes: of the group.
    """

    def __init__(self, policy: Policy, n_lanes: int) -> None:
        self._policy, self._n_lanes = policy, n_lanes
        self._noise: dict[int, Array] = {}
        """``[256, n_lanes, K]`` by turn: how often the clock has run through a block's steps."""
        self._refills: dict[int, list[_Refill]] = {}
        """By the clock at which they are due, those of episodes that have ended since included."""
        self._refill_of: list[_Refill | None] = [None] * n_lanes

    def start(self, lane: int, streams: Streams, ordinal: int, *, step: int, clock: int) -> None:
        """Draw what an episode needs from its next step on.

        Args:
            lane: where it is.
            streams: of the call in which it started.
            ordinal: of the episode in that call.
            step: index of its next step.
            clock: the group's, before that step.
        """
        block, passed = divmod(step, NOISE_BLOCK_STEPS)
        self._draw(_Refill(lane, streams, ordinal, block), passed, clock)

    def stop(self, lane: int) -> None:
        """The episode in this lane needs no more."""
        self._refill_of[lane] = None

    def of_step(self, clock: int) -> Array:
        """This step's noise ``[n_lanes, K]``, which is not written to again; idle lanes get any."""
        turn, row = divmod(clock, NOISE_BLOCK_STEPS)
        if not row:
            self._noise.pop(turn - 1, None)
        for refill in self._refills.pop(clock, ()):
            if self._refill_of[refill.lane] is refill:
                self._draw(refill, 0, clock)
        noise: Array = self._noise[turn][row]
        return noise

    def _draw(self, refill: _Refill, passed: int, clock: int) -> None:
        """Write a block into the lane's column, but for the steps that have passed."""
        lane, streams, ordinal, block = refill
        noise = self._policy.draw_noise(streams.generator(ordinal, block), NOISE_BLOCK_STEPS)
        turn, row = divmod(clock, NOISE_BLOCK_STEPS)
        n_now, n_left = NOISE_BLOCK_STEPS - row, NOISE_BLOCK_STEPS - passed
        self._of_turn(turn, noise)[row : row + n_left, lane] = noise[passed : passed + n_now]
        if n_left > n_now:
            self._of_turn(turn + 1, noise)[: n_left - n_now, lane] = noise[passed + n_now :]
        self._refill_of[lane] = following = _Refill(lane, streams, ordinal, block + 1)
        self._refills.setdefault(clock + n_left, []).append(following)

    def _of_turn(self, turn: int, like: Array) -> Array:
        if turn not in self._noise:
            self._noise[turn] = np.zeros((NOISE_BLOCK_STEPS, self._n_lanes, like.shape[1]), like.dtype)
        return self._noise[turn]
