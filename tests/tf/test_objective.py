"""The three questions in a graph: the same answers as NumPy's, and a graph that stays as it is."""

import copy
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from gymnasium import spaces

from core.samples import ONE_FORCE, PLANE, THREE_ACTIONS, TWO_ACTIONS, batch_of
from garage.core import losses, trust_region
from garage.core.streams import Streams
from garage.core.types import EnvSpec
from garage.errors import MismatchError, OrderError
from garage.np import policies as numpy_policies
from garage.tf import policies as tf_policies
from garage.tf.session import GraphSession

SQUARE = EnvSpec(PLANE, spaces.Box(-1, 1, (2, 2), np.float64))
CELLS = EnvSpec(spaces.Discrete(5, start=2), spaces.Box(-1, 1, (3,), np.float32))
CASES = {
    "two actions": ("CategoricalMLPPolicy", TWO_ACTIONS, (5, 3)),
    "three actions": ("CategoricalMLPPolicy", THREE_ACTIONS, (32, 32)),
    "three actions, no hidden layer": ("CategoricalMLPPolicy", THREE_ACTIONS, ()),
    "one action": ("CategoricalMLPPolicy", EnvSpec(PLANE, spaces.Discrete(1)), (3,)),
    "one force": ("GaussianMLPPolicy", ONE_FORCE, (5, 3)),
    "forces in a square": ("GaussianMLPPolicy", SQUARE, (3, 3, 3)),
    "cells, no hidden layer": ("GaussianMLPPolicy", CELLS, ()),
}


@pytest.fixture(autouse=True)
def session():
    with GraphSession() as surroundings:
        yield surroundings.sess


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request):
    return request.param


def pair(case, dtype="float64", **options):
    """TensorFlow's policy and NumPy's, with the same parameters, which are no special ones."""
    kind, spec, hidden_sizes = case
    both = [getattr(port, kind)(spec, hidden_sizes, dtype=dtype, **options) for port in (tf_policies, numpy_policies)]
    for policy in both:
        policy.initialise(Streams(1).generator("policy"))
        policy.theta = policy.theta + 0.3 * np.random.default_rng(0).normal(size=policy.n_parameters)
    return both


def batch_for(policy, n=300, seed=0):
    return batch_of([n], spec=policy.spec, seed=seed)


def assert_close(got, expected, tolerance):
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * max(1e-3, np.abs(expected).max()))


def assert_same_answers(case, dtype, tolerance, **options):
    ours, numpys = pair(case, dtype, **options)
    batch = batch_for(ours)
    theta = ours.theta + ours.dtype.type(0.1)
    weights, vector = np.random.default_rng(1).normal(size=300), np.random.default_rng(2).normal(size=theta.shape)
    a, b = ours.objective(batch), numpys.objective(batch)
    got, expected = a.evaluate(theta), b.evaluate(theta)
    assert_close(got.log_likelihoods, expected.log_likelihoods, tolerance)
    assert math.isclose(got.kl, expected.kl, rel_tol=tolerance, abs_tol=1e-6 if dtype == "float32" else 1e-15)
    assert math.isclose(got.entropy, expected.entropy, rel_tol=tolerance, abs_tol=1e-15)
    for entropy_weight in (0.0, 0.7):
        assert_close(a.score(theta, weights, entropy_weight), b.score(theta, weights, entropy_weight), tolerance)
    assert_close(a.fisher_product(theta, vector), b.fisher_product(theta, vector), tolerance)


def test_answers_are_numpys(case):
    assert_same_answers(case, "float64", 1e-10)


@pytest.mark.parametrize("name", ["two actions", "three actions", "forces in a square"])
def test_answers_are_numpys_in_single_precision(name):
    assert_same_answers(CASES[name], "float32", 1e-4)


def test_two_actions_of_which_one_is_all_but_certain_are_numpys():
    ours, numpys = pair(CASES["two actions"])
    batch = batch_for(ours)
    sure = np.array(ours.theta)
    sure[-1], sure[-2] = 300.0, -300.0  # biases of the outputs
    ours.theta = numpys.theta = sure
    a, b = ours.objective(batch), numpys.objective(batch)
    for theta in (sure, sure + 0.1):
        np.testing.assert_allclose(a.evaluate(theta)[0], b.evaluate(theta)[0], rtol=1e-12, atol=1e-12)
        assert math.isclose(a.evaluate(theta).kl, b.evaluate(theta).kl, rel_tol=1e-10, abs_tol=1e-12)
        got, expected = (objective.score(theta, np.ones(300), 1.0) for objective in (a, b))
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)


