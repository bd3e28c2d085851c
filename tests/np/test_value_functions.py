"""The MLP value function: its gradient, what a fit is, what it refuses. What holds for all frameworks is here too."""

import copy
import logging
import math
import pickle

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from core.samples import TWO_ACTIONS, batch_of
from experiment.parts import digests, rows, trained
from garage.core.mlp import MLPShape
from garage.core.state import differences
from garage.core.streams import Streams
from garage.core.types import EnvSpec
from garage.errors import ArgumentError, MismatchError, OrderError
from garage.experiment import Trainer
from garage.kernels.mlp import Forward
from garage.np.value_functions import MLPValueFunction

BATCH = batch_of([30, 45, 25], first_steps=[0, 10, 0])
RETURNS = np.sin(BATCH.observations[:, 0]) * 3 + BATCH.steps / 10.0 + 40


def make(hidden_sizes=(8, 8), *, kind=MLPValueFunction, spec=TWO_ACTIONS, seed=1, **options):
    values = kind(spec, hidden_sizes, **options)
    values.initialise(Streams(seed).generator("baseline"))
    return values


class Watched(MLPValueFunction):
    """Keeps the minibatches that it is asked about; its gradient is zero."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.asked = []

    def _gradient(self, theta, inputs, targets):
        self.asked.append((inputs, targets))
        return np.zeros(len(theta))


def inputs_of(batch):
    return np.concatenate([batch.observations, batch.steps[:, np.newaxis] / 100], axis=1)


def mean_squared_error(shape, theta, inputs, targets):
    return np.mean((Forward(shape.sizes, theta)(inputs)[:, 0] - targets) ** 2)


@settings(deadline=None)
@given(st.lists(st.integers(1, 5), max_size=3), st.integers(1, 7), st.integers(0, 100))
def test_the_gradient_is_that_of_the_mean_squared_error(hidden_sizes, n, seed):
    values = make(hidden_sizes, dtype="float64", seed=seed)
    generator = np.random.default_rng(seed)
    theta = values.theta + 0.3 * generator.normal(size=values.theta.shape)
    inputs, targets = generator.normal(size=(n, 5)), generator.normal(size=n)
    gradient = values._gradient(theta, inputs, targets)
    assert gradient.dtype == np.float64
    for p, unit in enumerate(np.eye(len(theta))):
        ahead, behind = (mean_squared_error(values.shape, theta + h * unit, inputs, targets) for h in (1e-5, -1e-5))
        assert math.isclose(gradient[p], (ahead - behind) / 2e-5, rel_tol=1e-5, abs_tol=1e-8)


def test_in_float32_the_gradient_is_near_that_in_float64():
    single, double = make((64, 64)), make((64, 64), dtype="float64")
    inputs, targets = inputs_of(BATCH), (RETURNS - RETURNS.mean()) / RETURNS.std()
    exact = double._gradient(double.theta, inputs, targets)
    near = single._gradient(single.theta, inputs.astype(np.float32), targets.astype(np.float32))
    assert near.dtype == np.float64
    assert np.linalg.norm(near - exact) < 1e-5 * np.linalg.norm(exact)


@pytest.mark.parametrize("ask", ["theta", "predict", "fit", "state_dict"])
def test_without_parameters_it_says_how_to_get_some(ask):
    values = MLPValueFunction(TWO_ACTIONS, name="values")
    calls = {
        "theta": lambda: values.theta,
        "predict": lambda: values.predict(BATCH),
        "fit": lambda: values.fit(BATCH, RETURNS),
        "state_dict": values.state_dict,
    }
    with pytest.raises(OrderError, match=r"`values` has no parameters yet.*\.initialise\(generator\).*trainer\.setup"):
        calls[ask]()


def test_first_parameters_are_the_generators_alone():
    expected = MLPShape((5, 8, 8, 1)).draw(Streams(1).generator("baseline"))
    assert np.array_equal(make(dtype="float64").theta, expected)
    assert np.array_equal(make().theta, expected.astype(np.float32))


def test_to_initialise_is_to_begin_anew():
    values = make()
    values.fit(BATCH, RETURNS)
    values.initialise(Streams(1).generator("baseline"))
    assert differences(make().state_dict(), values.state_dict()) == []


def test_before_the_first_fit_everything_is_zero():
    assert make().predict(BATCH).tolist() == [0.0] * 100


def test_parameters_are_read_only():
    values = make()
    for fit in range(2):
        with pytest.raises(ValueError, match="read-only"):
            values.theta[0] = fit
        values.fit(BATCH, RETURNS)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_prediction_is_the_networks_output_in_the_returns_scale(dtype):
    values, long = make(dtype=dtype), batch_of([500] * 5)
    values.fit(BATCH, RETURNS)
    inputs = np.concatenate([long.observations, (long.steps / 100)[:, np.newaxis]], axis=1).astype(dtype)
    outputs = Forward(values.shape.sizes, values.theta)(inputs)[:, 0].astype(float)
    assert np.array_equal(values.predict(long), RETURNS.mean() + RETURNS.std() * outputs)


def golden_minibatches(n, size):
    """As the docstring says it, row by row."""
    stride = round((math.sqrt(5) - 1) / 2 * n)
    while math.gcd(stride, n) != 1:
        stride += 1
    order = [row * stride % n for row in range(n)]
    return np.array_split(order, -(-n // size))


@pytest.mark.parametrize("minibatch_size", [1, 7, 64, 1000])
def test_a_fit_is_what_its_docstring_says(minibatch_size):
    values = make((6,), dtype="float64", n_passes=2, minibatch_size=minibatch_size, learning_rate=0.01)
    theta, m, v, t, last = values.theta.copy(), 0.0, 0.0, 0, None
    for returns in (RETURNS, 5 * RETURNS**2):
        values.fit(BATCH, returns)
        mean, std = returns.mean(), returns.std()
        targets = (returns - mean) / std
        if last:
            theta[-7:-1] *= last[1] / std
            theta[-1] = (last[1] * theta[-1] + last[0] - mean) / std
        last = mean, std
        for _ in range(2):
            for chunk in golden_minibatches(100, minibatch_size):
                t += 1
                gradient = values._gradient(theta, inputs_of(BATCH)[chunk], targets[chunk])
                m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
                theta = theta - 0.01 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    np.testing.assert_allclose(values.theta, theta, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(values.state_dict()["moments"]["first"], m, rtol=1e-9, atol=1e-12)
    assert values.state_dict()["moments"]["n_steps"] == t


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 320), st.integers(1, 3))
def test_each_pass_has_every_row_once_in_even_minibatches(n, minibatch_size, n_passes):
    batch = batch_of([n])
    values = make((1,), kind=Watched, dtype="float64", n_passes=n_passes, minibatch_size=minibatch_size)
    values.fit(batch, np.arange(float(n)))
    sizes = [len(targets) for _, targets in values.asked]
    assert len(sizes) == n_passes * math.ceil(n / minibatch_size)
    assert max(sizes) <= minibatch_size
    assert max(sizes) - min(sizes) <= 1
    inputs = np.concatenate([inputs for inputs, _ in values.asked])
    targets = np.concatenate([targets for _, targets in values.asked])
    steps = (inputs[:, -1] * 100).round().astype(int)
    assert sorted(steps) == sorted(list(range(n)) * n_passes)
    assert np.array_equal(inputs[:, :-1], batch.observations[steps])
    assert np.array_equal(np.argsort(targets[:n]), np.argsort(steps[:n]))


@pytest.mark.parametrize("length", [50, 200, 500, 1000])
def test_each_minibatch_has_all_times_and_all_parts_of_the_batch(length):
    """Where rows a fixed number apart are learned together, they are those of a few times of each episode."""
    batch = batch_of([length] * (4000 // length))
    values = make((1,), kind=Watched, dtype="float64", n_passes=1, minibatch_size=100)
    values.fit(batch, np.arange(4000.0))
    assert len(values.asked) == 40
    for inputs, targets in values.asked:
        tenths = np.floor(inputs[:, -1].round(6) * 1000 / length).astype(int)
        assert np.bincount(tenths, minlength=10).min() >= 4
        assert np.bincount(np.digitize(targets, np.linspace(-1.74, 1.74, 11)[1:-1]), minlength=10).min() >= 8


def test_what_depends_on_observation_and_time_is_learned():
    values, batch = make((16,), learning_rate=0.01, minibatch_size=32), batch_of([200] * 5)
    returns = 100 * np.tanh(batch.observations[:, 0]) + batch.steps
    shares = [values.fit(batch, returns)["ExplainedVariance"] for _ in range(6)]
    assert shares[0] == 0.0
    assert shares[-1] > 0.98
    late = batch_of([200] * 5, first_steps=[50] * 5)
    assert np.mean(values.predict(late) - values.predict(batch)) > 30


def test_returns_of_another_unit_are_learned_the_same():
    plain, doubled = make(), make()
    for _ in range(2):
        plain.fit(BATCH, RETURNS)
        doubled.fit(BATCH, RETURNS * 2.0**20)
    assert np.array_equal(plain.theta, doubled.theta)
    assert np.array_equal(plain.predict(BATCH) * 2.0**20, doubled.predict(BATCH))


@settings(deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(1e-2, 1e4))
def test_a_change_of_scale_changes_no_prediction_by_itself(shift, factor):
    values = make(dtype="float64")
    values.fit(BATCH, RETURNS)
    before = values.predict(BATCH)
    still = make(kind=Watched, dtype="float64")
    still.load_state_dict(values.state_dict() | {"moments": make().state_dict()["moments"]})
    returns = RETURNS * factor + shift
    still.fit(BATCH, returns)
    assert still.state_dict()["returns"] == {"mean": returns.mean(), "std": returns.std()}
    np.testing.assert_allclose(still.predict(BATCH), before, rtol=1e-6, atol=1e-9 * (1 + abs(shift)))


def test_equal_returns_for_many_fits_spoil_nothing():
    values = make(minibatch_size=8)
    values.fit(BATCH, RETURNS)
    for returns in (np.zeros(100), np.full(100, 7.1), RETURNS * 1e-9):
        for _ in range(20):
            values.fit(BATCH, returns)
        assert values.state_dict()["returns"]["std"] == RETURNS.std()
        np.testing.assert_allclose(values.predict(BATCH), returns, atol=0.5 * RETURNS.std())
    shares = [values.fit(BATCH, RETURNS)["ExplainedVariance"] for _ in range(20)]
    assert shares[-1] > 0.8


def test_until_returns_differ_their_mean_is_predicted():
    values = make()
    for number in (0.1, 0.7, 5.0):  # the mean of a hundred times 0.1 is not quite 0.1
        metrics = values.fit(BATCH, np.full(100, number))
        np.testing.assert_allclose(values.predict(BATCH), number, rtol=1e-12)
        assert metrics["Loss"] < 1.0
    values.fit(BATCH, RETURNS)
    assert values.predict(BATCH).std() > 0.1


def test_metrics_are_of_the_prediction_before_and_after():
    values = make()
    values.fit(BATCH, RETURNS)
    before = values.predict(BATCH)
    metrics = values.fit(BATCH, 2 * RETURNS)
    variance = np.var(2 * RETURNS)
    assert math.isclose(metrics["ExplainedVariance"], 1 - np.var(2 * RETURNS - before) / variance)
    assert math.isclose(metrics["Loss"], np.mean((values.predict(BATCH) - 2 * RETURNS) ** 2) / variance)


@pytest.mark.parametrize("where", ["observations", "returns"])
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_fitted_and_said(where, number, caplog):
    values, batch, returns = make(), batch_of([50]), np.arange(50.0)
    values.fit(batch, returns)
    before = values.state_dict()
    (returns if where == "returns" else batch.observations[:, 1])[3] = number
    with caplog.at_level(logging.WARNING):
        metrics = values.fit(batch, returns)
    assert differences(before, values.state_dict()) == []
    assert "MLPValueFunction: observations or returns are not finite" in caplog.text
    assert [math.isnan(metrics[name]) for name in ("ExplainedVariance", "Loss")] == [True, True]


def test_returns_whose_variance_is_not_finite_are_not_fitted(caplog):
    values = make()
    before = values.state_dict()
    values.fit(BATCH, 1e300 * np.sign(RETURNS - RETURNS.mean()))
    assert differences(before, values.state_dict()) == []
    assert "not finite or too large" in caplog.text


def test_learning_that_diverges_spoils_nothing_and_is_said(caplog):
    values = make(learning_rate=1e38)
    before = values.state_dict()
    metrics = values.fit(BATCH, RETURNS)
    assert differences(before, values.state_dict()) == []
    assert "learning led to parameters or predictions that are not finite" in caplog.text
    assert math.isnan(metrics["Loss"])


def test_returns_of_another_shape_are_refused():
    for returns in (RETURNS[1:], RETURNS[:, np.newaxis]):
        with pytest.raises(MismatchError, match=r"Cannot fit `MLPValueFunction` to returns of shape .*expected \(100,"):
            make().fit(BATCH, returns)


@pytest.mark.parametrize(
    ("space", "size"), [(spaces.Discrete(5), 5), (spaces.Box(0, 255, (2, 3), np.uint8), 6), (spaces.MultiBinary(3), 3)]
)
def test_observations_of_any_flat_space_will_do(space, size):
    spec = EnvSpec(space, spaces.Discrete(2))
    values, batch = make(spec=spec), batch_of([30], spec=spec)
    values.fit(batch, batch.rewards)
    assert values.shape.sizes == (size + 1, 8, 8, 1)
    assert np.isfinite(values.predict(batch)).all()


def test_a_state_that_does_not_fit_is_refused_by_path_and_changes_nothing():
    values = make(name="values")
    values.fit(BATCH, RETURNS)
    good = values.state_dict()
    for bad, message in (
        (make((4,)).state_dict(), r"`values/theta`: the snapshot has float32 of shape \(29,\), this .*\(129,\).*5x4.*"),
        (make(dtype="float64").state_dict(), r"the snapshot has float64 .*this value function has float32"),
        (good | {"theta": 3}, "`values/theta`: the snapshot has 3"),
        (good | {"moments": make((4,)).state_dict()["moments"]}, r"`first` of `values/moments`: got .*\(29,\)"),
        (good | {"returns": {"mean": 1.0, "std": None}}, "`values/returns/std`: got None, expected a float"),
        (good | {"returns": {"mean": 1.0}}, "`values/returns`: `std` is missing"),
        ({key: leaf for key, leaf in good.items() if key != "moments"}, "`moments` is missing"),
        ({}, "`theta` is missing"),
    ):
        with pytest.raises(MismatchError, match=message):
            values.load_state_dict(bad)
        assert differences(good, values.state_dict()) == []


@pytest.mark.parametrize(
    ("option", "values", "expected"),
    [
        ("learning_rate", [0, -1.0, math.nan, math.inf], "learning_rate must be above 0 and finite"),
        ("n_passes", [0, -1, 2.0, True], "n_passes must be an integer of at least 1"),
        ("minibatch_size", [0, -1, 2.0, True, None], "minibatch_size must be an integer of at least 1"),
        ("time_input", [1, None], "time_input must be True or False"),
        ("dtype", ["float16", "double"], "dtype must be 'float32' or 'float64'"),
        ("hidden_sizes", [(0,), 3], "hidden_sizes must be integers of at least 1"),
    ],
)
def test_a_bad_option_is_refused_by_name(option, values, expected):
    for value in values:
        with pytest.raises(ArgumentError, match=f"{expected}, got {value!r}".replace("(", r"\(").replace(")", r"\)")):
            MLPValueFunction(TWO_ACTIONS, **{option: value})


def test_a_pickle_keeps_its_options():
    options = {"hidden_sizes": (3,), "n_passes": 2, "minibatch_size": 9, "name": "values", "dtype": "float64"}
    again = pickle.loads(pickle.dumps(MLPValueFunction(TWO_ACTIONS, **options)))
    assert {option: getattr(again, option) for option in options} == options


def test_a_copy_has_learned_the_same_and_goes_its_own_way():
    values = make()
    values.fit(BATCH, RETURNS)
    state = values.state_dict()
    for copied in (copy.copy(values), copy.deepcopy(values)):
        assert differences(state, copied.state_dict()) == []
        copied.fit(BATCH, -RETURNS)
        assert differences(state, values.state_dict()) == []


def test_trpo_learns_cartpole_with_it(tmp_path):
    trained(tmp_path, 12, batch_size=1500, hidden_sizes=(32, 32), baseline=MLPValueFunction)
    returns = [row["Evaluation/AverageReturn"] for row in rows(tmp_path)]
    assert returns[0] < 40
    assert np.mean(returns[-3:]) > 100


def test_a_snapshot_restores_bit_for_bit(tmp_path):
    path = tmp_path / "run"
    trained(path, 4, baseline=MLPValueFunction, context={"snapshot_mode": "all"})
    trainer = Trainer()
    trainer.restore(path, from_epoch=1)
    trainer.resume(n_epochs=4)
    assert digests(trainer.snapshot_dir) == digests(path)
    assert trainer.snapshot_dir != path
