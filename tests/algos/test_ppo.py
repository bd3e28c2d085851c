"""PPO: its passes, each of its options, and why passes end."""

import logging
import math

import numpy as np
import pytest

from algos.parts import BATCH, V_LAST, Values, World, one_epoch
from core.samples import ONE_FORCE, TWO_ACTIONS, batch_of
from garage.algos import PPO
from garage.algos.ppo import Outcome
from garage.baselines import ZeroBaseline
from garage.core import losses, returns
from garage.core.adam import Adam, Moments
from garage.core.state import copied, differences
from garage.core.streams import Streams
from garage.errors import ArgumentError, MismatchError
from garage.np.policies import CategoricalMLPPolicy, GaussianMLPPolicy

ROWS = ["LossBefore", "LossAfter", "dLoss", "KLBefore", "KL", "Entropy", "Perplexity"]
ROWS += ["ClipFraction", "GradientNorm", "LearningRate", "NumPasses"]


def make(*, spec=TWO_ACTIONS, dtype="float64", baseline=Values, **options):
    kind = GaussianMLPPolicy if spec is ONE_FORCE else CategoricalMLPPolicy
    algo = PPO(env=World(spec), policy=kind(spec, (8,), dtype=dtype), baseline=baseline(spec), **options)
    algo.initialise(Streams(1))
    return algo


def advantages(*, discount=0.99, gae_lambda=0.95, centre=False):
    return returns.advantages(BATCH, np.full(160, 3.0), V_LAST, discount=discount, gae_lambda=gae_lambda, centre=centre)


@pytest.fixture
def minibatches(monkeypatch):
    """The batches that objectives were made of, the whole one first."""
    seen, objective = [], CategoricalMLPPolicy.objective

    def seeing(self, batch):
        seen.append(batch)
        return objective(self, batch)

    monkeypatch.setattr(CategoricalMLPPolicy, "objective", seeing)
    return seen


@pytest.mark.parametrize("center_adv", [True, False])
@pytest.mark.parametrize("max_gradient_norm", [math.inf, 0.01])
@pytest.mark.parametrize("entropy_weight", [0.0, 0.1])
def test_a_pass_over_one_minibatch_is_adams_step_down_the_clipped_surrogate(
    center_adv, max_gradient_norm, entropy_weight
):
    options = {"center_adv": center_adv, "max_gradient_norm": max_gradient_norm, "entropy_weight": entropy_weight}
    algo = make(n_passes=4, minibatch_size=160, learning_rate=0.05, clip_range=0.1, **options)
    theta, moments = algo.policy.theta, Moments.zeros(len(algo.policy.theta))
    a_t, clipped = advantages(centre=center_adv), 0.0
    old = algo.policy.objective(BATCH).evaluate(theta).log_likelihoods
    for _ in range(4):
        objective = algo.policy.at(theta).objective(BATCH)
        now = objective.evaluate(theta).log_likelihoods
        clipped += losses.clipped_share(now, old, 0.1)
        gradient = -objective.score(theta, losses.clipped_surrogate(now, old, a_t, 0.1).weights, entropy_weight)
        gradient *= min(1.0, max_gradient_norm / np.linalg.norm(gradient))
        theta, moments = Adam(0.05).step(theta, gradient, moments)
    one_epoch(algo)
    assert clipped > 0
    np.testing.assert_allclose(algo.policy.theta, theta, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("minibatch_size", "sizes"), [(160, [160]), (1000, [160]), (80, [80, 80]), (60, [54, 53, 53])])
def test_each_pass_deals_all_steps_evenly_into_as_few_minibatches_as_can_be(minibatches, minibatch_size, sizes):
    algo = make(n_passes=2, minibatch_size=minibatch_size)
    one_epoch(algo)
    assert minibatches.pop(0) is BATCH
    assert [batch.n_steps for batch in minibatches] == sizes * 2
    passes = [np.concatenate([batch.rewards for batch in half]) for half in np.array_split(minibatches, 2)]
    for rewards in passes:
        assert sorted(rewards) == sorted(BATCH.rewards)
    assert not np.array_equal(*passes)


def test_minibatches_are_of_the_streams_alone(minibatches):
    orders = []
    for seed in (1, 1, 2):
        minibatches.clear()
        np.random.seed(seed + len(orders))  # noqa: NPY002 - whatever the process's generator says
        one_epoch(make(n_passes=1), streams=Streams(seed).at("epoch", 0))
        orders.append(np.concatenate([batch.rewards for batch in minibatches[1:]]).tobytes())
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize("n_passes", [1, 3])
def test_n_passes_are_made(minibatches, n_passes):
    metrics = one_epoch(make(n_passes=n_passes))
    assert len(minibatches) == 1 + 3 * n_passes
    assert metrics["policy/NumPasses"] == n_passes


