"""An MLP with tanh hidden layers and a linear output, by compiled kernels: see ``mlp.c`` for the order of operations.

Sizes are the layers', from input to output; theta is flat, as `garage.core.mlp` lays it out. float32 and float64.
"""

import ctypes
import functools
import itertools
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from garage.errors import ArgumentError, MismatchError, OrderError
from garage.kernels import library

_POINTER, _NUMBER = ctypes.c_void_p, ctypes.c_int64
_ARGUMENTS: dict[str, tuple[type[ctypes.c_void_p | ctypes.c_int64 | ctypes.c_char_p], ...]] = {
    "mlp_prepare": (_POINTER, _POINTER, _NUMBER, _POINTER, _POINTER),
    "mlp_outputs": (_POINTER, ctypes.c_char_p, _NUMBER, _POINTER),
    "mlp_forward": (_POINTER, _NUMBER, _POINTER, _POINTER, _NUMBER, _POINTER, _POINTER, _POINTER),
    "mlp_along": (_POINTER, _NUMBER, _POINTER, _POINTER, _POINTER, _NUMBER, _POINTER, _POINTER, _POINTER),
    "mlp_back": (_POINTER, _NUMBER, _POINTER, _POINTER, _NUMBER, _POINTER, _POINTER, _POINTER, _POINTER),
    "mlp_factors": (_POINTER, _NUMBER, _POINTER, _NUMBER, _POINTER, _POINTER, _POINTER),
    "mlp_number_back": (_POINTER, _NUMBER, _POINTER, _POINTER, _NUMBER, *(_POINTER,) * 5),
    "mlp_number_product": (_POINTER, _NUMBER, _POINTER, _POINTER, _POINTER, _NUMBER, *(_POINTER,) * 5),
}

_DTYPES = frozenset({np.dtype(np.float32), np.dtype(np.float64)})  # a swapped one is not equal
_LINE_BYTES = 64
_PARTS = 16

Array = npt.NDArray[Any]
Dtype = np.dtype[Any]


class Forward:
    """Outputs of a network for any number of rows; a row's bits do not depend on the others.

    Args:
        sizes: of the layers.
        theta: ``[P]``.

    Attributes:
        n_inputs: of the network, and ``n_outputs``.
        dtype: of theta, inputs and outputs.
        address: of ``struct network``, for other kernels.
    """

    def __init__(self, sizes: tuple[int, ...], theta: Array) -> None:
        _check("theta", theta, theta.dtype, (_n_parameters(sizes),))
        self._made_of = sizes, theta.copy()  # what was prepared, whatever becomes of the caller's
        self.n_inputs, self.n_outputs, self.dtype = sizes[0], sizes[-1], theta.dtype
        # A call takes microseconds, so what it needs is looked up once: four words, and what they point at.
        self._network, self._memory = np.zeros(4, np.int64), (np.array(sizes, np.int64), _room(sizes, theta.dtype))
        self.address = self._network.ctypes.data
        kernel, (layers, room) = _function(library.held(), "mlp_prepare", theta.dtype), self._memory
        kernel(self.address, layers.ctypes.data, len(sizes) - 1, theta.ctypes.data, room.ctypes.data)
        self._kernel = _function(library.held(), "mlp_outputs", theta.dtype)
        self._lock = threading.Lock()
        self._make_room(0)

    def __reduce__(self) -> tuple[object, ...]:
        return Forward, self._made_of

    def __call__(self, inputs: Array) -> Array:
        """Outputs ``[n, K]`` for inputs ``[n, sizes[0]]``; the caller's to keep.

        Raises:
            MismatchError: the inputs are of another width or dtype.
        """
        n = len(inputs)
        with self._lock:  # threads may ask one network
            if inputs.shape != self._shape or inputs.dtype != self.dtype:
                _check_kind("inputs", inputs, self.dtype, (n, self.n_inputs))
                self._make_room(n)
            self._kernel(self.address, inputs.tobytes(), n, self._output_address)
            return self._outputs.copy()

    def _make_room(self, n: int) -> None:
        self._shape, self._outputs = (n, self.n_inputs), np.empty((n, self.n_outputs), self.dtype)
        self._output_address = self._outputs.ctypes.data


