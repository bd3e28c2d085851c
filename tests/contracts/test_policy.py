"""The contract of the Policy and DifferentiablePolicy ports; every implementation runs it."""

import contextlib
import itertools

import cloudpickle
import numpy as np
import pytest
import torch

from core.samples import ONE_FORCE, THREE_ACTIONS, TWO_ACTIONS, TWO_FORCES, batch_of
from garage.core.mlp import MLPShape
from garage.core.ports import uniform_noise_of
from garage.core.state import differences, flatten
from garage.core.streams import Streams, first_uniforms
from garage.errors import MismatchError, OrderError
from garage.kernels.mlp import Forward
from garage.np import policies as numpy_policies
from garage.tf import policies as tf_policies
from garage.tf.session import GraphSession
from garage.torch import policies as torch_policies

POLICIES = {
    "np categorical, two actions": (numpy_policies.CategoricalMLPPolicy, TWO_ACTIONS),
    "np categorical, three actions": (numpy_policies.CategoricalMLPPolicy, THREE_ACTIONS),
    "np gaussian, one force": (numpy_policies.GaussianMLPPolicy, ONE_FORCE),
    "np gaussian, two forces": (numpy_policies.GaussianMLPPolicy, TWO_FORCES),
    "torch categorical, two actions": (torch_policies.CategoricalMLPPolicy, TWO_ACTIONS),
    "torch categorical, three actions": (torch_policies.CategoricalMLPPolicy, THREE_ACTIONS),
    "torch gaussian, one force": (torch_policies.GaussianMLPPolicy, ONE_FORCE),
    "torch gaussian, two forces": (torch_policies.GaussianMLPPolicy, TWO_FORCES),
    "tf categorical, two actions": (tf_policies.CategoricalMLPPolicy, TWO_ACTIONS),
    "tf categorical, three actions": (tf_policies.CategoricalMLPPolicy, THREE_ACTIONS),
    "tf gaussian, one force": (tf_policies.GaussianMLPPolicy, ONE_FORCE),
    "tf gaussian, two forces": (tf_policies.GaussianMLPPolicy, TWO_FORCES),
}
"""Another framework's go here: a class that is called as these are, and the spec to build it for."""


def torch_module(spec, hidden_sizes, *, dtype="float32", name="policy"):
    """A policy by a module, called as those above are."""
    n_outputs = int(spec.action_space.n) if spec.action_space.shape == () else spec.action_space.shape[0]
    sizes = (4, *hidden_sizes, n_outputs)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        layers = [torch.nn.Linear(a, b, dtype=getattr(torch, dtype)) for a, b in itertools.pairwise(sizes)]
    parts = itertools.chain(*((layer, torch.nn.Tanh()) for layer in layers[:-1]), layers[-1:])
    return torch_policies.ModulePolicy(spec, torch.nn.Sequential(*parts), name=name)


OF_MODULES = {
    "torch module, three actions": (torch_module, THREE_ACTIONS),
    "torch module, two forces": (torch_module, TWO_FORCES),
}
"""Policies by users' modules: they have parameters from the start, and act by their framework."""
HIDDEN_SIZES = (6, 5)
N = 9


def maker(kind, spec):
    return lambda **options: kind(spec, HIDDEN_SIZES, **options)


def surroundings(kind):
    """Where policies of a kind are built and asked."""
    return GraphSession() if kind.__module__ == tf_policies.__name__ else contextlib.nullcontext()


@pytest.fixture(params=(POLICIES | OF_MODULES).values(), ids=(POLICIES | OF_MODULES).keys())
def make(request):
    """Makes policies that were not initialised."""
    kind, spec = request.param
    with surroundings(kind):
        yield maker(kind, spec)


@pytest.fixture(params=POLICIES.values(), ids=POLICIES.keys())
def make_blank(request):
    """Makes policies without parameters."""
    kind, spec = request.param
    with surroundings(kind):
        yield maker(kind, spec)


def initialised(policy):
    policy.initialise(Streams(1).generator("policy"))
    return policy


@pytest.fixture(params=["float32", "float64"])
def policy(request, make):
    return initialised(make(dtype=request.param))


@pytest.fixture(params=["float32", "float64"])
def mlp_policy(request, make_blank):
    return initialised(make_blank(dtype=request.param))


@pytest.fixture
def double(make):
    """In float64, with parameters that are no special ones."""
    made = initialised(make(dtype="float64"))
    return made.at(made.theta + 0.2 * np.random.default_rng(0).normal(size=made.theta.shape))


def batch_for(policy, lengths=(N,), seed=0):
    return batch_of(lengths, spec=policy.spec, seed=seed)


def acting(policy, n=N, seed=0, *, greedy=False):
    observations = batch_for(policy, (n,), seed).observations
    noise = None if greedy else policy.draw_noise(Streams(seed).generator("noise"), n)
    return policy.act(observations, policy.initial_memory(n), noise)


def bits(answer):
    actions, memory, infos = answer
    return [np.asarray(part).tobytes() for part in (actions, memory, *(infos[key] for key in sorted(infos)))]


