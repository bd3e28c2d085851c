"""Any module over the rows of a batch, and its Jacobian from either side, by PyTorch's derivatives.

The Jacobian times a direction is a derivative of a derivative: ``u -> Jᵀ u`` is linear in u, so its own derivative by
u, transposed, gives ``J d``. Both graphs are made once at given parameters and asked again for every direction, so
no forward pass is repeated.
"""

import math

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from garage.torch.flat_module import FlatModule
from garage.torch.objective import in_blocks

BLOCK_ROWS = 4096
"""At most; a constant of the format, as the next one: others give other last bits."""
BLOCK_NUMBERS = 2**24
"""A block of more than one row has at most so many numbers of observations."""
KEPT_BYTES = 2**30
"""Graphs are kept up to about so many bytes; those of further blocks are made again, with the same bits."""


class ModuleGraphs:
    """See `Network`.

    Args:
        module: the network; what is fixed in it is shared, its parameters are not.
        observations: ``[N, ...]``, on the module's device.
    """

    def __init__(self, module: FlatModule, observations: Tensor) -> None:
        self.n_parameters = module.n_parameters
        row_numbers = max(1, math.prod(observations.shape[1:]))
        self.blocks = in_blocks(len(observations), max(1, min(BLOCK_ROWS, BLOCK_NUMBERS // row_numbers)))
        self._flat = torch.empty_like(module.flat[: module.n_parameters])
        self._module = module.at(self._flat)
        self._observations = observations
        self._graphs: dict[int, _Graph] = {}
        self._n_kept = 1 if len(self.blocks) == 1 else None

    def move(self, parameters: Tensor) -> None:
        """See `Network.move`."""
        self._graphs = {}
        self._flat.copy_(parameters)

    def outputs(self, block: int) -> Tensor:
        """See `Network.outputs`."""
        return self._graph(block).outputs.detach()

    def forward(self, block: int, direction: Tensor) -> Tensor:
        """See `Network.forward`."""
        return self._graph(block).forward(self._module.views(direction))

    def reverse(self, block: int, by_outputs: Tensor, total: Tensor) -> None:
        """See `Network.reverse`."""
        gradients = self._graph(block).reverse(by_outputs)
        for part, gradient in zip(self._module.views(total), gradients, strict=True):
            part.add_(gradient)

    def _graph(self, block: int) -> "_Graph":
        if self._n_kept is None:
            self._n_kept = KEPT_BYTES // max(1, self._n_bytes_of_a_graph())
        if block not in self._graphs:
            for other in [other for other in self._graphs if other >= self._n_kept]:
                del self._graphs[other]
            self._graphs[block] = self._new_graph(block)
        return self._graphs[block]

    def _new_graph(self, block: int) -> "_Graph":
        return _Graph(self._module, self._observations[self.blocks[block]])

    def _n_bytes_of_a_graph(self) -> int:
        """What the first block's graphs hold on to, measured on graphs that are thrown away."""
        held: dict[int, int] = {}

        def count(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            held[storage.data_ptr()] = storage.nbytes()
            return tensor.detach()

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            graph = self._new_graph(0)
            graph.forward(self._module.views(self._flat))
        return sum(held.values())


class _Graph:
    """The outputs of some rows and what they come from.

    Attributes:
        outputs: ``[n, K]``.
    """

    def __init__(self, module: FlatModule, observations: Tensor) -> None:
        self._parameters = module.parameters
        # The fused kernels of attention have no second derivative.
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            self.outputs: Tensor = module.outputs(observations).reshape(len(observations), -1)
        self._probe: Tensor | None = None
        self._by_parameters: tuple[Tensor, ...] = ()

    def forward(self, directions: list[Tensor]) -> Tensor:
        """J d, for the parameters' parts of d."""
        if self._probe is None:
            self._probe = torch.zeros_like(self.outputs).requires_grad_()
            with torch.enable_grad():
                self._by_parameters = self._gradients(self._probe, create_graph=True)
        return torch.autograd.grad(self._by_parameters, self._probe, directions, retain_graph=True)[0]

    def reverse(self, by_outputs: Tensor) -> tuple[Tensor, ...]:
        """Jᵀ u, in the parameters' shapes."""
        return self._gradients(by_outputs, create_graph=False)

    def _gradients(self, by_outputs: Tensor, *, create_graph: bool) -> tuple[Tensor, ...]:
        return torch.autograd.grad(
            self.outputs,
            self._parameters,
            by_outputs,
            retain_graph=True,
            create_graph=create_graph,
            materialize_grads=True,  # a parameter that no output depends on has a gradient of zeros
        )