class Passes:
    """A network's passes over the same rows, forwards, along a direction of theta, and back.

    `forward` comes first: the others are at the theta that it was called with, and an `OrderError` before.

    Args:
        sizes: of the layers.
        inputs: ``[n, sizes[0]]``, in the dtype to compute in.
    """

    def __init__(self, sizes: tuple[int, ...], inputs: Array) -> None:
        self._inputs = np.ascontiguousarray(inputs)
        self._n, self._dtype = len(inputs), inputs.dtype
        self._n_parameters, self._n_outputs, self._n_layers = _n_parameters(sizes), sizes[-1], len(sizes) - 1
        _check("inputs", self._inputs, self._dtype, (self._n, sizes[0]))
        self._sizes, self._room = np.array(sizes, np.int64), _room(sizes, self._dtype)
        self._rows = _padded_rows(self._n, sizes[1:-1] + sizes[1:-2], self._dtype)
        self._hidden_pointers = _pointers(self._rows[: len(sizes) - 2])
        self._factor_pointers = _pointers(self._rows[len(sizes) - 2 :])
        self._theta: Array = np.empty(0, self._dtype)
        self._factored = False

    def forward(self, theta: Array) -> Array:
        """Outputs ``[K, n]`` at theta ``[P]``."""
        _check("theta", theta, self._dtype, (self._n_parameters,))
        self._theta, self._factored = theta.copy(), False
        outputs = np.empty((self._n_outputs, self._n), self._dtype)
        self._call("mlp_forward", self._theta, self._inputs, self._n, self._hidden_pointers, outputs)
        return outputs

    def along(self, direction: Array) -> Array:
        """How the outputs change ``[K, n]`` when theta moves along a direction ``[P]``."""
        _check("direction", direction, self._dtype, (self._n_parameters,))
        change = np.empty((self._n_outputs, self._n), self._dtype)
        self._call("mlp_along", self._theta, direction, self._inputs, self._n, self._hidden_pointers, change)
        return change

    def back(self, by_outputs: Array) -> Array:
        """The gradient by theta, ``[P]`` float64, of what has the gradient ``[K, n]`` by the outputs."""
        _check("by_outputs", by_outputs, self._dtype, (self._n_outputs, self._n))
        gradient = np.zeros(self._n_parameters)
        self._call("mlp_back", self._theta, self._inputs, self._n, self._hidden_pointers, by_outputs, gradient)
        return gradient

    def number_back(self, by_number: Array) -> Array:
        """The gradient by theta, ``[P]`` float64, of what has the gradient ``[n]`` by one number of the outputs.

        The number is the last output less the first, or the only one.
        """
        _check("by_number", by_number, self._dtype, (self._n,))
        self._factor()
        gradient = np.zeros(self._n_parameters)
        pointers = self._hidden_pointers, self._factor_pointers
        self._call("mlp_number_back", self._theta, self._inputs, self._n, *pointers, by_number, gradient)
        return gradient

    def number_product(self, direction: Array, weights: Array) -> Array:
        """``Jᵀ (weights * J direction)``, ``[P]`` float64, for that number's Jacobian J ``[n, P]``, weights ``[n]``."""
        _check("direction", direction, self._dtype, (self._n_parameters,))
        _check("weights", weights, self._dtype, (self._n,))
        self._factor()
        gradient = np.zeros(self._n_parameters)
        rows = self._inputs, self._n, self._hidden_pointers, self._factor_pointers, weights
        self._call("mlp_number_product", self._theta, direction, *rows, gradient)
        return gradient

    def _factor(self) -> None:
        if not self._factored:
            self._call("mlp_factors", self._theta, self._n, self._hidden_pointers, self._factor_pointers)
            self._factored = True

    def _call(self, name: str, *arguments: Any) -> None:
        if not self._theta.size:
            msg = "Cannot compute with a network before `forward` has been called with its theta. Call it first."
            raise OrderError(msg)
        plain = (a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments)
        kernel = _function(library.freeing(), name, self._dtype)
        kernel(self._sizes.ctypes.data, self._n_layers, *plain, self._room.ctypes.data)


@functools.cache
def _function(compiled: ctypes.CDLL, name: str, dtype: Dtype) -> Any:  # noqa: ANN401 - ctypes' functions have no public type
    function = compiled[f"{name}_{dtype.name}"]
    function.argtypes, function.restype = _ARGUMENTS[name], None
    return function


def _room(sizes: tuple[int, ...], dtype: Dtype) -> Array:
    """Scratch for any of the kernels."""
    count = library.held()[f"room_mlp_{dtype.name}"]
    count.argtypes, count.restype = (_POINTER, _NUMBER), _NUMBER
    layers = np.array(sizes, np.int64)  # has a name, so that it is there for as long as the call
    return np.empty(count(layers.ctypes.data, len(sizes) - 1), dtype)


def _padded(units: int) -> int:
    """Columns that a kernel fills up: those of its widest vectors, in any type and on any processor."""
    return -(-units // _PARTS) * _PARTS


def _padded_rows(n: int, layers: tuple[int, ...], dtype: Dtype) -> list[Array]:
    """Arrays ``[n, padded(units)]`` that begin with lines of the cache: a vector that lies in two takes twice as long.

    They are one block: glibc's malloc keeps twice the largest that it was ever given back, so the next batch's is in
    pages that are there already. Pages that are new each time take as long as three Fisher products.
    """
    widths = [_padded(units) for units in layers]
    room = np.empty(n * sum(widths) * dtype.itemsize + _LINE_BYTES, np.uint8)
    start = -room.ctypes.data % _LINE_BYTES
    numbers = room[start : len(room) - _LINE_BYTES + start].view(dtype)
    return [
        numbers[n * before : n * (before + width)].reshape(n, width)
        for before, width in zip(itertools.accumulate(widths, initial=0), widths, strict=False)
    ]


def _pointers(arrays: list[Array]) -> Any:  # noqa: ANN401 - an array of ctypes
    return (_POINTER * max(1, len(arrays)))(*(array.ctypes.data for array in arrays))


def _n_parameters(sizes: tuple[int, ...]) -> int:
    if len(sizes) < 2 or min(sizes) < 1:  # noqa: PLR2004 - inputs and outputs
        msg = (
            f"Cannot compute with layers of sizes {sizes}: expected those of inputs and outputs at least, none below 1."
        )
        raise ArgumentError(msg)
    return sum((inputs + 1) * outputs for inputs, outputs in itertools.pairwise(sizes))


def _check_kind(name: str, array: Array, dtype: Dtype, shape: tuple[int, ...]) -> None:
    known = dtype in _DTYPES
    if array.shape != shape or array.dtype != dtype or not known:
        expected = dtype if known else "this machine's float32 or float64"
        msg = f"Cannot compute with `{name}` of shape {array.shape} in {array.dtype}: expected {shape} in {expected}."
        raise MismatchError(msg)


def _check(name: str, array: Array, dtype: Dtype, shape: tuple[int, ...]) -> None:
    """The kernels take pointers, so whatever does not fit must not come to them."""
    _check_kind(name, array, dtype, shape)
    if not array.flags.c_contiguous:
        msg = f"Cannot compute with `{name}`: its {array.shape} numbers are not in one piece. Pass a copy."
        raise MismatchError(msg)