def test_actions_memory_and_infos_have_a_row_for_each_observation(policy):
    for n in (1, 2, N):
        for greedy in (True, False):
            actions, memory, infos = acting(policy, n, greedy=greedy)
            assert actions.shape == (n, *policy.spec.action_space.shape)
            assert memory.shape == policy.initial_memory(n).shape
            assert all(isinstance(values, np.ndarray) and len(values) == n for values in infos.values())


def test_noise_has_a_row_for_each_step_and_is_of_the_generator_alone(policy):
    noise = policy.draw_noise(Streams(1).generator("a"), 20)
    assert noise.ndim == 2
    assert len(noise) == 20
    assert np.isfinite(noise).all()
    assert np.array_equal(policy.draw_noise(Streams(1).generator("a"), 20), noise)
    assert not np.array_equal(policy.draw_noise(Streams(1).generator("b"), 20), noise)


def test_noise_that_is_made_of_uniforms_is_the_noise_that_is_drawn(mlp_policy):
    """Of many episodes at once, bit for bit; it must be so for every policy that says it makes its noise so."""
    made = uniform_noise_of(mlp_policy)
    assert (made is not None) == (mlp_policy.spec in (TWO_ACTIONS, THREE_ACTIONS))
    if made is not None:
        uniforms = first_uniforms([Streams(1).key("a"), Streams(1).key("b")], 20 * made.n_uniforms)
        noise = made.noise_of(uniforms.reshape(2 * 20, made.n_uniforms))
        expected = [mlp_policy.draw_noise(Streams(1).generator(path), 20) for path in ("a", "b")]
        assert noise.dtype == expected[0].dtype
        assert noise.tobytes() == np.concatenate(expected).tobytes()


def test_acting_is_deterministic_and_changes_nothing(policy):
    before = policy.theta.tobytes()
    observations, memory = batch_for(policy).observations, policy.initial_memory(N)
    noise = policy.draw_noise(Streams(0).generator("noise"), N)
    inputs = [array.copy() for array in (observations, memory, noise)]
    first = bits(policy.act(observations, memory, noise))
    acting(policy, seed=5)
    assert bits(policy.act(observations, memory, noise)) == first
    assert all(np.array_equal(a, b) for a, b in zip(inputs, (observations, memory, noise), strict=True))
    assert policy.theta.tobytes() == before


def test_noise_decides_and_without_it_the_choice_is_greedy(policy):
    actions = [acting(policy, 50, seed=3, greedy=True)[0] for _ in range(2)]
    assert np.array_equal(*actions)
    observations = batch_for(policy, (50,), 3).observations
    noisy = [
        policy.act(observations, policy.initial_memory(50), policy.draw_noise(Streams(0).generator(path), 50))[0]
        for path in ("a", "b")
    ]
    assert not np.array_equal(*noisy)


def test_acting_is_by_the_compiled_mlp_bit_for_bit(mlp_policy):
    """So policies of all frameworks draw the same episodes from the same theta."""
    infos = acting(mlp_policy)[2]
    outputs = infos["logits"] if "logits" in infos else infos["mean"]
    n_outputs = outputs.shape[1]
    shape = MLPShape((4, *HIDDEN_SIZES, n_outputs))
    forward = Forward(shape.sizes, mlp_policy.theta[: shape.n_parameters])
    expected = forward(batch_for(mlp_policy).observations.astype(mlp_policy.theta.dtype))
    assert np.array_equal(outputs, expected)


def test_first_parameters_are_of_the_generator_alone(make_blank):
    drawn = []
    for path in ("a", "a", "b"):
        policy = make_blank()
        policy.initialise(Streams(1).generator(path))
        drawn.append(policy.theta.tobytes())
    assert drawn[0] == drawn[1] != drawn[2]


def test_nothing_is_there_before_the_first_parameters(make_blank):
    policy = make_blank(name="pilot")
    assert policy.name == "pilot"
    assert not policy.initialised
    for ask in (
        lambda: policy.theta,
        lambda: acting(policy),
        policy.state_dict,
        lambda: policy.objective(batch_for(policy)),
    ):
        with pytest.raises(OrderError, match=r"`pilot` .*policy\.initialise\(generator\)"):
            ask()
    policy.initialise(Streams(1).generator())
    assert policy.initialised


def test_theta_is_one_flat_vector_that_only_assigning_changes(policy):
    theta = policy.theta
    assert theta.ndim == 1
    with pytest.raises(ValueError, match="read-only"):
        theta[0] = 1
    mine = np.array(theta) + 1
    policy.theta = mine
    mine[:] = 0
    np.testing.assert_array_equal(policy.theta, np.array(theta) + 1)
    assert policy.theta.dtype == theta.dtype


def test_at_is_a_copy_that_shares_no_parameters(policy):
    theta, answer = policy.theta.copy(), bits(acting(policy))
    other = policy.at(theta + 1)
    assert type(other) is type(policy)
    assert bits(acting(other)) != answer
    other.theta = theta
    assert bits(acting(other)) == answer == bits(acting(policy))


