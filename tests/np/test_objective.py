"""The three questions, against finite differences, explicit matrices and closed forms."""

import dataclasses
import math

import numpy as np
import pytest
from gymnasium import spaces

from core.samples import ONE_FORCE, PLANE, THREE_ACTIONS, TWO_ACTIONS, TWO_FORCES, batch_of
from garage.core.streams import Streams
from garage.core.types import EnvSpec, EpisodeBatch
from garage.errors import MismatchError
from garage.np.policies import CategoricalMLPPolicy, GaussianMLPPolicy

ONE_ACTION = EnvSpec(PLANE, spaces.Discrete(1))
SQUARE = EnvSpec(PLANE, spaces.Box(-1, 1, (2, 2), np.float64))
PIXELS = EnvSpec(spaces.Box(-1, 1, (2, 3), np.float32), spaces.Discrete(4))
CELLS = EnvSpec(spaces.Discrete(5, start=2), spaces.Box(-1, 1, (3,), np.float32))
CASES = {
    "two actions": (CategoricalMLPPolicy, TWO_ACTIONS, (5, 3)),
    "two actions, no hidden layer": (CategoricalMLPPolicy, TWO_ACTIONS, ()),
    "three actions": (CategoricalMLPPolicy, THREE_ACTIONS, (5, 3)),
    "three actions, no hidden layer": (CategoricalMLPPolicy, THREE_ACTIONS, ()),
    "one action": (CategoricalMLPPolicy, ONE_ACTION, (3,)),
    "one force": (GaussianMLPPolicy, ONE_FORCE, (5, 3)),
    "one force, no hidden layer": (GaussianMLPPolicy, ONE_FORCE, ()),
    "two forces": (GaussianMLPPolicy, TWO_FORCES, (6,)),
    "forces in a square": (GaussianMLPPolicy, SQUARE, (3, 3, 3)),
    "pixels": (CategoricalMLPPolicy, PIXELS, (4,)),
    "cells": (GaussianMLPPolicy, CELLS, (4,)),
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request):
    return request.param


def make(case, dtype="float64", seed=0, scale=0.3):
    """A policy with parameters that are no special ones."""
    kind, spec, hidden_sizes = case
    policy = kind(spec, hidden_sizes, dtype=dtype)
    policy.initialise(Streams(seed).generator("policy"))
    return policy.at(policy.theta + scale * np.random.default_rng(seed).normal(size=policy.n_parameters))


def batch_for(policy, lengths, seed=0):
    return batch_of(lengths, spec=policy.spec, seed=seed)


def rows_of(batch, start, stop):
    """Some rows of a batch, as one segment."""
    return EpisodeBatch(
        batch.observations[start:stop],
        batch.actions[start:stop],
        batch.rewards[start:stop],
        np.array([stop - start]),
        batch.last_observations[:1],
        batch.ends[:1],
        batch.first_steps[:1],
        batch.memories[:1],
    )


def slopes(function, theta, step=1e-5):
    """The gradient by central differences."""
    return np.stack(
        [
            (np.asarray(function(theta + offset)) - np.asarray(function(theta - offset))) / (2 * step)
            for offset in step * np.eye(len(theta))
        ]
    )


@pytest.mark.parametrize("entropy_weight", [0.0, 0.7])
def test_the_score_is_the_gradient_by_finite_differences(case, entropy_weight):
    policy = make(case)
    objective = policy.objective(batch_for(policy, [7, 4]))
    weights = np.random.default_rng(1).normal(size=11)

    def value(theta):
        evaluation = objective.evaluate(theta)
        return weights @ evaluation.log_likelihoods + entropy_weight * evaluation.entropy

    theta = policy.theta + 0.1
    score = objective.score(theta, weights, entropy_weight)
    np.testing.assert_allclose(score, slopes(value, theta), rtol=1e-6, atol=1e-8)
    assert score.dtype == np.float64


def test_the_fisher_product_is_the_second_derivative_of_the_kl(case):
    policy = make(case)
    objective = policy.objective(batch_for(policy, [6, 3]))
    theta = policy.theta

    def gradient(at):
        return slopes(lambda theta: objective.evaluate(theta).kl, at, 1e-4)

    hessian = slopes(gradient, theta, 1e-4)
    explicit = fisher_matrix(objective, theta)
    np.testing.assert_allclose(explicit, hessian, atol=2e-5 * max(1.0, np.abs(explicit).max()))


def fisher_matrix(objective, theta):
    return np.stack([objective.fisher_product(theta, column) for column in np.eye(len(theta))], axis=1)


