"""Uniforms of many streams at once: those of each stream's own generator."""

import numpy as np
import pytest

from garage.core.streams import Streams, first_uniforms, uniforms
from garage.errors import MismatchError
from garage.kernels import streams as kernels

KEYS = [Streams(7).key("episode", ordinal) for ordinal in range(9)]


@pytest.mark.parametrize("n", [0, 1, 3, 4, 5, 511, 512])
@pytest.mark.parametrize("n_keys", [0, 1, 9])
def test_they_are_what_new_generators_draw(level, n, n_keys):
    drawn = first_uniforms(KEYS[:n_keys], n)
    assert drawn.shape == (n_keys, n), level
    assert drawn.dtype == np.float64
    for row, ordinal in zip(drawn, range(n_keys), strict=True):
        assert row.tobytes() == uniforms(Streams(7).generator("episode", ordinal), n).tobytes()


def test_each_call_has_numbers_of_its_own(level):
    drawn = first_uniforms(KEYS, 100)
    before = drawn.copy()
    first_uniforms(KEYS[::-1], 100)
    assert np.array_equal(drawn, before), level


@pytest.mark.parametrize("n_bytes", [1, 15, 17])
def test_a_key_that_is_not_whole_is_refused(n_bytes):
    with pytest.raises(MismatchError, match=f"16 bytes each, got {n_bytes} bytes"):
        kernels.uniforms(bytes(n_bytes), 4)


def test_a_number_below_zero_is_refused():
    with pytest.raises(ValueError, match="negative"):
        kernels.uniforms(KEYS[0], -1)
