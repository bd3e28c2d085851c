"""TRPO: every option, what comes of a step, and when none is taken."""

import logging
import math
import pickle
from types import SimpleNamespace

import numpy as np
import pytest

from algos.parts import BATCH, V_LAST, Values, World, one_epoch
from core.samples import ONE_FORCE, THREE_ACTIONS, TWO_ACTIONS, batch_of
from garage.algos import TRPO
from garage.baselines import LinearFeatureBaseline, ZeroBaseline
from garage.core import returns, trust_region
from garage.core.ports import Evaluation
from garage.core.streams import Streams
from garage.errors import ArgumentError, MismatchError
from garage.np.objective import MLPObjective
from garage.np.policies import CategoricalMLPPolicy, GaussianMLPPolicy

ROWS = ["LossBefore", "LossAfter", "dLoss", "KLBefore", "KL", "Entropy", "Perplexity"]


def make(*, spec=TWO_ACTIONS, hidden_sizes=(8,), dtype="float64", name="policy", baseline=ZeroBaseline, **options):
    kind = GaussianMLPPolicy if spec is ONE_FORCE else CategoricalMLPPolicy
    policy = kind(spec, hidden_sizes, dtype=dtype, name=name)
    algo = TRPO(env=World(spec), policy=policy, baseline=baseline(spec), **options)
    algo.initialise(Streams(1))
    return algo


@pytest.fixture
def asked(monkeypatch):
    """What the objective was asked: thetas evaluated, weights scored, the number of Fisher products."""
    seen = SimpleNamespace(thetas=[], weights=[], entropy_weights=[], n_products=0)
    evaluate, score, product = MLPObjective.evaluate, MLPObjective.score, MLPObjective.fisher_product

    def seeing_evaluate(self, theta):
        seen.thetas.append(np.array(theta))
        return evaluate(self, theta)

    def seeing_score(self, theta, weights, entropy_weight=0.0):
        seen.weights.append(weights)
        seen.entropy_weights.append(entropy_weight)
        return score(self, theta, weights, entropy_weight)

    def seeing_product(self, theta, vector):
        seen.n_products += 1
        return product(self, theta, vector)

    monkeypatch.setattr(MLPObjective, "evaluate", seeing_evaluate)
    monkeypatch.setattr(MLPObjective, "score", seeing_score)
    monkeypatch.setattr(MLPObjective, "fisher_product", seeing_product)
    return seen


