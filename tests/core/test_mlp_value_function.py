"""What the value functions of all frameworks share: NumPy's answers are every framework's."""

import contextlib
import dataclasses
import functools
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.samples import TWO_ACTIONS, batch_of
from garage.core.state import differences
from garage.core.streams import Streams
from garage.errors import ArgumentError
from garage.np import value_functions as numpys
from garage.tf import value_functions as tensorflows
from garage.tf.installation import import_tensorflow
from garage.torch import value_functions as torches

tf = import_tensorflow()

BATCH = batch_of([30, 45, 25])
RETURNS = np.sin(BATCH.observations[:, 0]) * 3 + BATCH.steps / 10.0 + 40
OPTIONS = ("hidden_sizes", "n_passes", "minibatch_size", "time_input", "name", "dtype")


@contextlib.contextmanager
def session():
    with tf.compat.v1.Session(graph=tf.Graph()):
        yield


@pytest.fixture(
    params=[(torches.MLPValueFunction, contextlib.nullcontext), (tensorflows.MLPValueFunction, session)],
    ids=["torch", "tf"],
)
def kind(request):
    made, surroundings = request.param
    with surroundings():
        yield made


def beside_numpys(kind, hidden_sizes=(8, 8), **options):
    made = [one(TWO_ACTIONS, hidden_sizes, **options) for one in (kind, numpys.MLPValueFunction)]
    for values in made:
        values.initialise(Streams(1).generator("baseline"))
    return made


def minibatch_of(n, seed=0):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n, 5)), generator.normal(size=n)


@pytest.mark.parametrize("hidden_sizes", [(), (1,), (8, 8), (3, 9, 2)], ids=str)
def test_the_gradient_is_the_numpy_one(kind, hidden_sizes):
    values, numpy_values = beside_numpys(kind, hidden_sizes, dtype="float64")

    @settings(max_examples=30, deadline=None)
    @given(st.integers(1, 40), st.integers(0, 100))
    def is_the_same(n, seed):
        theta = values.theta + 0.3 * np.random.default_rng(seed).normal(size=values.theta.shape)
        gradient, expected = (one._gradient(theta, *minibatch_of(n, seed)) for one in (values, numpy_values))
        assert gradient.dtype == np.float64
        assert np.linalg.norm(gradient - expected) <= 1e-10 * np.linalg.norm(expected)

    is_the_same()


def test_fits_end_where_those_in_numpy_end(kind):
    values, numpy_values = beside_numpys(kind, (64, 64), dtype="float64", minibatch_size=32)
    for returns in (RETURNS, RETURNS**2):
        metrics, expected = values.fit(BATCH, returns), numpy_values.fit(BATCH, returns)
        assert metrics == pytest.approx(expected, rel=1e-8)
    np.testing.assert_allclose(values.theta, numpy_values.theta, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(values.predict(BATCH), numpy_values.predict(BATCH), rtol=1e-8)


def test_without_time_as_an_input_fits_end_there_too_and_time_changes_nothing(kind):
    values, numpy_values = beside_numpys(kind, dtype="float64", time_input=False)
    for one in (values, numpy_values):
        one.fit(BATCH, RETURNS)
        assert one.shape.sizes == (4, 8, 8, 1)
    np.testing.assert_allclose(values.theta, numpy_values.theta, rtol=1e-8, atol=1e-10)
    later = dataclasses.replace(BATCH, first_steps=BATCH.first_steps + 70)
    assert values.predict(later).tobytes() == values.predict(BATCH).tobytes()
    with_time = beside_numpys(kind, dtype="float64")[0]
    with_time.fit(BATCH, RETURNS)
    assert not np.allclose(with_time.predict(later), with_time.predict(BATCH))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_predictions_from_equal_parameters_are_the_same_bits(kind, dtype):
    values, numpy_values = beside_numpys(kind, dtype=dtype)
    values.fit(BATCH, RETURNS)
    numpy_values.load_state_dict(values.state_dict())
    long = batch_of([500] * 5)
    assert values.predict(long).tobytes() == numpy_values.predict(long).tobytes()
    assert differences(values.state_dict(), numpy_values.state_dict()) == []


def test_in_float32_gradients_are_near_those_in_float64(kind):
    single, double = beside_numpys(kind, (64, 64))[0], beside_numpys(kind, (64, 64), dtype="float64")[0]
    inputs, targets = minibatch_of(100)
    exact = double._gradient(double.theta, inputs, targets)
    near = single._gradient(single.theta, inputs.astype(np.float32), targets.astype(np.float32))
    assert near.dtype == np.float64
    assert np.linalg.norm(near - exact) < 1e-5 * np.linalg.norm(exact)


def test_defaults_are_the_same(kind):
    ours, numpy_ones = kind(TWO_ACTIONS), numpys.MLPValueFunction(TWO_ACTIONS)
    assert {name: getattr(ours, name) for name in OPTIONS} == {name: getattr(numpy_ones, name) for name in OPTIONS}


def test_a_pickle_keeps_its_options(kind):
    options = {"n_passes": 2, "minibatch_size": 9, "time_input": False, "name": "values", "dtype": "float64"}
    options |= {"hidden_sizes": (3,)}
    again = pickle.loads(pickle.dumps(kind(TWO_ACTIONS, **options)))
    assert {name: getattr(again, name) for name in OPTIONS} == options


def test_torchs_learns_where_gradients_are_switched_off():
    values, numpy_values = beside_numpys(torches.MLPValueFunction, dtype="float64")
    with torch.no_grad():
        values.fit(BATCH, RETURNS)
    numpy_values.fit(BATCH, RETURNS)
    np.testing.assert_allclose(values.theta, numpy_values.theta, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta", 1.5])
def test_torchs_refuses_a_device_that_is_not_here(device):
    assert torches.MLPValueFunction(TWO_ACTIONS).device == torch.device("cpu")
    with pytest.raises(ArgumentError, match=f"Cannot use device {device!r}"):
        torches.MLPValueFunction(TWO_ACTIONS, device=device)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_on_a_cuda_device_a_fit_ends_near_the_same():
    values, numpy_values = beside_numpys(functools.partial(torches.MLPValueFunction, device="cuda"), dtype="float64")
    values.fit(BATCH, RETURNS)
    numpy_values.fit(BATCH, RETURNS)
    np.testing.assert_allclose(values.theta, numpy_values.theta, rtol=1e-8, atol=1e-10)