def test_a_deviation_below_the_least_counts_as_it_and_learns_nothing():
    assert_same_answers(CASES["one force"], "float64", 1e-10, min_std=1.0)
    ours, _ = pair(CASES["forces in a square"], min_std=0.5)
    theta = np.array(ours.theta)
    theta[-4:] = np.log([0.1, 0.5, 1.0, 2.0])
    objective = ours.at(theta).objective(batch_for(ours))
    score = objective.score(theta, np.ones(300), 1.0)
    fisher = objective.fisher_product(theta, np.ones(theta.size))
    assert score[-4] == fisher[-4] == 0.0
    assert (score[-3:] != 0.0).all()
    np.testing.assert_allclose(fisher[-3:], 2.0, rtol=1e-14)


def trpo_step(policy, batch, advantages):
    objective = policy.objective(batch)
    before = objective.evaluate(objective.theta)

    def loss(evaluation):
        return losses.surrogate(evaluation.log_likelihoods, before.log_likelihoods, advantages)

    value, weights = loss(before)
    descent = objective.score(objective.theta, weights)
    direction, residual = trust_region.conjugate_gradient(
        lambda vector: objective.fisher_product(objective.theta, vector) + 0.1 * vector, descent
    )
    longest = trust_region.scaled_to_trust_region(direction, descent - residual, 0.01)

    def loss_and_kl(theta):
        evaluation = objective.evaluate(theta)
        return loss(evaluation)[0], evaluation.kl

    step = trust_region.backtrack(objective.theta, longest, loss_and_kl, loss_before=value, max_kl=0.01)
    return objective.to_array(step.theta), step.outcome


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-8), ("float32", 1e-3)])
@pytest.mark.parametrize("name", ["two actions", "three actions", "forces in a square"])
def test_a_step_in_the_trust_region_is_numpys(name, dtype, tolerance):
    ours, numpys = pair(CASES[name], dtype)
    batch, advantages = batch_for(ours), np.random.default_rng(3).normal(size=300)
    (got, outcome), (expected, _) = (trpo_step(policy, batch, advantages) for policy in (ours, numpys))
    assert outcome is trust_region.Outcome.ACCEPTED
    np.testing.assert_allclose(got - ours.theta, expected - ours.theta, atol=tolerance * np.abs(got - ours.theta).max())


def ask(objective, question, theta, weights):
    if question == "evaluate":
        evaluation = objective.evaluate(theta)
        return np.array([*evaluation.log_likelihoods, evaluation.kl, evaluation.entropy])
    return objective.score(theta, weights, 0.3) if question == "score" else objective.fisher_product(theta, theta)


@pytest.mark.parametrize("name", ["three actions", "one force"])
def test_copies_and_objectives_ask_in_turn_without_disturbing_each_other(name):
    """All of them compute with one variable."""
    policy, _ = pair(CASES[name])
    weights = np.random.default_rng(2).normal(size=40)
    others = [policy, policy.at(policy.theta + 0.1), copy.copy(policy), copy.deepcopy(policy)]
    others[2].theta, others[3].theta = policy.theta + 0.2, policy.theta + 0.3
    makers = [
        lambda other=other, seed=seed: other.objective(batch_for(other, 40, seed))
        for other in others
        for seed in (0, 1)
    ]
    questions = [
        (index, question, shift)
        for index in range(8)
        for question in ("evaluate", "score", "fisher")
        for shift in (0, 1)
    ]
    expected = [ask(makers[index](), question, policy.theta + shift, weights) for index, question, shift in questions]
    objectives = [make() for make in makers]
    for choice in np.random.default_rng(3).integers(0, len(questions), 80):
        index, question, shift = questions[choice]
        assert np.array_equal(ask(objectives[index], question, policy.theta + shift, weights), expected[choice])


def test_parameters_that_are_changed_in_place_are_noticed():
    policy, _ = pair(CASES["three actions"])
    objective = policy.objective(batch_for(policy))
    theta = policy.theta + 0.1
    first = objective.evaluate(theta).log_likelihoods
    same = theta.copy()
    theta += 0.1
    assert not np.array_equal(objective.evaluate(theta).log_likelihoods, first)
    assert np.array_equal(objective.evaluate(same).log_likelihoods, first)


