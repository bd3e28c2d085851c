"""A module of a user's whose learnable parameters are views of one flat tensor."""

import copy
import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final, Self, final

import torch
from torch import Tensor, nn

from garage.core.types import Array
from garage.errors import ArgumentError

_DTYPES: Final = (torch.float32, torch.float64)


@final
class FlatModule:
    """A module in eval mode, on a device; a value, which is copied and never changed.

    Learnable parameters are those that require a gradient, each once, however often it is tied. Everything else
    that the module computes with, buffers and frozen parameters, is fixed.

    Args:
        module: of its own; its learnable parameters are views of ``flat``.
        flat: the parameters one after the other, and whatever its owner appends.

    Attributes:
        flat: see above.
        shapes: of the learnable parameters, by name, in the order of ``flat``.
        n_parameters: P, all learnable numbers.
    """

    def __init__(self, module: nn.Module, flat: Tensor) -> None:
        self._module, self.flat = module, flat
        self.shapes = {name: tuple(parameter.shape) for name, parameter in _learnable(module).items()}
        self.n_parameters = sum(math.prod(shape) for shape in self.shapes.values())

    @classmethod
    def of(cls, module: nn.Module, device: torch.device, extra: Array) -> Self:
        """A copy of a user's module.

        Args:
            module: stays as it is.
            device: of the copy.
            extra: what to append to ``flat``, ``[X]``.

        Raises:
            ArgumentError: the module has nothing to learn, or numbers that cannot be computed with here.
        """
        if not isinstance(module, nn.Module):
            msg = f"module must be a torch.nn.Module that was made, got {module!r}."
            raise ArgumentError(msg)
        own = copy.deepcopy(module).to(device).eval()
        learnable = _learnable(own)
        if not learnable:
            msg = (
                f"The module {_kind(module)} has no parameters that require a gradient, so there is nothing to "
                "learn. Did you freeze all of them, or keep layers in a plain list instead of nn.ModuleList?"
            )
            raise ArgumentError(msg)
        _check_dtypes(own)
        numbers = [parameter.detach().reshape(-1) for parameter in learnable.values()]
        flat = torch.cat([*numbers, torch.tensor(extra, dtype=numbers[0].dtype, device=device)])
        return cls(own, flat).at(flat)

    @cached_property
    def array(self) -> Array:
        """`flat` on the host, read-only; copied when it is asked for first."""
        array = self.flat.numpy(force=True).copy()
        array.flags.writeable = False
        return array

    @property
    def dtype(self) -> torch.dtype:
        """Of all that is learned, and of what the module is given."""
        return self.flat.dtype

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The learnable ones, in the order of `shapes`."""
        return list(_learnable(self._module).values())

    @property
    def fixed(self) -> dict[str, Tensor]:
        """Buffers and frozen parameters by name."""
        frozen = {name: value for name, value in self._module.named_parameters() if not value.requires_grad}
        return {**frozen, **dict(self._module.named_buffers())}

    def at(self, flat: Tensor, fixed: Mapping[str, Tensor] | None = None) -> Self:
        """A copy whose parameters are views of another tensor; what is fixed is shared, or replaced by ``fixed``."""
        memo: dict[int, Any] = {}
        for parameter, view in zip(self.parameters, self.views(flat), strict=True):
            memo[id(parameter)] = nn.Parameter(view)
        for name, tensor in self.fixed.items():
            value = tensor if fixed is None else fixed[name]
            frozen = isinstance(tensor, nn.Parameter) and value is not tensor
            memo[id(tensor)] = nn.Parameter(value, requires_grad=False) if frozen else value
        return type(self)(copy.deepcopy(self._module, memo), flat)

    def views(self, vector: Tensor) -> list[Tensor]:
        """The parts of a vector that is laid out as ``flat`` is, in the parameters' shapes."""
        views, start = [], 0
        for shape in self.shapes.values():
            stop = start + math.prod(shape)
            views.append(vector[start:stop].view(shape))
            start = stop
        return views

    def outputs(self, observations: Tensor) -> Any:  # noqa: ANN401 - whatever the user's module returns
        """What the module says of observations ``[n, ...]``, which are converted to its dtype and not scaled."""
        return self._module(observations.to(self.dtype))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A copy that shares nothing."""
        other = self.at(self.flat.clone(), {name: tensor.detach().clone() for name, tensor in self.fixed.items()})
        memo[id(self)] = other
        return other


def _learnable(module: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def _check_dtypes(module: nn.Module) -> None:
    dtypes = {name: parameter.dtype for name, parameter in module.named_parameters()}
    first_name, first = next(iter(dtypes.items()))
    for name, dtype in dtypes.items():
        if dtype != first or dtype not in _DTYPES:
            msg = (
                f"The module's parameters must all be float32 or all be float64: `{first_name}` is {first}, `{name}` "
                f"is {dtype}. Convert the module, for example by module.float()."
            )
            raise ArgumentError(msg)
    for name, buffer in module.named_buffers():
        if buffer.dtype == torch.bfloat16 or buffer.is_quantized or buffer.layout != torch.strided:
            msg = (
                f"The module's buffer `{name}` is {buffer.dtype} in layout {buffer.layout}: it cannot be stored. "
                "Expected a dense one of a dtype that NumPy has."
            )
            raise ArgumentError(msg)


def _kind(module: nn.Module) -> str:
    return type(module).__name__