@pytest.mark.parametrize("spec", [TWO_ACTIONS, THREE_ACTIONS, ONE_FORCE], ids=["two", "three", "force"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_step_lowers_the_loss_within_the_trust_region(spec, dtype):
    algo = make(spec=spec, dtype=dtype)
    before = algo.policy.theta
    metrics = one_epoch(algo, batch_of([50, 60], spec=spec))
    assert not np.array_equal(algo.policy.theta, before)
    assert algo.policy.theta.dtype == dtype
    assert metrics["policy/LossAfter"] < metrics["policy/LossBefore"]
    assert 0 < metrics["policy/KL"] <= 0.01
    assert metrics["policy/KLBefore"] == 0.0


@pytest.mark.parametrize("name", ["policy", "pilot"])
def test_the_rows_are_there_under_the_policys_name(name):
    metrics = one_epoch(make(name=name, baseline=Values))
    assert set(metrics) == {f"{name}/{row}" for row in ROWS} | {"ZeroBaseline/Something"}
    assert all(isinstance(value, float) for value in metrics.values())
    assert metrics[f"{name}/dLoss"] == metrics[f"{name}/LossBefore"] - metrics[f"{name}/LossAfter"]
    assert math.isclose(metrics[f"{name}/Perplexity"], math.exp(metrics[f"{name}/Entropy"]))
    assert 0 < metrics[f"{name}/Entropy"] <= math.log(2)


def test_metrics_are_those_of_the_parameters_that_stay(asked):
    algo = make()
    metrics = one_epoch(algo)
    evaluation = algo.policy.objective(BATCH).evaluate(algo.policy.theta)
    assert metrics["policy/Entropy"] == evaluation.entropy
    assert np.array_equal(asked.thetas[-2], algo.policy.theta)


def test_rewarded_actions_become_likely():
    algo = make(max_kl_step=0.05)
    for epoch in range(15):
        batch = batch_of([100], seed=epoch)
        p = np.exp(algo.policy.act(batch.observations, batch.memories, None)[2]["logits"])
        chosen = (np.random.default_rng(epoch).random(100) < p[:, 1] / p.sum(axis=1)).astype(np.int64)
        one_epoch(algo, batch_like(batch, actions=chosen, rewards=chosen.astype(float), lengths=[1] * 100))
    logits = algo.policy.act(BATCH.observations, BATCH.memories, None)[2]["logits"]
    assert (logits[:, 1] > logits[:, 0] + 1).mean() > 0.95


def batch_like(batch, *, actions, rewards, lengths):
    plain = batch_of(lengths)
    columns = {name: getattr(plain, name) for name in ("last_observations", "ends", "first_steps", "memories")}
    return type(batch)(batch.observations, actions, rewards, plain.lengths, **columns)


@pytest.mark.parametrize("discount", [0.0, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("gae_lambda", [0.0, 0.9, 1.0])
@pytest.mark.parametrize("center_adv", [True, False])
def test_discount_lambda_and_centring_are_those_of_the_advantages(asked, discount, gae_lambda, center_adv):
    algo = make(discount=discount, gae_lambda=gae_lambda, center_adv=center_adv, baseline=Values)
    one_epoch(algo)
    expected = returns.advantages(
        BATCH, np.full(160, 3.0), V_LAST, discount=discount, gae_lambda=gae_lambda, centre=center_adv
    )
    np.testing.assert_allclose(asked.weights[0], expected / 160)


@pytest.mark.parametrize("discount", [0.0, 0.9, 1.0])
def test_the_baseline_is_fitted_to_bootstrapped_discounted_returns(discount):
    algo = make(discount=discount, baseline=Values)
    one_epoch(algo)
    batch, got = algo.baseline.fitted
    assert batch is BATCH
    assert np.array_equal(got, returns.discounted_sums(BATCH.rewards, BATCH.lengths, discount, V_LAST))


def test_the_baseline_predicts_before_it_is_fitted():
    algo = make(baseline=LinearFeatureBaseline)
    metrics = one_epoch(algo)
    assert metrics["LinearFeatureBaseline/ExplainedVariance"] == 0.0
    assert one_epoch(algo)["LinearFeatureBaseline/ExplainedVariance"] > 0.0


@pytest.mark.parametrize("max_kl_step", [1e-4, 1e-2, 0.1])
def test_max_kl_step_bounds_the_divergence(max_kl_step):
    kl = one_epoch(make(max_kl_step=max_kl_step))["policy/KL"]
    assert 0.3 * max_kl_step < kl <= max_kl_step


def test_entropy_weight_is_that_of_the_mean_entropy(asked):
    still = batch_of([50], rewards=np.zeros(50))
    algo = make(entropy_weight=0.3)
    before = algo.policy.objective(still).evaluate(algo.policy.theta).entropy
    metrics = one_epoch(algo, still)
    assert math.isclose(metrics["policy/LossBefore"], -0.3 * before)
    assert metrics["policy/Entropy"] > before
    assert asked.entropy_weights == [0.3]
    without = make()
    assert one_epoch(without, still)["policy/Entropy"] == before


@pytest.mark.parametrize("cg_iterations", [1, 2, 7])
def test_cg_iterations_bounds_the_products(asked, cg_iterations):
    one_epoch(make(cg_iterations=cg_iterations))
    assert asked.n_products == cg_iterations


@pytest.mark.parametrize("damping", [0.01, 0.1, 1.0])
def test_damping_is_added_to_the_diagonal(asked, damping):
    algo = make(hidden_sizes=(2,), damping=damping, cg_iterations=100, max_kl_step=1e-9)
    theta = algo.policy.theta
    objective = algo.policy.objective(BATCH)
    matrix = np.stack([objective.fisher_product(theta, column) for column in np.eye(len(theta))], axis=1)
    matrix += damping * np.eye(len(theta))
    one_epoch(algo)
    gradient = objective.score(theta, asked.weights[0])
    direction = np.linalg.solve(matrix, gradient)
    expected = np.sqrt(2e-9 / (direction @ matrix @ direction)) * direction
    np.testing.assert_allclose(algo.policy.theta - theta, expected, rtol=1e-2, atol=1e-2 * np.abs(expected).max())


@pytest.fixture
def too_far(monkeypatch):
    """Any parameters but the old ones diverge too much; the list is of those tried."""
    tried, evaluate = [], MLPObjective.evaluate
    first = []

    def far(self, theta):
        evaluation = evaluate(self, theta)
        first.append(np.array(theta))
        if np.array_equal(theta, first[0]):
            return evaluation
        tried.append(np.array(theta))
        return Evaluation(evaluation.log_likelihoods, 99.0, evaluation.entropy)

    monkeypatch.setattr(MLPObjective, "evaluate", far)
    return tried


@pytest.mark.parametrize("max_backtracks", [0, 1, 15])
@pytest.mark.parametrize("backtrack_ratio", [0.5, 0.8])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_theta_is_unchanged_when_no_step_is_accepted(too_far, caplog, max_backtracks, backtrack_ratio, dtype):
    algo = make(max_backtracks=max_backtracks, backtrack_ratio=backtrack_ratio, dtype=dtype)
    theta = algo.policy.theta.copy()
    with caplog.at_level(logging.INFO):
        metrics = one_epoch(algo)
    assert algo.policy.theta.tobytes() == theta.tobytes()
    assert f"TRPO took no step: {trust_region.Outcome.EXHAUSTED.value}" in caplog.text
    assert f"backtrack iters: {max_backtracks}" in caplog.text
    assert len(too_far) == max_backtracks + 1
    lengths = [np.linalg.norm(candidate - theta) for candidate in too_far]
    np.testing.assert_allclose(lengths, [lengths[0] * backtrack_ratio**k for k in range(len(lengths))], rtol=1e-6)
    assert metrics["policy/KL"] == metrics["policy/KLBefore"] == metrics["policy/dLoss"] == 0.0
    assert metrics["policy/LossAfter"] == metrics["policy/LossBefore"]


@pytest.mark.parametrize("rewards", [np.zeros(50), np.full(50, np.nan)], ids=["zero", "NaN"])
def test_without_a_gradient_theta_is_unchanged_and_it_is_said(caplog, rewards):
    algo = make()
    theta = algo.policy.theta.copy()
    with caplog.at_level(logging.WARNING):
        one_epoch(algo, batch_of([50], rewards=rewards))
    assert algo.policy.theta.tobytes() == theta.tobytes()
    assert f"TRPO took no step: {trust_region.Outcome.NO_DIRECTION.value}" in caplog.text


def test_an_accepted_step_warns_of_nothing(caplog):
    with caplog.at_level(logging.INFO):
        one_epoch(make(hidden_sizes=(32, 32)))
    assert not [record for record in caplog.records if record.levelno > logging.INFO]
    assert "Start CG optimization: #parameters: 1282, #inputs: 4, #subsample_inputs: 4" in caplog.text


def step_of(monkeypatch, perturbation, **options):
    """One step of a policy of the usual size, its gradient perturbed by so much of itself."""
    score = MLPObjective.score
    noise = np.random.default_rng(0).choice([-1.0, 1.0], 1282)

    def perturbed(self, theta, weights, entropy_weight=0.0):
        return score(self, theta, weights, entropy_weight) * (1 + perturbation * noise)

    with monkeypatch.context() as patch:
        patch.setattr(MLPObjective, "score", perturbed)
        algo = make(hidden_sizes=(32, 32), **options)
        theta = algo.policy.theta
        one_epoch(algo, batch_of([200] * 10))
    return algo.policy.theta - theta


def test_at_the_default_damping_a_step_is_well_conditioned(monkeypatch):
    """At the 2021 garage's 1e-5, gradients that agree to 1e-15 gave steps 3 % apart."""
    exact, near = step_of(monkeypatch, 0.0), step_of(monkeypatch, 1e-15)
    assert not np.array_equal(exact, near)
    assert np.linalg.norm(near - exact) < 1e-8 * np.linalg.norm(exact)


@pytest.mark.parametrize(
    ("option", "values", "expected"),
    [
        ("discount", [-0.1, 1.1, math.nan], r"within \[0, 1\]"),
        ("gae_lambda", [-0.1, 1.1, math.nan], r"within \[0, 1\]"),
        ("max_kl_step", [0, -1.0, math.nan, math.inf], "above 0 and finite"),
        ("entropy_weight", [-1e-9, math.nan, math.inf], "at least 0 and finite"),
        ("cg_iterations", [0, -1, 2.5, math.nan, True], "an integer of at least 1"),
        ("damping", [-1e-9, math.nan, math.inf], "at least 0 and finite"),
        ("backtrack_ratio", [0, 1, -0.5, 1.5, math.nan], r"within \(0, 1\)"),
        ("max_backtracks", [-1, 1.5, math.nan, False], "an integer of at least 0"),
        ("center_adv", [1, None], "True or False"),
        ("fragments", [1, None], "True or False"),
    ],
)
def test_a_bad_option_is_refused_by_name_with_what_was_expected(option, values, expected):
    for value in values:
        with pytest.raises(ArgumentError, match=f"TRPO's {option} must be {expected}, got {value}"):
            make(**{option: value})


def test_options_at_the_edge_are_allowed():
    options = {"discount": 0, "gae_lambda": 1, "entropy_weight": 0, "cg_iterations": np.int64(1), "damping": 0}
    assert one_epoch(make(**options, max_backtracks=0))["policy/KL"] <= 0.01


def test_defaults_are_the_known_ones():
    algo = make()
    assert (algo.discount, algo.gae_lambda, algo.center_adv, algo.max_kl_step) == (0.99, 0.98, True, 0.01)
    assert (algo.cg_iterations, algo.backtrack_ratio, algo.max_backtracks, algo.entropy_weight) == (10, 0.8, 15, 0.0)
    assert algo.damping == 0.1


def test_a_policy_for_another_world_is_refused_naming_both_spaces():
    policy = CategoricalMLPPolicy(THREE_ACTIONS)
    with pytest.raises(MismatchError, match=r"action_space Discrete\(3\).*has Discrete\(2\).*env_spec=env\.spec"):
        TRPO(env=World(TWO_ACTIONS), policy=policy, baseline=ZeroBaseline(TWO_ACTIONS))


def test_first_parameters_are_of_the_policys_own_stream():
    expected = CategoricalMLPPolicy(TWO_ACTIONS, (8,), dtype="float64")
    expected.initialise(Streams(1).generator("policy"))
    assert np.array_equal(make().policy.theta, expected.theta)


def test_parameters_that_are_there_already_are_kept_and_it_is_said(caplog):
    algo = make()
    theta = algo.policy.theta
    with caplog.at_level(logging.INFO):
        algo.initialise(Streams(2))
    assert algo.policy.theta is theta
    assert "`policy` has parameters already; they are kept" in caplog.text


def test_a_pickle_has_the_options_and_nothing_learned():
    algo = make(damping=0.5, max_backtracks=3, name="pilot")
    again = pickle.loads(pickle.dumps(algo))
    assert (again.damping, again.max_backtracks, again.policy.name) == (0.5, 3, "pilot")
    assert not again.policy.initialised


def test_a_state_without_a_part_is_refused_by_name():
    algo = make()
    with pytest.raises(MismatchError, match="TRPO: `baseline` is missing"):
        algo.load_state_dict({"policy": algo.policy.state_dict()})
    with pytest.raises(MismatchError, match="TRPO: `policy` is missing"):
        algo.load_state_dict({"baseline": {}})