@pytest.mark.parametrize("name", ["two actions", "three actions", "one action", "pixels"])
def test_the_fisher_product_is_the_expected_outer_product_of_scores(name):
    policy = make(CASES[name])
    batch = batch_for(policy, [5])
    theta = policy.theta
    expected = np.zeros((len(theta), len(theta)))
    for row in range(5):
        step = rows_of(batch, row, row + 1)
        for action in range(policy.spec.action_space.n):
            taken = dataclasses.replace(step, actions=np.array([action]))
            objective = policy.objective(taken)
            score = objective.score(theta, np.ones(1))
            expected += math.exp(objective.evaluate(theta).log_likelihoods[0]) * np.outer(score, score) / 5
    np.testing.assert_allclose(fisher_matrix(policy.objective(batch), theta), expected, rtol=1e-9, atol=1e-12)


def test_the_fisher_information_of_a_gaussian_is_that_of_its_means_and_deviations():
    policy = make(CASES["two forces"])
    batch = batch_for(policy, [4])
    theta, extra = policy.theta, policy.theta[-2:]

    def means(theta):
        return policy.at(theta).act(batch.observations, batch.memories, None)[0].ravel()

    jacobian = slopes(means, theta)
    precision = np.tile(np.exp(-2 * extra), 4)
    expected = (jacobian * precision) @ jacobian.T / 4
    expected[-2:, -2:] += 2 * np.eye(2)
    np.testing.assert_allclose(fisher_matrix(policy.objective(batch), theta), expected, rtol=1e-6, atol=1e-8)


def test_the_fisher_information_is_symmetric_and_positive_semi_definite(case):
    policy = make(case, scale=1.0)
    matrix = fisher_matrix(policy.objective(batch_for(policy, [9])), policy.theta)
    np.testing.assert_allclose(matrix, matrix.T, rtol=1e-10, atol=1e-12)
    assert np.linalg.eigvalsh(matrix).min() > -1e-10 * max(1.0, np.abs(matrix).max())


def test_kl_is_zero_at_the_old_theta_and_positive_elsewhere(case):
    policy = make(case)
    objective = policy.objective(batch_for(policy, [30]))
    assert objective.evaluate(policy.theta).kl == 0.0
    for seed in range(5):
        other = policy.theta + np.random.default_rng(seed).normal(size=policy.n_parameters)
        kl = objective.evaluate(other).kl
        assert kl > 0 or policy.n_parameters == 19  # one action leaves nothing to diverge
        assert kl >= 0
    assert objective.evaluate(policy.theta).kl == 0.0


def test_kl_is_measured_from_the_theta_of_the_objectives_making(case):
    policy = make(case)
    batch = batch_for(policy, [30])
    objective = policy.objective(batch)
    theta, other = policy.theta, policy.theta + 0.1
    before = objective.evaluate(other).kl
    policy.theta = other
    assert objective.evaluate(other).kl == before
    assert objective.evaluate(theta).kl == policy.at(theta).objective(batch).evaluate(theta).kl == 0.0


def test_questions_may_come_in_any_order(case):
    """What was asked before changes no answer, though activations are kept from one to the next."""
    policy = make(case)
    batch = batch_for(policy, [40])
    a, b, weights = policy.theta, policy.theta + 0.1, np.random.default_rng(2).normal(size=40)

    def ask(objective, question, theta):
        if question == "evaluate":
            return np.concatenate([objective.evaluate(theta).log_likelihoods, objective.evaluate(theta)[1:]])
        return objective.score(theta, weights, 0.3) if question == "score" else objective.fisher_product(theta, b)

    questions = [(question, theta) for question in ("evaluate", "score", "fisher") for theta in (a, b)]
    expected = [ask(policy.objective(batch), *question) for question in questions]
    objective = policy.objective(batch)
    for index in np.random.default_rng(3).integers(0, len(questions), 40):
        assert np.array_equal(ask(objective, *questions[index]), expected[index])


def test_a_theta_that_is_changed_in_place_is_noticed():
    policy = make(CASES["three actions"])
    objective = policy.objective(batch_for(policy, [5]))
    theta = policy.theta + 0.1
    first = objective.evaluate(theta).log_likelihoods
    theta += 0.1
    assert not np.array_equal(objective.evaluate(theta).log_likelihoods, first)


