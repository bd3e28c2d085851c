"""An MLP over the rows of a batch, and its Jacobian from either side, by hand, layer by layer."""

import torch
from torch import Tensor

from garage.core.mlp import MLPShape
from garage.torch.layers import MLPLayers, put_slopes


class MLPSweeps:
    """See `Network`; for any number of outputs.

    Args:
        shape: of the MLP.
        inputs: ``[N, shape.sizes[0]]``, in the dtype and on the device to compute in and on.
    """

    def __init__(self, shape: MLPShape, inputs: Tensor) -> None:
        self.n_parameters = shape.n_parameters
        self._layers = MLPLayers(shape, inputs)
        self.blocks = self._layers.rows
        self._part = inputs.new_empty(shape.n_parameters)
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
        return self._layers.blocks[block].entering[-1] @ self._matrices[-1]

    def forward(self, block: int, direction: Tensor) -> Tensor:
        """See `Network.forward`."""
        self._prepare(block)
        entering, _, _, slopes, scratch = self._layers.blocks[block]
        *along, last = self._layers.matrices(direction)
        for layer, matrix in enumerate(along):
            torch.mm(entering[layer], matrix, out=scratch[layer])
            if layer:
                scratch[layer].addmm_(scratch[layer - 1], self._matrices[layer][:-1])
            scratch[layer].mul_(slopes[layer])
        outputs = entering[-1] @ last
        return outputs.addmm_(scratch[-1], self._matrices[-1][:-1]) if along else outputs

    def reverse(self, block: int, by_outputs: Tensor, total: Tensor) -> None:
        """See `Network.reverse`."""
        self._prepare(block)
        _, turned, _, slopes, scratch = self._layers.blocks[block]
        gradient = by_outputs
        for layer in range(len(self._matrices) - 1, -1, -1):
            torch.mm(turned[layer], gradient, out=self._parts[layer])
            if layer:
                torch.mm(gradient, self._matrices[layer][:-1].T, out=scratch[layer - 1])
                gradient = scratch[layer - 1].mul_(slopes[layer - 1])
        total.add_(self._part)

    def _prepare(self, block: int) -> None:
        """Take the slope of tanh at every hidden unit."""
        if block not in self._prepared:
            self._prepared.add(block)
            _, _, hidden, slopes, _ = self._layers.blocks[block]
            for values, out in zip(hidden, slopes, strict=True):
                put_slopes(values, out)
