"""The contract of the Baseline port; every implementation runs it."""

import contextlib

import cloudpickle
import numpy as np
import pytest

from core.samples import TWO_ACTIONS, batch_of
from garage.baselines import LinearFeatureBaseline, ZeroBaseline
from garage.core.ports import Stateful
from garage.core.state import differences, flatten
from garage.core.streams import Streams
from garage.np import value_functions as numpys
from garage.tf import value_functions as tensorflows
from garage.tf.installation import import_tensorflow
from garage.torch import value_functions as torches

tf = import_tensorflow()

BASELINES = {
    "linear": LinearFeatureBaseline,
    "zero": ZeroBaseline,
    "np MLP": numpys.MLPValueFunction,
    "torch MLP": torches.MLPValueFunction,
    "tf MLP": tensorflows.MLPValueFunction,
}


@pytest.fixture(params=BASELINES.items(), ids=BASELINES.keys())
def kind(request):
    """Makes uninitialised baselines; TensorFlow's in a session."""
    name, kind = request.param
    with tf.compat.v1.Session(graph=tf.Graph()) if name.startswith("tf") else contextlib.nullcontext():
        yield kind


@pytest.fixture
def make(kind):
    """Makes baselines that were initialised from the same stream."""

    def made(spec, **options):
        baseline = kind(spec, **options)
        baseline.initialise(Streams(1).generator("baseline"))
        return baseline

    return made


@pytest.fixture
def fitted(make):
    baseline = make(TWO_ACTIONS)
    baseline.fit(batch_of([30, 40]), batch_of([30, 40], seed=1).rewards)
    return baseline


def test_there_is_a_finite_prediction_for_each_step_before_and_after_a_fit(make, fitted):
    for baseline in (make(TWO_ACTIONS), fitted):
        for batch in (batch_of([1]), batch_of([3, 4]), batch_of([3, 4]).after()):
            prediction = baseline.predict(batch)
            assert prediction.shape == (batch.n_steps,)
            assert prediction.dtype == np.float64
            assert np.isfinite(prediction).all()


def test_metrics_are_plain_numbers_under_plain_names(make):
    metrics = make(TWO_ACTIONS).fit(batch_of([30]), np.arange(30.0))
    assert all(isinstance(name, str) and "/" not in name for name in metrics)
    assert all(type(value) is float for value in metrics.values())


def test_predicting_changes_nothing(fitted):
    before, batch = fitted.state_dict(), batch_of([8])
    assert np.array_equal(fitted.predict(batch), fitted.predict(batch))
    assert differences(before, fitted.state_dict()) == []


def test_fitting_the_same_gives_the_same_bits(make):
    states = []
    for _ in range(2):
        baseline = make(TWO_ACTIONS)
        baseline.fit(batch_of([30, 40]), np.arange(70.0))
        states.append(baseline.state_dict())
    assert differences(*states) == []


def test_fitting_leaves_batch_and_returns_alone(make):
    batch, returns = batch_of([30]), np.arange(30.0)
    before = batch.observations.copy()
    make(TWO_ACTIONS).fit(batch, returns)
    assert np.array_equal(batch.observations, before)
    assert returns.tolist() == list(range(30))


def test_first_parameters_are_the_generators_alone(kind):
    states = []
    for seed in (1, 1, 2):
        baseline = kind(TWO_ACTIONS)
        baseline.initialise(Streams(seed).generator("baseline"))
        states.append(baseline.state_dict())
    assert differences(states[0], states[1]) == []
    drawn = kind not in {LinearFeatureBaseline, ZeroBaseline}
    assert bool(differences(states[0], states[2])) == drawn


def test_the_state_goes_round_exactly(kind, fitted):
    assert isinstance(fitted, Stateful)
    other = kind(TWO_ACTIONS)
    other.load_state_dict(fitted.state_dict())
    assert differences(fitted.state_dict(), other.state_dict()) == []
    assert np.array_equal(other.predict(batch_of([9])), fitted.predict(batch_of([9])))


def test_learning_goes_on_from_a_state_as_if_uninterrupted(kind, fitted):
    other = kind(TWO_ACTIONS)
    other.load_state_dict(fitted.state_dict())
    for seed in (3, 4):
        batch, returns = batch_of([20, 30], seed=seed), batch_of([50], seed=seed + 1).rewards * seed
        assert fitted.fit(batch, returns) == other.fit(batch, returns)
        assert fitted.predict(batch).tobytes() == other.predict(batch).tobytes()
    assert differences(fitted.state_dict(), other.state_dict()) == []


def test_a_state_is_a_value_that_later_fits_do_not_change(fitted):
    state = fitted.state_dict()
    kept = {path: np.array(leaf) for path, leaf in flatten(state).items()}
    fitted.fit(batch_of([50], seed=5), np.ones(50))
    assert all(np.array_equal(leaf, kept[path]) for path, leaf in flatten(state).items())


def test_who_changes_a_state_does_not_change_its_owner(make, fitted):
    state, before = fitted.state_dict(), fitted.predict(batch_of([9]))
    other = make(TWO_ACTIONS)
    other.load_state_dict(state)
    for leaf in flatten(state).values():
        if isinstance(leaf, np.ndarray) and leaf.flags.writeable:
            leaf[...] = 7
    for baseline in (fitted, other):
        assert np.array_equal(baseline.predict(batch_of([9])), before)


def test_a_pickle_is_the_same_baseline_unfitted(make, fitted):
    again = cloudpickle.loads(cloudpickle.dumps(fitted))
    assert again.name == fitted.name
    again.initialise(Streams(1).generator("baseline"))
    assert differences(again.state_dict(), make(TWO_ACTIONS).state_dict()) == []


def test_its_name_can_be_chosen(make):
    assert make(TWO_ACTIONS, name="values").name == "values"
