"""An MLP over the rows of a batch, and its Jacobian from either side, by hand, layer by layer.

Activations carry a column of ones, so one product serves weights and biases, which are neighbours in theta.
"""

import torch
from torch import Tensor

from garage.core.mlp import MLPShape
from garage.torch.objective import in_blocks

BLOCK_ROWS = 4096
"""A constant of the format: another one gives other last bits."""


class MLPSweeps:
    """See `Network`.

    Args:
        shape: of the MLP.
        inputs: ``[N, shape.sizes[0]]``, in the dtype and on the device to compute in and on.
    """

    def __init__(self, shape: MLPShape, inputs: Tensor) -> None:
        self.n_parameters = shape.n_parameters
        self.blocks = in_blocks(len(inputs), BLOCK_ROWS)
        self._sizes = shape.sizes
        self._activations = [inputs.new_ones(len(inputs), size + 1) for size in shape.sizes[:-1]]
        self._activations[0][:, :-1] = inputs
        hidden, rows = shape.sizes[1:-1], min(BLOCK_ROWS, len(inputs))
        self._slopes = [inputs.new_empty(len(inputs), size) for size in hidden]
        self._scratch = [inputs.new_empty(rows, size) for size in hidden]
        self._matrices: list[Tensor] = []
        self._prepared: set[int] = set()

    def move(self, parameters: Tensor) -> None:
        """See `Network.move`."""
        self._matrices = self._layers(parameters)
        self._prepared = set()

    def outputs(self, block: int) -> Tensor:
        """See `Network.outputs`."""
        rows = self.blocks[block]
        for layer, matrix in enumerate(self._matrices[:-1]):
            values = self._scratch[layer][: rows.stop - rows.start]
            torch.mm(self._activations[layer][rows], matrix, out=values)
            torch.tanh(values, out=self._activations[layer + 1][rows, :-1])
        return self._activations[-1][rows] @ self._matrices[-1]

    def forward(self, block: int, direction: Tensor) -> Tensor:
        """See `Network.forward`."""
        self._prepare(block)
        rows = self.blocks[block]
        directions = self._layers(direction)
        change: Tensor | None = None
        for layer, along in enumerate(directions[:-1]):
            here = self._scratch[layer][: rows.stop - rows.start]
            torch.mm(self._activations[layer][rows], along, out=here)
            if change is not None:
                here.addmm_(change, self._matrices[layer][:-1])
            change = here.mul_(self._slopes[layer][rows])
        outputs = self._activations[-1][rows] @ directions[-1]
        return outputs if change is None else outputs.addmm_(change, self._matrices[-1][:-1])

    def reverse(self, block: int, by_outputs: Tensor, total: Tensor) -> None:
        """See `Network.reverse`."""
        self._prepare(block)
        rows = self.blocks[block]
        totals = self._layers(total)
        gradient = by_outputs
        for layer in range(len(self._matrices) - 1, -1, -1):
            totals[layer] += self._activations[layer][rows].T @ gradient
            if layer:
                before = self._scratch[layer - 1][: rows.stop - rows.start]
                torch.mm(gradient, self._matrices[layer][:-1].T, out=before)
                gradient = before.mul_(self._slopes[layer - 1][rows])

    def _prepare(self, block: int) -> None:
        """Take the slope of tanh at every hidden unit, ``1 - h²``."""
        if block in self._prepared:
            return
        self._prepared.add(block)
        rows = self.blocks[block]
        for slopes, values in zip(self._slopes, self._activations[1:], strict=True):
            hidden = values[rows, :-1]
            torch.mul(hidden, hidden, out=slopes[rows]).neg_().add_(1.0)

    def _layers(self, vector: Tensor) -> list[Tensor]:
        """Each layer's weights and biases as one matrix ``[inputs + 1, outputs]``, a view of ``vector``."""
        matrices, start = [], 0
        for inputs, outputs in zip(self._sizes[:-1], self._sizes[1:], strict=True):
            stop = start + (inputs + 1) * outputs
            matrices.append(vector[start:stop].view(inputs + 1, outputs))
            start = stop
        return matrices
