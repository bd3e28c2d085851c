"""The multilayer perceptron of every framework."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from garage.core.mlp import ForwardPass, MLPShape, forward, hidden_sizes_checked
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


@given(SIZES, st.integers(0, 99), st.sampled_from([np.float32, np.float64]))
def test_forward_is_tanh_but_for_the_last_layer(sizes, seed, dtype):
    shape, generator = MLPShape(sizes), np.random.default_rng(seed)
    theta = generator.normal(size=shape.n_parameters).astype(dtype)
    inputs = generator.normal(size=(3, sizes[0])).astype(dtype)
    before = inputs.copy(), theta.copy()
    outputs = forward(shape.layers(theta), inputs)
    assert outputs.dtype == dtype
    for row in range(3):
        values = inputs[row].tolist()
        for index, (weights, biases) in enumerate(shape.layers(theta.astype(np.float64))):
            sums = [sum(v * w for v, w in zip(values, column, strict=True)) for column in weights.T]
            values = [total + bias for total, bias in zip(sums, biases, strict=True)]
            if index < len(sizes) - 2:
                values = np.tanh(values).tolist()
        np.testing.assert_allclose(outputs[row], values, rtol=1e-4, atol=1e-5)
    assert np.array_equal(inputs, before[0])
    assert np.array_equal(theta, before[1])


@given(
    SIZES, st.lists(st.sampled_from([1, 2, 3, 64]), min_size=1, max_size=5), st.sampled_from([np.float32, np.float64])
)
def test_a_forward_pass_gives_the_bits_of_forward_at_any_number_of_rows(sizes, widths, dtype):
    shape, generator = MLPShape(sizes), np.random.default_rng(0)
    layers = shape.layers(generator.normal(size=shape.n_parameters).astype(dtype))
    again_and_again, kept = ForwardPass(layers), []
    for n in widths:
        inputs = generator.normal(size=(n, sizes[0])).astype(dtype)
        before = inputs.copy()
        kept.append((again_and_again(inputs), forward(layers, inputs)))
        assert np.array_equal(inputs, before)
    for outputs, expected in kept:  # and what was returned first is still what it was
        assert outputs.dtype == dtype
        assert outputs.tobytes() == expected.tobytes()


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
