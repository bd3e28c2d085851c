"""The linear baseline: what it can fit exactly, and what it does when it cannot."""

import logging
import math
import pickle

import numpy as np
import pytest
from gymnasium import spaces

from core.samples import TWO_ACTIONS, batch_of
from garage.baselines import LinearFeatureBaseline
from garage.core.types import EnvSpec
from garage.errors import ArgumentError, MismatchError


def features_of(batch):
    """As the docstring says them, row by row."""
    rows = []
    for observation, step in zip(batch.observations.astype(np.float64), batch.steps, strict=True):
        clipped = [min(max(number, -10.0), 10.0) for number in observation.ravel()]
        t = step / 100
        rows.append([*clipped, *[number**2 for number in clipped], t, t**2, t**3, 1.0])
    return np.array(rows)


def test_before_the_first_fit_everything_is_zero():
    batch = batch_of([5, 3])
    prediction = LinearFeatureBaseline(TWO_ACTIONS).predict(batch)
    assert prediction.tolist() == [0.0] * 8
    assert prediction.dtype == np.float64


def test_an_exactly_linear_target_is_recovered():
    batch = batch_of([120, 80, 150], first_steps=[0, 10, 0])
    weights = np.random.default_rng(1).normal(size=12)
    baseline = LinearFeatureBaseline(TWO_ACTIONS)
    baseline.fit(batch, features_of(batch) @ weights)
    np.testing.assert_allclose(baseline.predict(batch), features_of(batch) @ weights, atol=1e-4)
    other = batch_of([40, 30], seed=9)
    np.testing.assert_allclose(baseline.predict(other), features_of(other) @ weights, atol=1e-4)


def test_observations_beyond_10_count_as_10():
    batch = batch_of([60])
    baseline = LinearFeatureBaseline(TWO_ACTIONS)
    baseline.fit(batch, batch.rewards)
    far, at_10 = batch_of([3]), batch_of([3])
    far.observations[:], at_10.observations[:] = 1e6, 10.0
    assert np.array_equal(baseline.predict(far), baseline.predict(at_10))


def test_time_is_that_in_the_episode_and_not_in_the_batch():
    batch = batch_of([300])
    baseline = LinearFeatureBaseline(TWO_ACTIONS)
    baseline.fit(batch, batch.steps.astype(float))
    late = batch_of([300], first_steps=[50])
    np.testing.assert_allclose(baseline.predict(late), np.arange(300) + 50, atol=1e-3)
    np.testing.assert_allclose(baseline.predict(batch.after()), [300], atol=1e-3)


def test_the_coefficients_are_those_of_ridge_regression():
    batch, ridge = batch_of([50]), 0.5
    baseline = LinearFeatureBaseline(TWO_ACTIONS, ridge=ridge)
    baseline.fit(batch, batch.rewards)
    features = features_of(batch)
    expected = np.linalg.solve(features.T @ features + ridge * np.eye(12), features.T @ batch.rewards)
    np.testing.assert_allclose(baseline.state_dict()["coefficients"], expected, rtol=1e-8)


@pytest.mark.parametrize("ridge", [0.0, -1.0, math.inf, math.nan, "a", None])
def test_a_ridge_that_is_none_is_refused(ridge):
    with pytest.raises(ArgumentError, match="ridge must be above 0 and finite, got"):
        LinearFeatureBaseline(TWO_ACTIONS, ridge=ridge)


def test_a_heavier_ridge_gives_smaller_coefficients():
    batch = batch_of([50])
    norms = []
    for ridge in (1e-5, 1.0, 100.0):
        baseline = LinearFeatureBaseline(TWO_ACTIONS, ridge=ridge)
        baseline.fit(batch, batch.rewards)
        norms.append(np.linalg.norm(baseline.state_dict()["coefficients"]))
    assert norms[0] > norms[1] > norms[2]


def test_fewer_steps_than_features_are_fitted_all_the_same():
    batch = batch_of([2])
    baseline = LinearFeatureBaseline(TWO_ACTIONS)
    baseline.fit(batch, np.array([1.0, -1.0]))
    np.testing.assert_allclose(baseline.predict(batch), [1, -1], atol=1e-3)


def solver_that_fails(monkeypatch, n_times):
    """Make the first solutions NaN; returns the ridges tried."""
    solve, ridges, batch = np.linalg.lstsq, [], batch_of([50])
    gram = features_of(batch).T @ features_of(batch)

    def lstsq(matrix, moments, rcond):
        ridges.append((matrix - gram).trace() / len(gram))
        solution = solve(matrix, moments, rcond=rcond)
        return (np.full_like(solution[0], np.nan), *solution[1:]) if len(ridges) <= n_times else solution

    monkeypatch.setattr(np.linalg, "lstsq", lstsq)
    return ridges, batch


