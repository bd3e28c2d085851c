"""NumPy's functions as kernels call them have NumPy's bits, whatever way they are reached."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from garage.kernels.library import address_of
from garage.kernels.numpy_loops import inner_loop_of, loop_of, through_python

FUNCTIONS = pytest.mark.parametrize("function", [np.sin, np.cos], ids=lambda function: function.__name__)
DTYPES = pytest.mark.parametrize("dtype", ["d", "f"])
SEVERAL = st.lists(st.floats(-1e9, 1e9), max_size=70)


def called(loop, numbers):
    results = np.full_like(numbers, 7.0)
    addresses = np.array([numbers.ctypes.data, results.ctypes.data])
    lengths, strides = np.array([numbers.size]), np.array([numbers.itemsize] * 2)
    loop(addresses.ctypes.data, lengths.ctypes.data, strides.ctypes.data, None)
    return results


@FUNCTIONS
@DTYPES
@pytest.mark.parametrize("reach", [loop_of, through_python])
@given(numbers=SEVERAL)
def test_bits_are_the_functions(function, dtype, reach, numbers):
    numbers = np.array(numbers, dtype)
    assert called(reach(function, dtype), numbers).tobytes() == function(numbers).tobytes()


@FUNCTIONS
@DTYPES
def test_this_numpy_has_them_where_its_documentation_says(function, dtype):
    """Else worlds step through Python, which is right, and slow."""
    assert address_of(loop_of(function, dtype)) == address_of(inner_loop_of(function, dtype)) != 0


def test_a_function_without_such_a_loop_is_called_itself():
    numbers = np.array([1.0, np.nan, np.inf])
    assert inner_loop_of(np.isfinite, "d") is None
    assert called(loop_of(np.isfinite, "d"), numbers).tolist() == [1.0, 0.0, 0.0]


def test_what_is_not_a_number_raises_no_warning():
    for reach in (loop_of, through_python):
        assert np.isnan(called(reach(np.sin, "d"), np.array([np.inf, np.nan]))).all()