def test_policies_in_one_graph_do_not_disturb_each_other(session):
    one, two = pair(CASES["two actions"])[0], pair(CASES["two actions"])[0]
    assert one.graph is two.graph is session.graph
    two.theta = two.theta + 1
    batch = batch_for(one)
    first = [policy.objective(batch).evaluate(policy.theta).log_likelihoods for policy in (one, two)]
    again = [policy.objective(batch).evaluate(policy.theta).log_likelihoods for policy in (two, one)]
    assert np.array_equal(first, again[::-1])
    assert not np.array_equal(*first)


def test_graphs_after_each_other_give_the_same_bits():
    answers = []
    for _ in range(2):
        with GraphSession():
            policy, _ = pair(CASES["three actions"], "float32")
            batch, advantages = batch_for(policy), np.random.default_rng(3).normal(size=300)
            answers.append(trpo_step(policy, batch, advantages)[0].tobytes())
    assert answers[0] == answers[1]


def test_the_graph_grows_with_the_first_objective_only(session):
    policy, _ = pair(CASES["two actions"])
    sizes = [len(session.graph.get_operations())]
    for epoch in range(4):
        batch = batch_for(policy, 50 + epoch, epoch)
        policy.theta = trpo_step(policy, batch, batch.rewards)[0]
        policy.at(policy.theta).objective(batch)
        sizes.append(len(session.graph.get_operations()))
    assert sizes[0] < sizes[1] == sizes[2] == sizes[3] == sizes[4]


def test_operations_are_added_wherever_in_users_code_the_first_objective_is_asked_for(session):
    policy, numpys = pair(CASES["two actions"])
    batch = batch_for(policy)
    with tf.Graph().as_default() as other, tf.control_dependencies([tf.constant(1)]), tf.device("/CPU:0"):
        before = len(other.get_operations())
        got = policy.objective(batch).evaluate(policy.theta).entropy
        assert len(other.get_operations()) == before
    with session.graph.control_dependencies([tf.compat.v1.placeholder(tf.float32, ())]):
        again = policy.at(policy.theta).objective(batch).evaluate(policy.theta).entropy
    assert got == again
    assert math.isclose(got, numpys.objective(batch).evaluate(policy.theta).entropy, rel_tol=1e-12)


def test_wrong_shapes_are_refused_with_both():
    policy, _ = pair(CASES["three actions"])
    p, theta = policy.n_parameters, policy.theta
    objective = policy.objective(batch_for(policy, 5))
    for wrong in (np.zeros(p - 1), np.zeros((1, p))):
        with pytest.raises(MismatchError, match=rf"`theta` of shape .* expects \({p},\)"):
            objective.evaluate(wrong)
        with pytest.raises(MismatchError, match=rf"`vector` of shape .* expects \({p},\)"):
            objective.fisher_product(theta, wrong)
    with pytest.raises(MismatchError, match=r"`weights` of shape \(4,\).* expects \(5,\)"):
        objective.score(theta, np.zeros(4))


def test_after_its_session_was_closed_a_policy_acts_and_says_that_it_cannot_learn():
    with GraphSession():
        asked, _ = pair(CASES["two actions"])
        never, _ = pair(CASES["two actions"])
        batch = batch_for(asked)
        objective = asked.objective(batch)
        expected = asked.act(batch.observations, batch.memories, None)[0]
    assert np.array_equal(asked.act(batch.observations, batch.memories, None)[0], expected)
    for question in (
        lambda: objective.evaluate(asked.theta),
        lambda: objective.score(asked.theta, np.ones(300)),
        lambda: objective.fisher_product(asked.theta + 1, asked.theta),
        lambda: asked.objective(batch),
        lambda: never.objective(batch),
    ):
        with pytest.raises(OrderError, match=r"`policy`: its TensorFlow session was closed.*TFTrainer"):
            question()


def bits_of_a_step(n_threads):
    with GraphSession(n_threads=n_threads):
        policy, _ = pair(CASES["three actions"], "float32")
        batch = batch_for(policy, 3000)
        return trpo_step(policy, batch, np.random.default_rng(3).normal(size=3000))[0].tobytes().hex()


def test_a_new_process_gives_the_same_bits():
    child = "from tf.test_objective import bits_of_a_step; print(bits_of_a_step(2)); print(bits_of_a_step(1))"
    folder = Path(__file__).parents[1]
    printed = subprocess.run(
        [sys.executable, "-c", child], cwd=folder, capture_output=True, check=True, text=True
    ).stdout
    assert printed.split() == [bits_of_a_step(2), bits_of_a_step(1)]