@pytest.mark.parametrize("n_times", range(6))
def test_the_ridge_grows_tenfold_while_there_is_no_solution(monkeypatch, n_times):
    ridges, batch = solver_that_fails(monkeypatch, n_times)
    baseline = LinearFeatureBaseline(TWO_ACTIONS, ridge=1e-2)
    baseline.fit(batch, batch.rewards)
    np.testing.assert_allclose(ridges, [1e-2 * 10**attempt for attempt in range(n_times + 1)], rtol=1e-3)
    assert baseline.state_dict()["coefficients"].any()


def test_after_five_tenfold_ridges_the_old_coefficients_stay(monkeypatch):
    baseline = LinearFeatureBaseline(TWO_ACTIONS)
    baseline.fit(batch_of([50]), np.ones(50))
    before = baseline.state_dict()["coefficients"]
    ridges, batch = solver_that_fails(monkeypatch, 99)
    baseline.fit(batch, batch.rewards)
    assert len(ridges) == 6
    assert np.array_equal(baseline.state_dict()["coefficients"], before)


@pytest.mark.parametrize("where", ["observations", "returns"])
@pytest.mark.parametrize("number", [np.nan, np.inf])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_what_is_not_finite_is_not_fitted_and_said(where, number, caplog):
    """A solver that is given NaN may never come back."""
    baseline = LinearFeatureBaseline(TWO_ACTIONS)
    baseline.fit(batch_of([50]), np.ones(50))
    before = baseline.state_dict()["coefficients"]
    batch, returns = batch_of([50]), np.ones(50)
    if where == "returns":
        returns[3] = number
    else:
        batch.observations[3, 1] = np.nan  # infinity is clipped
    with caplog.at_level(logging.WARNING):
        baseline.fit(batch, returns)
    assert np.array_equal(baseline.state_dict()["coefficients"], before)
    assert "LinearFeatureBaseline: observations or returns are not finite" in caplog.text


def test_explained_variance_is_that_of_the_prediction_made_before():
    batch = batch_of([100])
    target = features_of(batch) @ np.arange(12.0)
    baseline = LinearFeatureBaseline(TWO_ACTIONS)
    assert baseline.fit(batch, target)["ExplainedVariance"] == 0.0
    assert baseline.fit(batch, target)["ExplainedVariance"] > 0.999999
    assert np.isnan(baseline.fit(batch, np.ones(100))["ExplainedVariance"])


@pytest.mark.parametrize(
    ("space", "size"), [(spaces.Discrete(5), 5), (spaces.Box(0, 255, (2, 3), np.uint8), 6), (spaces.MultiBinary(3), 3)]
)
def test_observations_of_any_flat_space_will_do(space, size):
    spec = EnvSpec(space, spaces.Discrete(2))
    baseline, batch = LinearFeatureBaseline(spec), batch_of([30], spec=spec)
    baseline.fit(batch, batch.rewards)
    assert baseline.state_dict()["coefficients"].shape == (2 * size + 4,)
    assert np.isfinite(baseline.predict(batch)).all()


def test_loading_the_coefficients_of_other_observations_names_both_shapes():
    baseline = LinearFeatureBaseline(TWO_ACTIONS, name="values")
    with pytest.raises(MismatchError, match=r"`values/coefficients`: the snapshot has shape \(3,\).*has \(12,\)"):
        baseline.load_state_dict({"coefficients": np.zeros(3)})
    with pytest.raises(MismatchError, match=r"the snapshot has shape \(\)"):
        baseline.load_state_dict({"coefficients": None})
    with pytest.raises(MismatchError, match="`coefficients` is missing"):
        baseline.load_state_dict({})


@pytest.mark.parametrize("ridge", [0.0, -1.0, float("nan")])
def test_a_bad_ridge_is_refused_by_name(ridge):
    with pytest.raises(ArgumentError, match="ridge must be above 0"):
        LinearFeatureBaseline(TWO_ACTIONS, ridge=ridge)


def test_a_pickle_keeps_its_options():
    again = pickle.loads(pickle.dumps(LinearFeatureBaseline(TWO_ACTIONS, ridge=0.1, name="values")))
    assert (again.ridge, again.name) == (0.1, "values")
