"""Uniforms of many streams at once, compiled: see ``streams.c``."""

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

from garage.errors import MismatchError
from garage.kernels import library

KEY_BYTES = 16
_ARGUMENTS = (ctypes.c_char_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)


def uniforms(keys: bytes, n: int) -> npt.NDArray[Any]:
    """The first ``n`` uniforms of each of k streams, ``[k, n]`` float64 in [0, 1).

    Args:
        keys: of 16 bytes each, one after the other.
        n: at least 0.

    Raises:
        MismatchError: the keys are not whole.
    """
    n_keys, rest = divmod(len(keys), KEY_BYTES)
    if rest:
        msg = f"Keys of streams have {KEY_BYTES} bytes each, got {len(keys)} bytes."
        raise MismatchError(msg)
    result = np.empty((n_keys, n))
    function = library.held().stream_uniforms
    function.argtypes, function.restype = _ARGUMENTS, None
    function(keys, n_keys, n, result.ctypes.data)
    return result
