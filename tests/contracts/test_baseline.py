"""The contract of the Baseline port; every implementation runs it."""

import cloudpickle
import numpy as np
import pytest

from core.samples import TWO_ACTIONS, batch_of
from garage.baselines import LinearFeatureBaseline, ZeroBaseline
from garage.core.ports import Stateful
from garage.core.state import differences, flatten

BASELINES = {"linear": LinearFeatureBaseline, "zero": ZeroBaseline}


@pytest.fixture(params=BASELINES.values(), ids=BASELINES.keys())
def make(request):
    return request.param


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


def test_the_state_goes_round_exactly(make, fitted):
    assert isinstance(fitted, Stateful)
    other = make(TWO_ACTIONS)
    other.load_state_dict(fitted.state_dict())
    assert differences(fitted.state_dict(), other.state_dict()) == []
    assert np.array_equal(other.predict(batch_of([9])), fitted.predict(batch_of([9])))


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
    assert differences(again.state_dict(), make(TWO_ACTIONS).state_dict()) == []


def test_its_name_can_be_chosen(make):
    assert make(TWO_ACTIONS, name="values").name == "values"
