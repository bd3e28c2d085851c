"""The noise of the steps to come: drawn by episodes and blocks, read by steps and lanes."""

from collections import deque
from collections.abc import Sequence

import numpy as np

from garage.core.ports import Policy
from garage.core.streams import Streams
from garage.core.types import Array
from garage.sampler.noise_blocks import NOISE_BLOCK_STEPS, Block, NoiseBlocks


class NoiseAhead:
    """Noise of each step of a group, on a clock that counts the group's steps.

    Args:
        policy: draws it.
        n_lanes: of the group.
    """

    def __init__(self, policy: Policy, n_lanes: int) -> None:
        self._source, self._n_lanes = NoiseBlocks(policy), n_lanes
        self._noise: dict[int, Array] = {}
        """``[256, n_lanes, K]`` by turn: how often the clock has run through a block's steps."""
        self._ahead: deque[tuple[Block, Array]] = deque()
        """First blocks of the episodes that start next, and their noise ``[256, K]``."""
        self._blocks: list[Block | None] = [None] * n_lanes
        """What each lane reads; None where nobody does any more."""
        self._run_out: dict[int, list[tuple[int, Block]]] = {}
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
            first = ordinal + len(self._ahead)
            n_more = self._source.n_at_once(n_missing, ordinal)
            blocks = [Block(streams, later, 0) for later in range(first, first + n_more)]
            self._ahead.extend(zip(blocks, self._source.drawn(blocks), strict=True))
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
        block = Block(streams, ordinal, number)
        self._write(lane, block, self._source.drawn([block])[0], passed, 0)

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
            if following:
                for (lane, _), block, noise in zip(lasting, following, self._source.drawn(following), strict=True):
                    self._write(lane, block, noise, 0, clock)
        row_of_noise: Array = self._noise[turn][row]
        return row_of_noise

    def _write(self, lane: int, block: Block, noise: Array, passed: int, clock: int) -> None:
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
