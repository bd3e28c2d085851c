"""NumPy's functions of arrays, as kernels call them.

gymnasium's sines and cosines are NumPy's, whose last bits depend on the processor and on NumPy's version; so a kernel
that is to have the same ones asks NumPy. What a ufunc runs over an array is a plain C function, which needs neither
Python nor its lock and which the ufunc's ``PyUFuncObject`` names (NumPy's C API, "Python types and C-structures"). It
is checked against the ufunc first, and where it is not what it should be, the ufunc itself is called.
"""

import ctypes
import functools
from typing import Any

import numpy as np

_LOOP = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)
_TRIED = np.ldexp(np.linspace(-8.0, 8.0, 203), np.arange(203) % 9)


class _UFunc(ctypes.Structure):
    """The beginning of ``PyUFuncObject``."""

    _fields_ = (
        ("head", ctypes.c_byte * object.__basicsize__),
        *((name, ctypes.c_int) for name in ("n_in", "n_out", "n_arguments", "identity")),
        *(("functions", ctypes.POINTER(ctypes.c_void_p)), ("data", ctypes.POINTER(ctypes.c_void_p))),
        *(("n_kinds", ctypes.c_int), ("reserved", ctypes.c_int)),
    )


@functools.cache
def loop_of(function: np.ufunc, dtype: str) -> Any:  # noqa: ANN401 - ctypes' functions have no public type
    """A C function of four pointers that has the bits of a ufunc of one array.

    Args:
        function: such as ``np.sin``.
        dtype: of the array and the result, ``"d"`` for float64 or ``"f"`` for float32.
    """
    found = inner_loop_of(function, dtype)
    return found if found is not None and _agrees(found, function, dtype) else through_python(function, dtype)


def through_python(function: np.ufunc, dtype: str) -> Any:  # noqa: ANN401 - ctypes' functions have no public type
    """The same by calling the ufunc, which takes Python's lock each time."""
    number = np.ctypeslib.as_ctypes_type(dtype)

    def call(arrays: int, lengths: int, _strides: int, _data: int) -> None:
        numbers = number * ctypes.c_int64.from_address(lengths).value
        addresses = (ctypes.c_int64 * 2).from_address(arrays)
        inputs, results = (np.ctypeslib.as_array(numbers.from_address(address)) for address in addresses)
        with np.errstate(all="ignore"):  # C's caller cannot be warned
            function(inputs, results)

    return _LOOP(call)


def inner_loop_of(function: np.ufunc, dtype: str) -> Any:  # noqa: ANN401 - ctypes' functions have no public type
    """What stands where a ufunc's own loop should be, or None if it is laid out otherwise."""
    laid_out, kind = _UFunc.from_address(id(function)), f"{dtype}->{dtype}"
    counts = laid_out.n_in, laid_out.n_out, laid_out.n_arguments, laid_out.n_kinds
    if counts != (1, 1, 2, function.ntypes) or kind not in function.types:
        return None
    place = function.types.index(kind)
    address = laid_out.functions[place]
    return None if address is None or laid_out.data[place] is not None else _LOOP(address)


def _agrees(loop: Any, function: np.ufunc, dtype: str) -> bool:  # noqa: ANN401 - ctypes' functions have no public type
    tried = _TRIED.astype(dtype)
    for n in (1, 2, 3, 7, tried.size):
        results = np.zeros(n, dtype)
        arrays = np.array([tried.ctypes.data, results.ctypes.data])
        lengths, strides = np.array([n]), np.array([results.itemsize] * 2)
        loop(arrays.ctypes.data, lengths.ctypes.data, strides.ctypes.data, None)
        if results.tobytes() != function(tried[:n]).tobytes():
            return False
    return True