@pytest.mark.parametrize("change", [-1, 1])
def test_a_theta_of_another_shape_is_refused_with_both(policy, change):
    wrong = np.zeros(policy.theta.size + change)
    for assign in (lambda: setattr(policy, "theta", wrong), lambda: policy.at(wrong)):
        with pytest.raises(MismatchError, match=rf"\({wrong.size},\).*\({policy.theta.size},\)"):
            assign()


def test_the_state_goes_round_exactly(policy, make):
    other = make(dtype=policy.theta.dtype.name)
    other.load_state_dict(policy.state_dict())
    assert differences(policy.state_dict(), other.state_dict()) == []
    assert bits(acting(other)) == bits(acting(policy))
    assert "theta" in flatten(policy.state_dict())


def test_the_state_of_another_shape_or_dtype_is_refused_by_path(policy, make):
    other = make(dtype="float64" if policy.theta.dtype == np.float32 else "float32")
    for state in (other.at(np.zeros(policy.theta.size)).state_dict(), {"theta": policy.theta[1:]}, {"theta": 1}, {}):
        before = policy.theta.tobytes()
        with pytest.raises(MismatchError, match="theta"):
            policy.load_state_dict(state)
        assert policy.theta.tobytes() == before


def test_a_pickle_is_the_same_policy_without_parameters(policy, make):
    again = cloudpickle.loads(cloudpickle.dumps(policy))
    assert (again.name, again.spec, again.initialised) == (policy.name, policy.spec, make().initialised)
    again.load_state_dict(policy.state_dict())
    assert bits(acting(again)) == bits(acting(policy))


def test_objectives_are_those_of_the_acting_policy(double):
    batch = batch_for(double, (5, 4))
    evaluation = double.objective(batch).evaluate(double.theta)
    assert evaluation.log_likelihoods.shape == (9,)
    assert evaluation.log_likelihoods.dtype == np.float64
    assert evaluation.kl == 0.0
    assert np.isfinite(evaluation.entropy)
    other = double.theta + 0.1
    assert double.objective(batch).evaluate(other).kl > 0
    there = double.at(other).objective(batch).evaluate(other)
    assert np.array_equal(there.log_likelihoods, double.objective(batch).evaluate(other).log_likelihoods)


@pytest.mark.parametrize("entropy_weight", [0.0, 0.5])
def test_scores_are_gradients(double, entropy_weight):
    objective = double.objective(batch_for(double))
    weights = np.random.default_rng(1).normal(size=N)
    score = objective.to_array(objective.score(double.theta, weights, entropy_weight))
    for seed in range(5):
        direction = np.random.default_rng(seed).normal(size=score.shape)
        ends = [objective.evaluate(double.theta + sign * 1e-5 * direction) for sign in (1, -1)]
        up, down = (weights @ end.log_likelihoods + entropy_weight * end.entropy for end in ends)
        assert np.isclose(score @ direction, (up - down) / 2e-5, rtol=1e-6, atol=1e-8)


def test_fisher_products_are_the_curvature_of_the_kl(double):
    objective = double.objective(batch_for(double))
    for seed in range(5):
        direction = np.random.default_rng(seed).normal(size=double.theta.shape)
        product = objective.to_array(objective.fisher_product(double.theta, direction))
        ends = [objective.evaluate(double.theta + sign * 1e-3 * direction).kl for sign in (1, -1)]
        assert np.isclose(direction @ product, sum(ends) / 1e-6, rtol=1e-3)
        assert product.dtype == np.float64


def test_fisher_products_are_linear_and_symmetric(double):
    objective = double.objective(batch_for(double))
    a, b = np.random.default_rng(0).normal(size=(2, double.theta.size))
    by_a, by_b, by_both = (
        objective.to_array(objective.fisher_product(double.theta, vector)) for vector in (a, b, 2 * a - b)
    )
    assert np.isclose(b @ by_a, a @ by_b)
    np.testing.assert_allclose(by_both, 2 * by_a - by_b, atol=1e-12)


def test_objectives_leave_policy_and_batch_alone(policy):
    batch, theta = batch_for(policy), policy.theta.tobytes()
    before = batch.observations.copy(), batch.actions.copy()
    objective = policy.objective(batch)
    objective.score(policy.theta, np.ones(N), 0.1)
    objective.fisher_product(policy.theta, np.ones(policy.theta.size))
    objective.evaluate(policy.theta + 1)
    assert policy.theta.tobytes() == theta
    assert np.array_equal(batch.observations, before[0])
    assert np.array_equal(batch.actions, before[1])


def test_answers_are_the_same_bits_again(policy):
    answers = []
    for _ in range(2):
        objective = policy.objective(batch_for(policy, (1500,)))
        theta = policy.theta + 0.01
        vectors = objective.score(theta, np.ones(1500), 0.1), objective.fisher_product(theta, theta)
        parts = objective.evaluate(theta).log_likelihoods, *map(objective.to_array, vectors)
        answers.append([part.tobytes() for part in parts])
    assert answers[0] == answers[1]
