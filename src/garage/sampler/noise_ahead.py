"""The noise of the steps to come: drawn by episodes and blocks, read by steps and lanes."""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from garage.core.ports import Policy, uniform_noise_of
from garage.core.streams import Streams, first_uniforms
from garage.core.types import Array

NOISE_BLOCK_STEPS = 256
"""Noise is drawn in blocks of so many steps, each with an address of its own; a constant of the format."""

_MOST_AHEAD = 16
"""Episodes whose noise may be drawn before they start: together it takes less, and what starts last wastes it."""


class _Block(NamedTuple):
    """Noise of an episode."""

    streams: Streams
    """Of the call in which the episode started."""
    ordinal: int
    """Of the episode in that call."""
    number: int
    """Of the block in the episode."""


class NoiseAhead:
    """Noise of each step of a group, on a clock that counts the group's steps.

    Args:
        policy: draws it.
        n_lanes: of the group.
    """

    def __init__(self, policy: Policy, n_lanes: int) -> None:
        self._policy, self._n_lanes = policy, n_lanes
        self._by_uniforms = uniform_noise_of(policy)
        self._noise: dict[int, Array] = {}
        """``[256, n_lanes, K]`` by turn: how often the clock has run through a block's steps."""
        self._ahead: deque[tuple[_Block, Array]] = deque()
        """First blocks of the episodes that start next, and their noise ``[256, K]``."""
        self._blocks: list[_Block | None] = [None] * n_lanes
        """What each lane reads; None where nobody does any more."""
        self._run_out: dict[int, list[tuple[int, _Block]]] = {}
        """Lanes and their blocks, by the clock at which these have no more; blocks that others have replaced, too."""

    def start(self, lanes: Sequence[int], streams: Streams, ordinal: int, clock: int) -> None:
        """Episodes start, one in each of ``lanes``, in the order of their ordinals.

        Args:
            lanes: where.
            streams: of the call, the same ones each time.
            ordinal: of the first of them in that call; those after the ones that started before.
            clock: the group's.
        """
        n_missing = len(lanes) - len(self._ahead)
        if n_missing > 0:
            n_more = n_missing if self._by_uniforms is None else max(n_missing, min(ordinal, _MOST_AHEAD))
            first = ordinal + len(self._ahead)
            self._ahead.extend(self._drawn([_Block(streams, later, 0) for later in range(first, first + n_more)]))
        for lane in lanes:
            self._write(lane, *self._ahead.popleft(), 0, clock)

    def take_up(self, lane: int, streams: Streams, ordinal: int, step: int) -> None:
        """An episode goes on, when the clock is at 0.

        Args:
            lane: where.
            streams: of the call in which it started.
            ordinal: of the episode in that call.
            step: index of its next step.
        """
        number, passed = divmod(step, NOISE_BLOCK_STEPS)
        ((block, noise),) = self._drawn([_Block(streams, ordinal, number)])
        self._write(lane, block, noise, passed, 0)

    def stop(self, lane: int) -> None:
        """The episode in this lane needs no more."""
        self._blocks[lane] = None

    def of_step(self, clock: int) -> Array:
        """This step's noise ``[n_lanes, K]``, which is not written to again; idle lanes get any."""
        turn, row = divmod(clock, NOISE_BLOCK_STEPS)
        if not row:
            self._noise.pop(turn - 1, None)
        if clock in self._run_out:
            lasting = [(lane, block) for lane, block in self._run_out.pop(clock) if self._blocks[lane] is block]
            following = [block._replace(number=block.number + 1) for _, block in lasting]
            for (lane, _), (block, noise) in zip(lasting, self._drawn(following), strict=True):
                self._write(lane, block, noise, 0, clock)
        row_of_noise: Array = self._noise[turn][row]
        return row_of_noise

    def _drawn(self, blocks: list[_Block]) -> Iterable[tuple[_Block, Array]]:
        """Each with its noise ``[256, K]``."""
        if self._by_uniforms is None:
            draw = self._policy.draw_noise
            return [
                (block, draw(block.streams.generator(block.ordinal, block.number), NOISE_BLOCK_STEPS))
                for block in blocks
            ]
        n_uniforms, noise_of = self._by_uniforms
        keys = [streams.key(ordinal, number) for streams, ordinal, number in blocks]
        uniforms = first_uniforms(keys, NOISE_BLOCK_STEPS * n_uniforms)
        noise = noise_of(uniforms.reshape(len(blocks) * NOISE_BLOCK_STEPS, n_uniforms))
        return zip(blocks, noise.reshape(len(blocks), NOISE_BLOCK_STEPS, noise.shape[1]), strict=True)

    def _write(self, lane: int, block: _Block, noise: Array, passed: int, clock: int) -> None:
        """Put a block into the lane's column from the clock on, but for the steps that have passed."""
        turn, row = divmod(clock, NOISE_BLOCK_STEPS)
        n_now, n_left = NOISE_BLOCK_STEPS - row, NOISE_BLOCK_STEPS - passed
        self._of_turn(turn, noise)[row : row + n_left, lane] = noise[passed : passed + n_now]
        if n_left > n_now:
            self._of_turn(turn + 1, noise)[: n_left - n_now, lane] = noise[passed + n_now :]
        self._blocks[lane] = block
        self._run_out.setdefault(clock + n_left, []).append((lane, block))

    def _of_turn(self, turn: int, like: Array) -> Array:
        if turn not in self._noise:
            self._noise[turn] = np.zeros((NOISE_BLOCK_STEPS, self._n_lanes, like.shape[1]), like.dtype)
        return self._noise[turn]
