"""The multilayer perceptron of every framework."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from garage.core.mlp import MLPShape, hidden_sizes_checked
from garage.core.streams import Streams, uniforms
from garage.errors import ArgumentError

SIZES = st.lists(st.integers(1, 6), min_size=2, max_size=5).map(tuple)


@given(SIZES)
def test_theta_is_each_layers_weights_and_then_its_biases(sizes):
    shape = MLPShape(sizes)
    theta = np.arange(float(shape.n_parameters))
    layers = shape.layers(theta)
    assert [weights.shape for weights, _ in layers] == list(itertools.pairwise(sizes))
    assert [biases.shape for _, biases in layers] == [(size,) for size in sizes[1:]]
    flat = np.concatenate([part.ravel() for layer in layers for part in layer])
    assert flat.tolist() == theta.tolist()
    assert all(np.shares_memory(part, theta) for layer in layers for part in layer)
    for (weights, biases), matrix in zip(layers, shape.matrices(theta), strict=True):
        assert np.array_equal(matrix, np.vstack([weights, biases]))


def test_the_seeds_policy_has_1282_parameters():
    assert MLPShape((4, 32, 32, 2)).n_parameters == 1282


def test_the_table_names_every_layer():
    assert MLPShape((4, 3, 2)).table() == "hidden_0/weights 4x3, hidden_0/biases 3, output/weights 3x2, output/biases 2"
    assert MLPShape((4, 2)).table() == "output/weights 4x2, output/biases 2"


def test_first_weights_are_glorot_uniform_and_biases_zero():
    shape = MLPShape((40, 50, 3))
    theta = shape.draw(Streams(1).generator("policy"))
    assert theta.dtype == np.float64
    for weights, biases in shape.layers(theta):
        limit = np.sqrt(6 / sum(weights.shape))
        assert not biases.any()
        assert np.abs(weights).max() <= limit
        assert np.isclose(weights.var(), limit**2 / 3, rtol=0.2)
        assert abs(weights.mean()) < 0.1 * limit or weights.size < 1000


def test_first_weights_are_the_streams_uniforms_in_order():
    shape = MLPShape((2, 3, 1))
    u = uniforms(Streams(7).generator(), 9)
    (hidden, _), (output, _) = shape.layers(shape.draw(Streams(7).generator()))
    np.testing.assert_array_equal(hidden, np.sqrt(6 / 5) * (2 * u[:6].reshape(2, 3) - 1))
    np.testing.assert_array_equal(output, np.sqrt(6 / 4) * (2 * u[6:].reshape(3, 1) - 1))


@pytest.mark.parametrize("sizes", [(), (4,), (4, 0), (0, 2), (4, -1, 2), (4, 2.0), (4, "2")])
def test_bad_sizes_are_refused(sizes):
    with pytest.raises(ArgumentError, match="Layer sizes must be integers of at least 1"):
        MLPShape(sizes)


@pytest.mark.parametrize("hidden_sizes", [(0,), (32, -1), (1.5,), (True,), "32", ("32",), 32, None, (None,)])
def test_bad_hidden_sizes_are_refused_by_name_with_an_example(hidden_sizes):
    with pytest.raises(ArgumentError, match=r"hidden_sizes must be .* For example: hidden_sizes=\(32, 32\)"):
        hidden_sizes_checked(hidden_sizes)


@pytest.mark.parametrize(
    ("hidden_sizes", "expected"), [([], ()), ([64], (64,)), ((np.int64(8), 4), (8, 4)), (iter([1, 2]), (1, 2))]
)
def test_hidden_sizes_become_a_tuple_of_ints(hidden_sizes, expected):
    checked = hidden_sizes_checked(hidden_sizes)
    assert checked == expected
    assert all(type(size) is int for size in checked)
