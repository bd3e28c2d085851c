"""NPG: its one step is the natural gradient, at its length."""

import logging
import math

import numpy as np
import pytest

from algos.parts import BATCH, V_LAST, Values, World, one_epoch
from core.samples import ONE_FORCE, TWO_ACTIONS, batch_of
from garage.algos import NPG
from garage.baselines import ZeroBaseline
from garage.core import returns, trust_region
from garage.core.streams import Streams
from garage.errors import ArgumentError, MismatchError
from garage.np.policies import CategoricalMLPPolicy, GaussianMLPPolicy

ROWS = ["LossBefore", "LossAfter", "dLoss", "KLBefore", "KL", "Entropy", "Perplexity"]


def make(*, spec=TWO_ACTIONS, dtype="float64", baseline=Values, hidden_sizes=(8,), **options):
    kind = GaussianMLPPolicy if spec is ONE_FORCE else CategoricalMLPPolicy
    algo = NPG(env=World(spec), policy=kind(spec, hidden_sizes, dtype=dtype), baseline=baseline(spec), **options)
    algo.initialise(Streams(1))
    return algo


@pytest.mark.parametrize("damping", [0.1, 1.0])
@pytest.mark.parametrize("kl_step", [1e-3, 0.1])
@pytest.mark.parametrize("entropy_weight", [0.0, 0.3])
@pytest.mark.parametrize("center_adv", [True, False])
def test_a_step_is_the_natural_gradient_at_its_length(damping, kl_step, entropy_weight, center_adv):
    options = {"damping": damping, "kl_step": kl_step, "entropy_weight": entropy_weight, "center_adv": center_adv}
    algo = make(hidden_sizes=(2,), cg_iterations=100, discount=0.9, gae_lambda=0.8, **options)
    theta, objective = algo.policy.theta, algo.policy.objective(BATCH)
    advantages = returns.advantages(BATCH, np.full(160, 3.0), V_LAST, discount=0.9, gae_lambda=0.8, centre=center_adv)
    gradient = objective.score(theta, advantages / 160, entropy_weight)
    fisher = np.stack([objective.fisher_product(theta, column) for column in np.eye(len(theta))], axis=1)
    damped = fisher + damping * np.eye(len(theta))
    direction = np.linalg.solve(damped, gradient)
    expected = np.sqrt(2 * kl_step / (direction @ damped @ direction)) * direction
    one_epoch(algo)
    np.testing.assert_allclose(algo.policy.theta - theta, expected, rtol=1e-2, atol=1e-2 * np.abs(expected).max())


def test_cg_iterations_bounds_the_products():
    one, two = make(cg_iterations=1), make(cg_iterations=2)
    theta = one.policy.theta
    for algo in (one, two):
        one_epoch(algo)
    objective = make().policy.objective(BATCH)
    advantages = returns.advantages(BATCH, np.full(160, 3.0), V_LAST, discount=0.99, gae_lambda=0.98, centre=True)
    along = objective.score(theta, advantages / 160)
    step = one.policy.theta - theta
    assert np.isclose(step @ along, np.linalg.norm(step) * np.linalg.norm(along))  # the plain gradient's direction
    assert not np.allclose(two.policy.theta, one.policy.theta)


@pytest.mark.parametrize("spec", [TWO_ACTIONS, ONE_FORCE], ids=["categorical", "gaussian"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_say_what_the_step_did(spec, dtype):
    algo = make(spec=spec, dtype=dtype)
    batch = batch_of([50, 60], spec=spec)
    before = algo.policy.objective(batch)
    metrics = one_epoch(algo, batch)
    assert set(metrics) == {f"policy/{row}" for row in ROWS} | {"ZeroBaseline/Something"}
    after = before.evaluate(algo.policy.theta)
    assert math.isclose(metrics["policy/KL"], after.kl, rel_tol=1e-3)
    assert 0.003 < metrics["policy/KL"] < 0.02
    assert metrics["policy/LossAfter"] < metrics["policy/LossBefore"]
    assert algo.policy.theta.dtype == dtype


@pytest.mark.parametrize("rewards", [np.zeros(50), np.full(50, np.nan)], ids=["zero", "NaN"])
def test_without_a_gradient_theta_is_unchanged_and_it_is_said(caplog, rewards):
    algo = make(baseline=ZeroBaseline)
    theta = algo.policy.theta.tobytes()
    with caplog.at_level(logging.WARNING):
        metrics = one_epoch(algo, batch_of([50], rewards=rewards))
    assert algo.policy.theta.tobytes() == theta
    assert f"NPG took no step: {trust_region.Outcome.NO_DIRECTION.value}" in caplog.text
    assert metrics["policy/KL"] == 0.0


@pytest.mark.parametrize("discount", [0.0, 0.9])
def test_the_baseline_is_fitted_to_bootstrapped_discounted_returns(discount):
    algo = make(discount=discount)
    one_epoch(algo)
    batch, got = algo.baseline.fitted
    assert batch is BATCH
    assert np.array_equal(got, returns.discounted_sums(BATCH.rewards, BATCH.lengths, discount, V_LAST))


def test_fragments_are_asked_for():
    one_epoch(make(fragments=True))


@pytest.mark.parametrize(
    ("option", "values", "expected"),
    [
        ("discount", [-0.1, 1.1, math.nan], r"within \[0, 1\]"),
        ("gae_lambda", [-0.1, 1.1, math.nan], r"within \[0, 1\]"),
        ("center_adv", [1, None], "True or False"),
        ("kl_step", [0, -1.0, math.nan, math.inf], "above 0 and finite"),
        ("entropy_weight", [-1e-9, math.nan, math.inf], "at least 0 and finite"),
        ("cg_iterations", [0, -1, 2.5, math.nan, True], "an integer of at least 1"),
        ("damping", [-1e-9, math.nan, math.inf], "at least 0 and finite"),
        ("fragments", [1, None], "True or False"),
    ],
)
def test_a_bad_option_is_refused_by_name_with_what_was_expected(option, values, expected):
    for value in values:
        with pytest.raises(ArgumentError, match=f"NPG's {option} must be {expected}, got {value}"):
            make(**{option: value})


def test_a_state_without_a_part_is_refused_by_name():
    algo = make()
    with pytest.raises(MismatchError, match="NPG: `baseline` is missing"):
        algo.load_state_dict({"policy": algo.policy.state_dict()})
