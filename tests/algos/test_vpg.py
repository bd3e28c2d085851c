"""VPG: its one step is Adam's along the policy gradient."""

import logging
import math

import numpy as np
import pytest

from algos.parts import BATCH, V_LAST, Values, World, one_epoch
from core.samples import ONE_FORCE, TWO_ACTIONS, batch_of
from garage.algos import VPG
from garage.baselines import ZeroBaseline
from garage.core import returns
from garage.core.adam import Adam, Moments
from garage.core.streams import Streams
from garage.errors import ArgumentError, MismatchError
from garage.np.policies import CategoricalMLPPolicy, GaussianMLPPolicy

ROWS = ["LossBefore", "LossAfter", "dLoss", "KLBefore", "KL", "Entropy", "Perplexity"]


def make(*, spec=TWO_ACTIONS, dtype="float64", baseline=Values, **options):
    kind = GaussianMLPPolicy if spec is ONE_FORCE else CategoricalMLPPolicy
    algo = VPG(env=World(spec), policy=kind(spec, (8,), dtype=dtype), baseline=baseline(spec), **options)
    algo.initialise(Streams(1))
    return algo


@pytest.mark.parametrize("gae_lambda", [0.0, 0.9])
@pytest.mark.parametrize("center_adv", [True, False])
@pytest.mark.parametrize("entropy_weight", [0.0, 0.3])
def test_a_step_is_adams_along_the_gradient_of_likelihoods_by_advantages(gae_lambda, center_adv, entropy_weight):
    options = {"gae_lambda": gae_lambda, "center_adv": center_adv, "entropy_weight": entropy_weight}
    algo = make(**options, discount=0.9, learning_rate=0.02)
    theta, moments = algo.policy.theta, Moments.zeros(len(algo.policy.theta))
    for _ in range(2):
        advantages = returns.advantages(
            BATCH, np.full(160, 3.0), V_LAST, discount=0.9, gae_lambda=gae_lambda, centre=center_adv
        )
        gradient = algo.policy.at(theta).objective(BATCH).score(theta, advantages / 160, entropy_weight)
        theta, moments = Adam(0.02).step(theta, -gradient, moments)
        one_epoch(algo)
        np.testing.assert_allclose(algo.policy.theta, theta, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("spec", [TWO_ACTIONS, ONE_FORCE], ids=["categorical", "gaussian"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_say_what_the_step_did(spec, dtype):
    algo = make(spec=spec, dtype=dtype)
    batch = batch_of([50, 60], spec=spec)
    before = algo.policy.objective(batch)
    metrics = one_epoch(algo, batch)
    assert set(metrics) == {f"policy/{row}" for row in ROWS} | {"ZeroBaseline/Something"}
    after = before.evaluate(algo.policy.theta)
    assert (metrics["policy/KL"], metrics["policy/Entropy"]) == (after.kl, after.entropy)
    assert metrics["policy/KL"] > 0.0 == metrics["policy/KLBefore"]
    assert metrics["policy/LossAfter"] < metrics["policy/LossBefore"]
    assert metrics["policy/dLoss"] == metrics["policy/LossBefore"] - metrics["policy/LossAfter"]
    assert algo.policy.theta.dtype == dtype


@pytest.mark.parametrize("discount", [0.0, 0.9])
def test_the_baseline_is_fitted_to_bootstrapped_discounted_returns(discount):
    algo = make(discount=discount)
    one_epoch(algo)
    batch, got = algo.baseline.fitted
    assert batch is BATCH
    assert np.array_equal(got, returns.discounted_sums(BATCH.rewards, BATCH.lengths, discount, V_LAST))


def test_a_gradient_that_is_not_finite_changes_nothing_and_is_said(caplog):
    algo = make(baseline=ZeroBaseline)
    one_epoch(algo)
    theta, moments = algo.policy.theta.tobytes(), algo.state_dict()["optimizer"]
    with caplog.at_level(logging.WARNING):
        one_epoch(algo, batch_of([50], rewards=np.full(50, np.nan)))
    assert algo.policy.theta.tobytes() == theta
    np.testing.assert_equal(algo.state_dict()["optimizer"], moments)
    assert "VPG took no step: the gradient is not finite; the old parameters are kept" in caplog.text


def test_fragments_are_asked_for():
    one_epoch(make(fragments=True))


@pytest.mark.parametrize(
    ("option", "values", "expected"),
    [
        ("discount", [-0.1, 1.1, math.nan], r"within \[0, 1\]"),
        ("gae_lambda", [-0.1, 1.1, math.nan], r"within \[0, 1\]"),
        ("center_adv", [1, None], "True or False"),
        ("learning_rate", [0, -1.0, math.nan, math.inf], "above 0 and finite"),
        ("entropy_weight", [-1e-9, math.nan, math.inf], "at least 0 and finite"),
        ("fragments", [1, None], "True or False"),
    ],
)
def test_a_bad_option_is_refused_by_name_with_what_was_expected(option, values, expected):
    for value in values:
        with pytest.raises(ArgumentError, match=f"VPG's {option} must be {expected}, got {value}"):
            make(**{option: value})


@pytest.mark.parametrize("part", ["policy", "baseline", "optimizer"])
def test_a_state_without_a_part_is_refused_by_name(part):
    algo = make()
    state = algo.state_dict()
    del state[part]
    with pytest.raises(MismatchError, match=f"VPG: `{part}` is missing"):
        algo.load_state_dict(state)


def test_moments_of_another_policy_are_refused():
    algo = make()
    state = algo.state_dict() | {"optimizer": Moments.zeros(3).state_dict()}
    with pytest.raises(MismatchError, match=r"`first` of VPG/optimizer: got float64 of shape \(3,\)"):
        algo.load_state_dict(state)