@pytest.mark.parametrize("n_actions", [1, 2, 3, 10])
def test_entropy_is_at_most_that_of_equal_chances(n_actions):
    """Summed over padding, the 2021 garage found 6.31 nats for two actions."""
    spec = EnvSpec(PLANE, spaces.Discrete(n_actions))
    policy = make((CategoricalMLPPolicy, spec, (8,)), scale=0.5)
    objective = policy.objective(batch_for(policy, [1, 500, 3, 1000]))
    assert 0 <= objective.evaluate(policy.theta).entropy <= math.log(n_actions)
    even = objective.evaluate(np.zeros(policy.n_parameters))
    assert math.isclose(even.entropy, math.log(n_actions), abs_tol=1e-12)
    np.testing.assert_allclose(even.log_likelihoods, -math.log(n_actions), atol=1e-12)


def test_log_likelihoods_of_all_actions_are_those_of_one_distribution():
    policy = make(CASES["three actions"])
    batch = batch_for(policy, [20])
    p = [
        np.exp(policy.objective(dataclasses.replace(batch, actions=np.full(20, action))).evaluate(policy.theta)[0])
        for action in range(3)
    ]
    np.testing.assert_allclose(sum(p), 1.0, rtol=1e-12)
    logits = policy.act(batch.observations, batch.memories, None)[2]["logits"]
    np.testing.assert_allclose(np.transpose(p), np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    explicit = -np.mean(sum(share * np.log(share) for share in p))
    assert math.isclose(policy.objective(batch).evaluate(policy.theta).entropy, explicit, rel_tol=1e-12)


def test_large_logits_overflow_nowhere():
    policy = make(CASES["three actions"])
    objective = policy.objective(batch_for(policy, [20]))
    evaluation = objective.evaluate(1e4 * policy.theta)
    assert np.isfinite(evaluation.log_likelihoods).all()
    assert math.isfinite(evaluation.kl)
    assert evaluation.entropy >= 0
    assert np.isfinite(objective.score(1e4 * policy.theta, np.ones(20), 1.0)).all()


@pytest.mark.parametrize("name", ["one force", "two forces", "forces in a square", "cells"])
def test_a_gaussian_has_its_closed_forms(name):
    policy = make(CASES[name])
    batch = batch_for(policy, [15])
    size = math.prod(policy.spec.action_space.shape)
    new = policy.theta + 0.2 * np.random.default_rng(5).normal(size=policy.n_parameters)

    def moments(theta):
        mean = policy.at(theta).act(batch.observations, batch.memories, None)[2]["mean"].reshape(15, size)
        return mean, np.exp(theta[-size:])

    (m, s), (n, t) = moments(policy.theta), moments(new)
    evaluation = policy.objective(batch).evaluate(new)
    x = batch.actions.reshape(15, size)
    densities = np.exp(-0.5 * ((x - n) / t) ** 2) / (t * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(evaluation.log_likelihoods, np.log(densities).sum(axis=1), rtol=1e-10)
    kl = (np.log(t / s) + (s**2 + (m - n) ** 2) / (2 * t**2) - 0.5).sum(axis=1).mean()
    assert math.isclose(evaluation.kl, kl, rel_tol=1e-10)
    assert math.isclose(evaluation.entropy, 0.5 * np.log(2 * np.pi * np.e * t**2).sum(), rel_tol=1e-10)


def test_deviations_below_the_least_count_as_it_and_learn_nothing():
    policy = GaussianMLPPolicy(TWO_FORCES, (4,), min_std=0.5, dtype="float64")
    policy.initialise(Streams(1).generator())
    theta = np.array(policy.theta)
    theta[-2:] = np.log([0.1, 2.0])
    policy = policy.at(theta)
    batch = batch_for(policy, [12])
    at_least = np.array(theta)
    at_least[-2] = np.log(0.5)
    objective = policy.objective(batch)
    assert np.array_equal(objective.evaluate(theta)[0], objective.evaluate(at_least)[0])
    assert objective.evaluate(at_least).kl == 0.0
    score = objective.score(theta, np.ones(12), 1.0)
    fisher = objective.fisher_product(theta, np.ones(policy.n_parameters))
    assert score[-2] == fisher[-2] == 0.0
    assert score[-1] != 0.0
    assert fisher[-1] == 2.0
    noise = np.ones((12, 2))
    actions, _, infos = policy.act(batch.observations, batch.memories, noise)
    np.testing.assert_allclose(actions - infos["mean"], np.tile([0.5, 2.0], (12, 1)))


@pytest.mark.parametrize("name", ["two actions", "three actions", "one force", "two forces"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 1023, 1024, 1025, 3000])
def test_blocks_are_answered_alone_and_summed_in_order(name, dtype, n):
    """The numbers of 1,024 rows are, bit for bit, those of these rows alone, whatever is in other blocks."""
    policy = make(CASES[name], dtype)
    batch = batch_for(policy, [n])
    weights = np.random.default_rng(1).normal(size=n)
    vector = np.random.default_rng(2).normal(size=policy.n_parameters)
    other = policy.theta + np.asarray(0.05, policy.dtype)
    objective = policy.objective(batch)
    evaluation = objective.evaluate(other)
    kl = entropy = 0.0
    score, fisher = np.zeros((2, policy.n_parameters))
    for start in range(0, n, 1024):
        stop = min(start + 1024, n)
        alone = policy.objective(rows_of(batch, start, stop))
        part = alone.evaluate(other)
        assert np.array_equal(part.log_likelihoods, evaluation.log_likelihoods[start:stop])
        kl += part.kl * (stop - start)
        entropy += part.entropy * (stop - start)
        score += alone.score(other, weights[start:stop])
        fisher += alone.fisher_product(other, vector) * (stop - start)
    whole, n_weights = objective.score(other, weights), policy.shape.n_parameters
    assert np.array_equal(whole[:n_weights], score[:n_weights])
    np.testing.assert_allclose(whole, score, rtol=1e-6 if dtype == "float32" else 1e-12)
    np.testing.assert_allclose(objective.fisher_product(other, vector), fisher / n, rtol=1e-12, atol=1e-15)
    assert math.isclose(evaluation.kl, kl / n, rel_tol=1e-12)
    assert math.isclose(evaluation.entropy, entropy / n, rel_tol=1e-12)


@pytest.mark.parametrize("name", ["two actions", "one force", "three actions"])
def test_a_block_does_not_see_what_happens_in_others(name):
    policy = make(CASES[name], "float32")
    one, two = batch_for(policy, [2100], seed=1), batch_for(policy, [2100], seed=2)
    mixed = {
        column: np.concatenate(
            [getattr(two, column)[:1024], getattr(one, column)[1024:2048], getattr(two, column)[2048:]]
        )
        for column in ("observations", "actions")
    }
    both = [policy.objective(batch).evaluate(policy.theta)[0] for batch in (one, dataclasses.replace(one, **mixed))]
    assert np.array_equal(both[0][1024:2048], both[1][1024:2048])
    assert not np.array_equal(both[0][:1024], both[1][:1024])


def test_float32_agrees_with_float64(case):
    single, double = make(case, "float32", scale=0.1), make(case, "float64", scale=0.1)
    double = double.at(single.theta.astype(np.float64))
    batch = batch_for(single, [50, 60])
    weights, other = np.random.default_rng(1).normal(size=110), single.theta + np.float32(0.05)
    a, b = single.objective(batch), double.objective(batch)
    for got, expected in zip(a.evaluate(other), b.evaluate(other.astype(np.float64)), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    pairs = [(objective.score(other, weights, 0.5), objective.fisher_product(other, other)) for objective in (a, b)]
    for got, expected in zip(*pairs, strict=True):
        assert got.dtype == np.float64
        np.testing.assert_allclose(got, expected, atol=1e-4 * max(1.0, np.abs(expected).max()))


def test_evaluations_are_float64(case):
    evaluation = make(case, "float32").objective(batch_for(make(case), [3])).evaluate(make(case).theta)
    assert evaluation.log_likelihoods.dtype == np.float64
    assert isinstance(evaluation.kl, float)
    assert isinstance(evaluation.entropy, float)


@pytest.mark.parametrize("name", ["two actions", "three actions", "one force"])
def test_wrong_shapes_are_refused_with_both(name):
    policy = make(CASES[name])
    p, theta = policy.n_parameters, policy.theta
    objective = policy.objective(batch_for(policy, [5]))
    for wrong in (np.zeros(p - 1), np.zeros(p + 1), np.zeros((1, p)), np.zeros(1)):
        with pytest.raises(MismatchError, match=rf"`theta` of shape .* expects \({p},\)"):
            objective.evaluate(wrong)
        with pytest.raises(MismatchError, match=rf"`vector` of shape .* expects \({p},\)"):
            objective.fisher_product(theta, wrong)
    for wrong in (np.zeros(4), np.zeros(1), np.zeros((5, 1))):
        with pytest.raises(MismatchError, match=r"`weights` of shape .* expects \(5,\)"):
            objective.score(theta, wrong)
    assert objective.evaluate(theta).kl == 0.0


def test_observations_of_another_world_are_refused():
    policy = make(CASES["two actions"])
    batch = batch_for(policy, [5])
    with pytest.raises(MismatchError, match="Got observations of shape"):
        policy.objective(dataclasses.replace(batch, observations=batch.observations[:, :1]))
