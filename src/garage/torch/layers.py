"""An MLP's layers over the rows of a batch, block by block of rows.

Activations carry a column of ones, so one product serves weights and biases, which are neighbours in theta. Views are
made once: to cut a view takes PyTorch as long as a small product.
"""

import itertools
import math
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from garage.core.mlp import MLPShape
from garage.torch.objective import in_blocks

BLOCK_ROWS = 4096
"""A constant of the format: another one gives other last bits."""
_ALIGNED_BYTES: Final = 64


class Block(NamedTuple):
    """Some rows of the batch, ``[n, ...]``: one tensor a layer, or one a hidden layer where it says so."""

    entering: list[Tensor]
    """What enters the layer, ``[n, inputs + 1]``, ones in the last column."""
    turned: list[Tensor]
    """The same, ``[inputs + 1, n]``."""
    hidden: list[Tensor]
    """What leaves the hidden layer, ``[n, units]``: the next one's `entering` but for the ones."""
    factors: list[Tensor]
    """Of the hidden layer, ``[n, units]``: room for what is kept from one question to the next."""
    scratch: list[Tensor]
    """Of the hidden layer, ``[n, units]``: the same memory in all blocks, for as long as one is worked on."""


class MLPLayers:
    """The blocks of a batch, and the parts of a vector that is laid out as theta.

    Args:
        shape: of the MLP.
        inputs: ``[N, shape.sizes[0]]``, in the dtype and on the device to compute in and on.

    Attributes:
        rows: of the batch, those of each block.
        blocks: see `Block`.
    """

    def __init__(self, shape: MLPShape, inputs: Tensor) -> None:
        n, hidden_sizes = len(inputs), shape.sizes[1:-1]
        self._sizes = shape.sizes
        self.rows = in_blocks(n, BLOCK_ROWS)
        rooms = iter(
            _rooms(
                [(n, size + 1) for size in shape.sizes[:-1]]
                + [(n, size) for size in hidden_sizes]
                + [(min(BLOCK_ROWS, n), size) for size in hidden_sizes],
                inputs,
            )
        )
        entering = [next(rooms) for _ in shape.sizes[:-1]]
        factors, scratch = ([next(rooms) for _ in hidden_sizes] for _ in range(2))
        entering[0][:, :-1] = inputs
        for values in entering:
            values[:, -1] = 1.0
        self.blocks = [
            Block(
                [values[rows] for values in entering],
                [values[rows].T for values in entering],
                [values[rows, :-1] for values in entering[1:]],
                [values[rows] for values in factors],
                [values[: rows.stop - rows.start] for values in scratch],
            )
            for rows in self.rows
        ]

    def fill(self, block: int, matrices: list[Tensor]) -> None:
        """Let the hidden layers of a block be those of ``matrices``."""
        entering, _, hidden, _, scratch = self.blocks[block]
        for values, matrix, room, leaving in zip(entering, matrices, scratch, hidden, strict=False):
            torch.mm(values, matrix, out=room)
            leaving.copy_(room.tanh_())  # beside the ones, tanh itself would take four times as long

    def matrices(self, vector: Tensor) -> list[Tensor]:
        """Each layer's weights and biases as one matrix ``[inputs + 1, outputs]``, a view of ``vector``."""
        matrices, start = [], 0
        for inputs, outputs in zip(self._sizes[:-1], self._sizes[1:], strict=True):
            stop = start + (inputs + 1) * outputs
            matrices.append(vector[start:stop].view(inputs + 1, outputs))
            start = stop
        return matrices


def _rooms(shapes: list[tuple[int, int]], like: Tensor) -> list[Tensor]:
    """Tensors of no values yet, in one piece of memory, of the dtype and on the device of another one.

    On the host it is NumPy's, which asks the system for huge pages for so large a piece, as PyTorch does not; to touch
    small pages first takes as long as some Fisher products. Each tensor is aligned as PyTorch aligns them.
    """
    step = _ALIGNED_BYTES // like.element_size()
    sizes = [math.ceil(rows * columns / step) * step for rows, columns in shapes]
    if like.device.type == "cpu":
        memory = torch.from_numpy(np.empty(sum(sizes) + step, like.numpy().dtype))
        start = -memory.data_ptr() % _ALIGNED_BYTES // like.element_size()
        memory = memory[start : start + sum(sizes)]
    else:
        memory = like.new_empty(sum(sizes))
    starts = itertools.accumulate(sizes, initial=0)
    return [
        memory[at : at + rows * columns].view(rows, columns)
        for at, (rows, columns) in zip(starts, shapes, strict=False)
    ]


def put_slopes(hidden: Tensor, out: Tensor) -> None:
    """The slope of tanh at each hidden unit, ``1 - h²``."""
    torch.mul(hidden, hidden, out=out).neg_().add_(1.0)
