"""Ranges of options."""

import math

import numpy as np
import pytest

from garage.core import options
from garage.errors import ArgumentError


@pytest.mark.parametrize(
    ("allowed", "inside", "outside"),
    [
        (options.FRACTION, [0, 1, 0.5, np.float32(0.5), np.int64(1)], [-0.1, 1.1, math.nan, "0.5", None]),
        (options.INNER_FRACTION, [0.5, 1e-9], [0, 1, math.nan, None]),
        (options.POSITIVE, [1, 1e-300, np.float64(2)], [0, -1, math.inf, math.nan, "1", None, 1j]),
        (options.POSITIVE_OR_INFINITE, [1e-300, math.inf], [0, -1, math.nan, None]),
        (options.NOT_NEGATIVE, [0, 1, 0.5], [-1e-9, math.inf, math.nan, None]),
        (options.COUNT, [1, 5, np.int64(3)], [0, -1, 1.0, True, math.nan, None, "1"]),
        (options.COUNT_OR_ZERO, [0, 5], [-1, 1.0, False, None]),
        (options.COUNT_OR_NONE, [1, None], [0, 1.0, True]),
        (options.SWITCH, [True, False], [0, 1, None, "yes"]),
    ],
)
def test_a_value_outside_its_range_is_refused_by_name(allowed, inside, outside):
    for value in inside:
        options.check("TRPO", damping=(value, allowed))
    for value in outside:
        with pytest.raises(ArgumentError) as raised:
            options.check("TRPO", discount=(0.9, options.FRACTION), damping=(value, allowed))
        assert str(raised.value) == f"TRPO's damping must be {allowed.expected}, got {value!r}."
