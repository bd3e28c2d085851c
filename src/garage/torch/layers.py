"""An MLP's layers over the rows of a batch, block by block of rows.

Activations carry a column of ones, so one product serves weights and biases, which are neighbours in theta. Views are
made once: to cut a view takes PyTorch as long as a small product.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from garage.core.mlp import MLPShape
from garage.torch.objective import in_blocks

BLOCK_ROWS = 4096
"""A constant of the format: another one gives other last bits."""


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
        entering = [inputs.new_empty(n, size + 1) for size in shape.sizes[:-1]]
        entering[0][:, :-1] = inputs
        for values in entering:
            values[:, -1] = 1.0
        factors = [inputs.new_empty(n, size) for size in hidden_sizes]
        scratch = [inputs.new_empty(min(BLOCK_ROWS, n), size) for size in hidden_sizes]
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


def put_slopes(hidden: Tensor, out: Tensor) -> None:
    """The slope of tanh at each hidden unit, ``1 - h²``."""
    torch.mul(hidden, hidden, out=out).neg_().add_(1.0)
