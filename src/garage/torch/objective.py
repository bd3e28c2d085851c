"""Three questions about one batch, answered for any differentiable function of one flat vector of parameters.

The Fisher information of a family of distributions is known in closed form by the network's outputs, so a
Fisher product is the network's Jacobian forwards, that closed form, and the Jacobian back: nothing is
differentiated that an outer derivative does not need. Parameters and answers are float64 tensors on the policy's
device; what crosses to the host is scalars and the log-likelihoods.

The batch goes through in blocks of rows, and sums over blocks are taken in order, into float64.
"""

from typing import Any, Protocol

import torch
from torch import Tensor

from garage.core.ports import Evaluation
from garage.core.types import Array
from garage.errors import MismatchError
from garage.torch.families import Family


class Network(Protocol):
    """A differentiable function of a flat vector, over the rows of one batch, at the parameters of its last `move`.

    It is asked block by block, a block being its place in `blocks`.
    """

    @property
    def n_parameters(self) -> int:
        """P."""
        ...

    @property
    def blocks(self) -> list[slice]:
        """The rows of each block."""
        ...

    def move(self, parameters: Tensor) -> None:
        """Take other parameters ``[P]``."""
        ...

    def outputs(self, block: int) -> Tensor:
        """``[n, K]``."""
        ...

    def forward(self, block: int, direction: Tensor) -> Tensor:
        """How the outputs change along ``direction`` ``[P]``: ``[n, K]``."""
        ...

    def reverse(self, block: int, by_outputs: Tensor, total: Tensor) -> None:
        """Add to ``total`` ``[P]`` what a gradient by the outputs ``[n, K]`` means for the parameters."""
        ...


class FlatObjective:
    """The three questions for a network whose outputs parametrise ``family``.

    Args:
        network: over the batch's observations.
        family: the action distributions.
        actions: ``[N, ...]``, the actions taken.
        theta: ``[P + X]``, the network's parameters and then the family's extra ones: where KL is measured from. Its
            dtype and device are those to compute in and on.
    """

    def __init__(self, network: Network, family: Family, actions: Array, theta: Tensor) -> None:
        self._network, self._family = network, family
        self._n, self._dtype, self._device = len(actions), theta.dtype, theta.device
        rows = family.rows(actions, theta)
        self._actions = [rows[block] for block in network.blocks]
        self._at: Tensor | None = None
        self._asked: Tensor | None = None
        self._asked_version = 0
        self._distributions: list[Any] = []
        self.theta = theta.detach().to(torch.float64, copy=True)
        with torch.no_grad():
            self._go_to(self.theta)
        self._old = self._distributions

    def to_array(self, theta: Tensor) -> Array:
        """A copy on the host, float64."""
        return theta.numpy(force=True).copy()

    @torch.no_grad()
    def evaluate(self, theta: Tensor | Array) -> Evaluation:
        """See `Objective.evaluate`."""
        self._go_to(theta)
        log_likelihoods = self.theta.new_empty(self._n)
        sums = self.theta.new_zeros(2)
        of_blocks = zip(self._network.blocks, self._actions, self._old, self._distributions, strict=True)
        for block, actions, old, new in of_blocks:
            log_likelihoods[block] = self._family.log_likelihoods(new, actions)
            sums[0] += self._family.kl(old, new).sum(dtype=torch.float64)
            sums[1] += self._family.entropies(new).sum(dtype=torch.float64)
        kl, entropy = (sums / self._n).tolist()
        return Evaluation(log_likelihoods.numpy(force=True), kl, entropy)

    @torch.no_grad()
    def score(self, theta: Tensor | Array, weights: Array, entropy_weight: float = 0.0) -> Tensor:
        """See `Objective.score`."""
        _check_shape("weights", weights, self._n)
        self._go_to(theta)
        weights_of = torch.tensor(weights, dtype=self._dtype, device=self._device)
        gradient, network, extra = self._zero_gradient()
        for index, block in enumerate(self._network.blocks):
            by_outputs, by_extra = self._family.score(
                self._distributions[index], self._actions[index], weights_of[block], entropy_weight / self._n
            )
            self._network.reverse(index, by_outputs, network)
            extra += by_extra
        return gradient

    @torch.no_grad()
    def fisher_product(self, theta: Tensor | Array, vector: Tensor | Array) -> Tensor:
        """See `Objective.fisher_product`: the Jacobian forwards, the family's Fisher information, the Jacobian back."""
        along = self._vector("vector", vector)
        self._go_to(theta)
        n = self._network.n_parameters
        direction = along[:n].to(self._dtype)
        gradient, network, extra = self._zero_gradient()
        for index, distributions in enumerate(self._distributions):
            change = self._network.forward(index, direction)
            by_outputs, by_extra = self._family.fisher(distributions, change, along[n:])
            self._network.reverse(index, by_outputs, network)
            extra += by_extra
        return gradient / self._n

    def _go_to(self, theta: Tensor | Array) -> None:
        """Distributions at theta; nothing to do if they are there already.

        A tensor that was asked about last and has not been changed since is not compared: on a GPU the host would have
        to wait for the answer, in each iteration of conjugate gradient.
        """
        if theta is self._asked and _version(theta) == self._asked_version:
            return
        there = self._vector("theta", theta)
        self._asked = None
        if self._at is None or not torch.equal(self._at, there):
            self._move(there)
        if isinstance(theta, Tensor) and not theta.is_inference():
            self._asked, self._asked_version = theta, _version(theta)

    def _move(self, there: Tensor) -> None:
        self._at = there.clone()
        parameters = self._at.to(self._dtype)
        n = self._network.n_parameters
        self._network.move(parameters[:n])
        self._distributions = [
            self._family.distributions(self._network.outputs(index), parameters[n:])
            for index in range(len(self._network.blocks))
        ]

    def _vector(self, name: str, values: Tensor | Array) -> Tensor:
        _check_shape(name, values, self._network.n_parameters + self._family.n_extra)
        tensor = values if isinstance(values, Tensor) else torch.tensor(values)
        return tensor.detach().to(self._device, torch.float64)

    def _zero_gradient(self) -> tuple[Tensor, Tensor, Tensor]:
        """A flat float64 vector of theta's layout, and views of the network's part and of what follows it."""
        gradient = torch.zeros_like(self.theta)
        n = self._network.n_parameters
        return gradient, gradient[:n], gradient[n:]


def in_blocks(n_rows: int, block_rows: int) -> list[slice]:
    """The rows of each block, in order; the last one may be shorter."""
    return [slice(start, min(start + block_rows, n_rows)) for start in range(0, n_rows, block_rows)]


def _version(tensor: Tensor) -> int:
    """How often it was changed in place."""
    version: int = tensor._version  # noqa: SLF001 - so PyTorch documents the count by which it notices such changes
    return version


def _check_shape(name: str, values: Tensor | Array, length: int) -> None:
    if tuple(values.shape) != (length,):
        msg = f"Cannot answer for `{name}` of shape {tuple(values.shape)}: this objective expects ({length},)."
        raise MismatchError(msg)