def test_the_baseline_is_fitted_to_values_and_advantages():
    algo = make(discount=0.9, gae_lambda=0.5, n_passes=1)
    one_epoch(algo)
    batch, got = algo.baseline.fitted
    assert batch is BATCH
    np.testing.assert_allclose(got, 3.0 + advantages(discount=0.9, gae_lambda=0.5))


@pytest.mark.parametrize("spec", [TWO_ACTIONS, ONE_FORCE], ids=["categorical", "gaussian"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_say_what_the_passes_did(spec, dtype):
    algo = make(spec=spec, dtype=dtype, learning_rate=0.01)
    batch = batch_of([50, 60], spec=spec)
    objective = algo.policy.objective(batch)
    before = objective.evaluate(objective.theta)
    metrics = one_epoch(algo, batch)
    assert set(metrics) == {f"policy/{row}" for row in ROWS} | {"ZeroBaseline/Something"}
    after = objective.evaluate(algo.policy.theta)
    assert (metrics["policy/KL"], metrics["policy/Entropy"]) == (after.kl, after.entropy)
    assert metrics["policy/KL"] > 0.0 == metrics["policy/KLBefore"]
    assert metrics["policy/LossAfter"] < metrics["policy/LossBefore"]
    share = losses.clipped_share(after.log_likelihoods, before.log_likelihoods, 0.2)
    assert metrics["policy/ClipFraction"] == share
    assert metrics["policy/GradientNorm"] > 0
    assert (metrics["policy/LearningRate"], metrics["policy/NumPasses"]) == (0.01, 10)
    assert algo.policy.theta.dtype == dtype


@pytest.mark.parametrize("clip_range", [0.05, 0.2])
def test_clip_range_is_about_where_ratios_stop(clip_range):
    still = make(n_passes=60, minibatch_size=160, learning_rate=0.01, clip_range=clip_range)
    objective = still.policy.objective(BATCH)
    old = objective.evaluate(objective.theta).log_likelihoods
    one_epoch(still)
    a_t = advantages(centre=True)
    ratios = np.exp(objective.evaluate(still.policy.theta).log_likelihoods - old)
    won = np.where(a_t > 0, ratios - 1, 1 - ratios)
    assert clip_range < won.max() < 6 * clip_range


def test_target_kl_ends_the_passes_and_it_is_said(caplog):
    quick = {"learning_rate": 0.02, "n_passes": 20}
    far = one_epoch(make(**quick))["policy/KL"]
    with caplog.at_level(logging.INFO):
        metrics = one_epoch(make(**quick, target_kl=far / 10))
    n_passes = metrics["policy/NumPasses"]
    assert 1 <= n_passes < 20
    assert metrics["policy/KL"] > far / 10
    assert f"PPO made {n_passes} of 20 passes: {Outcome.FAR_ENOUGH.value}" in caplog.text
    one_fewer = one_epoch(make(**quick | {"n_passes": n_passes - 1})) if n_passes > 1 else {"policy/KL": 0.0}
    assert one_fewer["policy/KL"] <= far / 10


def test_a_target_that_is_never_met_changes_nothing():
    thetas = []
    for target_kl in (1e6, math.inf):
        algo = make(target_kl=target_kl)
        one_epoch(algo)
        thetas.append(algo.policy.theta.tobytes())
    assert thetas[0] == thetas[1]


def test_learning_rate_and_clip_range_fall_in_a_line_and_then_nothing_is_learned(caplog):
    algo = make(decay_epochs=4, learning_rate=0.1, n_passes=2)
    rates = [one_epoch(algo)["policy/LearningRate"] for _ in range(4)]
    np.testing.assert_allclose(rates, [0.1, 0.075, 0.05, 0.025])
    theta = algo.policy.theta.tobytes()
    with caplog.at_level(logging.WARNING):
        metrics = one_epoch(algo)
    assert algo.policy.theta.tobytes() == theta
    assert (metrics["policy/LearningRate"], metrics["policy/NumPasses"]) == (0.0, 0)
    assert math.isnan(metrics["policy/GradientNorm"])
    assert f"PPO made 0 of 2 passes: {Outcome.DECAYED.value}" in caplog.text


def test_the_decay_goes_on_after_a_restore():
    algo = make(decay_epochs=4, learning_rate=0.1, n_passes=2)
    one_epoch(algo)
    again = make(decay_epochs=4, learning_rate=0.1, n_passes=2)
    again.load_state_dict(copied(algo.state_dict()))
    assert one_epoch(again)["policy/LearningRate"] == pytest.approx(0.075)
    one_epoch(algo)
    assert differences(algo.state_dict(), again.state_dict()) == []


def test_a_gradient_that_is_not_finite_changes_nothing_and_is_said(caplog):
    algo = make(baseline=ZeroBaseline)
    one_epoch(algo)
    theta, moments = algo.policy.theta.tobytes(), algo.state_dict()["optimizer"]
    with caplog.at_level(logging.WARNING):
        metrics = one_epoch(algo, batch_of([50], rewards=np.full(50, np.nan)))
    assert algo.policy.theta.tobytes() == theta
    np.testing.assert_equal(algo.state_dict()["optimizer"], moments)
    assert f"PPO made 0 of 10 passes: {Outcome.NOT_FINITE.value}" in caplog.text
    assert metrics["policy/NumPasses"] == 0


def test_passes_that_went_well_warn_of_nothing(caplog):
    with caplog.at_level(logging.INFO):
        one_epoch(make())
    assert not [record for record in caplog.records if record.levelno > logging.INFO]
    assert f"PPO made 10 of 10 passes: {Outcome.FINISHED.value}" in caplog.text


def test_fragments_are_asked_for():
    one_epoch(make(fragments=True))


@pytest.mark.parametrize(
    ("option", "values", "expected"),
    [
        ("discount", [-0.1, 1.1, math.nan], r"within \[0, 1\]"),
        ("gae_lambda", [-0.1, 1.1, math.nan], r"within \[0, 1\]"),
        ("center_adv", [1, None], "True or False"),
        ("learning_rate", [0, -1.0, math.nan, math.inf], "above 0 and finite"),
        ("clip_range", [0, -1.0, math.nan, math.inf], "above 0 and finite"),
        ("n_passes", [0, 2.5, True], "an integer of at least 1"),
        ("minibatch_size", [0, 2.5, True], "an integer of at least 1"),
        ("entropy_weight", [-1e-9, math.nan, math.inf], "at least 0 and finite"),
        ("max_gradient_norm", [0, -1.0, math.nan, None], "above 0"),
        ("target_kl", [0, -1.0, math.nan, None], "above 0"),
        ("decay_epochs", [0, 1.5, True], "an integer of at least 1, or None"),
        ("fragments", [1, None], "True or False"),
    ],
)
def test_a_bad_option_is_refused_by_name_with_what_was_expected(option, values, expected):
    for value in values:
        with pytest.raises(ArgumentError, match=f"PPO's {option} must be {expected}, got {value}"):
            make(**{option: value})


def test_a_target_that_could_end_no_pass_is_refused():
    with pytest.raises(ArgumentError, match=r"target_kl=0\.01 would be ignored.*n_passes=1"):
        make(target_kl=0.01, n_passes=1)


class Remembering(CategoricalMLPPolicy):
    """A policy with a memory of three numbers."""

    def initial_memory(self, n):
        return np.zeros((n, 3))


def test_a_policy_with_a_memory_is_refused():
    with pytest.raises(MismatchError, match=r"PPO cannot teach `policy`, which has a memory of shape \(3,\)"):
        PPO(env=World(TWO_ACTIONS), policy=Remembering(TWO_ACTIONS), baseline=ZeroBaseline(TWO_ACTIONS))


def test_defaults_are_the_papers_for_continuous_control():
    """Table 3; clip_range is the best of table 1."""
    algo = make()
    assert (algo.discount, algo.gae_lambda, algo.clip_range) == (0.99, 0.95, 0.2)
    assert (algo.learning_rate, algo.n_passes, algo.minibatch_size) == (3e-4, 10, 64)


@pytest.mark.parametrize("part", ["policy", "baseline", "optimizer", "n_epochs"])
def test_a_state_without_a_part_is_refused_by_name(part):
    algo = make()
    state = algo.state_dict()
    del state[part]
    with pytest.raises(MismatchError, match=f"PPO: `{part}` is missing"):
        algo.load_state_dict(state)


@pytest.mark.parametrize("n_epochs", [-1, 1.0, True, None])
def test_a_number_of_epochs_that_is_none_is_refused(n_epochs):
    algo = make()
    with pytest.raises(MismatchError, match="`n_epochs` is"):
        algo.load_state_dict(algo.state_dict() | {"n_epochs": n_epochs})
