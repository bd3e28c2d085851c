"""An MLP of which one number a row matters, and that number's Jacobian from either side, by hand.

A row's Jacobian is then one outer product a layer: of what enters the layer, and of the number's derivative by what
enters each of its units. Both are kept for the whole batch, so a direction costs one large product where the way
through all layers takes two.
"""

import torch
from torch import Tensor

from garage.core.mlp import MLPShape
from garage.torch.layers import MLPLayers, put_slopes


class OneOutput:
    """See `Network`, with outputs ``[n, 1]``: the MLP's only one, or the second of two minus the first.

    Args:
        shape: of the MLP; it has one output or two.
        inputs: ``[N, shape.sizes[0]]``, in the dtype and on the device to compute in and on.
    """

    def __init__(self, shape: MLPShape, inputs: Tensor) -> None:
        self.n_parameters = shape.n_parameters
        self._layers = MLPLayers(shape, inputs)
        self.blocks = self._layers.rows
        self._ones = [inputs.new_ones(size) for size in shape.sizes[1:-1]]
        self._part = inputs.new_zeros(shape.n_parameters)
        self._parts = self._layers.matrices(self._part)
        self._matrices: list[Tensor] = []
        self._prepared: set[int] = set()

    def move(self, parameters: Tensor) -> None:
        """See `Network.move`."""
        self._matrices = self._layers.matrices(parameters)
        self._prepared = set()

    def outputs(self, block: int) -> Tensor:
        """See `Network.outputs`."""
        self._layers.fill(block, self._matrices)
        return torch.mv(self._layers.blocks[block].entering[-1], _contracted(self._matrices[-1]))[:, None]

    def forward(self, block: int, direction: Tensor) -> Tensor:
        """See `Network.forward`."""
        self._prepare(block)
        entering, _, _, factors, scratch = self._layers.blocks[block]
        *along, last = self._layers.matrices(direction)
        change = torch.mv(entering[-1], _contracted(last))
        for values, matrix, by_units, room, ones in zip(entering, along, factors, scratch, self._ones, strict=False):
            torch.mm(values, matrix, out=room)
            change.addmv_(room.mul_(by_units), ones)
        return change[:, None]

    def reverse(self, block: int, by_outputs: Tensor, total: Tensor) -> None:
        """See `Network.reverse`."""
        self._prepare(block)
        _, turned, _, factors, scratch = self._layers.blocks[block]
        for values, by_units, room, part in zip(turned, factors, scratch, self._parts, strict=False):
            torch.mul(by_units, by_outputs, out=room)
            torch.mm(values, room, out=part)
        last = torch.mv(turned[-1], by_outputs[:, 0])
        self._parts[-1][:, -1] = last
        if self._parts[-1].shape[1] > 1:
            self._parts[-1][:, 0] = -last
        total.add_(self._part)

    def _prepare(self, block: int) -> None:
        """Take the number's derivative by what enters every hidden unit."""
        if block in self._prepared:
            return
        self._prepared.add(block)
        _, _, hidden, factors, _ = self._layers.blocks[block]
        by_values = _contracted(self._matrices[-1])[:-1]
        for layer in range(len(hidden) - 1, -1, -1):
            put_slopes(hidden[layer], factors[layer])
            factors[layer].mul_(by_values)
            if layer:
                by_values = factors[layer] @ self._matrices[layer][:-1].T


def _contracted(matrix: Tensor) -> Tensor:
    """The output layer's column for the number, ``[inputs + 1]``."""
    return matrix[:, 1] - matrix[:, 0] if matrix.shape[1] > 1 else matrix[:, 0]
