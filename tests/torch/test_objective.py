"""The three questions in PyTorch: against NumPy's, finite differences and explicit matrices, for MLPs and modules."""

import dataclasses
import math
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from core.samples import ONE_FORCE, PLANE, THREE_ACTIONS, TWO_ACTIONS, TWO_FORCES, batch_of
from garage.core import losses, trust_region
from garage.core.streams import Streams
from garage.core.types import EnvSpec
from garage.errors import MismatchError
from garage.np import policies as numpy_policies
from garage.torch import graphs, layers, policies

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
SQUARE = EnvSpec(PLANE, spaces.Box(-1, 1, (2, 2), np.float64))
PIXELS = EnvSpec(spaces.Box(0, 255, (1, 6, 6), np.uint8), spaces.Discrete(3))
SEQUENCES = EnvSpec(spaces.Box(-1, 1, (5, 4), np.float32), spaces.Box(-1, 1, (2,), np.float64))
CASES = {
    "two actions": ("CategoricalMLPPolicy", TWO_ACTIONS, (6, 5)),
    "two actions, no hidden layer": ("CategoricalMLPPolicy", TWO_ACTIONS, ()),
    "three actions": ("CategoricalMLPPolicy", THREE_ACTIONS, (6, 5)),
    "one action": ("CategoricalMLPPolicy", EnvSpec(PLANE, spaces.Discrete(1)), (3,)),
    "one force": ("GaussianMLPPolicy", ONE_FORCE, (6, 5, 4)),
    "two forces": ("GaussianMLPPolicy", TWO_FORCES, (6,)),
    "forces in a square": ("GaussianMLPPolicy", SQUARE, (3,)),
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request):
    return request.param


@pytest.fixture(params=DEVICES)
def device(request):
    return request.param


def pair(case, dtype="float64", seed=0, scale=0.3, **options):
    """The same policy in NumPy and in PyTorch, with parameters that are no special ones."""
    kind, spec, hidden_sizes = case
    one, other = (
        getattr(module, kind)(spec, hidden_sizes, dtype=dtype, **extra)
        for module, extra in ((numpy_policies, {}), (policies, options))
    )
    one.initialise(Streams(seed).generator("policy"))
    one.theta = one.theta + scale * np.random.default_rng(seed).normal(size=one.n_parameters)
    other.theta = one.theta
    return one, other


def batch_for(policy, lengths, seed=0):
    return batch_of(lengths, spec=policy.spec, seed=seed)


def ask(objective, question, theta, weights, vector):
    """An answer as an array."""
    if question == "evaluate":
        evaluation = objective.evaluate(theta)
        return np.concatenate([evaluation.log_likelihoods, evaluation[1:]])
    if question == "score":
        return objective.to_array(objective.score(theta, weights, 0.3))
    return objective.to_array(objective.fisher_product(theta, vector))


QUESTIONS = ("evaluate", "score", "fisher")


def assert_close(got, expected, relative):
    assert got.dtype == expected.dtype == np.float64
    np.testing.assert_allclose(got, expected, rtol=0, atol=relative * max(1e-300, np.abs(expected).max()))


@pytest.mark.parametrize("n", [1, 9, 5000])
def test_answers_are_those_of_numpy(case, device, n):
    one, other = pair(case, device=device)
    batch = batch_for(one, [n])
    generator = np.random.default_rng(1)
    theta = one.theta + 0.1 * generator.normal(size=one.n_parameters)
    weights, vector = generator.normal(size=n), generator.normal(size=one.n_parameters)
    for question in QUESTIONS:
        expected, got = (ask(p.objective(batch), question, theta, weights, vector) for p in (one, other))
        if np.abs(expected).max() == 0.0:  # one action: nothing to learn
            np.testing.assert_allclose(got, 0.0, atol=1e-15)
        else:
            assert_close(got, expected, 1e-10)


def test_float32_agrees_with_numpys_float64(case):
    one, other = pair(case, "float32", scale=0.1)
    double = getattr(numpy_policies, case[0])(*case[1:], dtype="float64").at(one.theta.astype(np.float64))
    batch = batch_for(one, [5000])
    theta, weights = double.theta + 0.05, np.random.default_rng(1).normal(size=5000)
    for question in QUESTIONS:
        expected, got = (ask(p.objective(batch), question, theta, weights, theta) for p in (double, other))
        np.testing.assert_allclose(got, expected, atol=1e-4 * max(1.0, np.abs(expected).max()))


def trust_region_step(policy, batch, advantages):
    objective = policy.objective(batch)
    theta = objective.theta
    before = objective.evaluate(theta)

    def loss_and_kl(candidate):
        evaluation = objective.evaluate(candidate)
        loss = losses.surrogate(evaluation.log_likelihoods, before.log_likelihoods, advantages)
        return loss.value, evaluation.kl

    loss = losses.surrogate(before.log_likelihoods, before.log_likelihoods, advantages)
    descent = objective.score(theta, loss.weights)
    direction, residual = trust_region.conjugate_gradient(
        lambda vector: objective.fisher_product(theta, vector) + 0.1 * vector, descent
    )
    longest = trust_region.scaled_to_trust_region(direction, descent - residual, 0.01)
    step = trust_region.backtrack(theta, longest, loss_and_kl, loss_before=loss.value, max_kl=0.01)
    return step, objective.to_array(step.theta)


@pytest.mark.parametrize("name", ["two actions", "three actions", "one force", "two forces"])
def test_a_trust_region_step_is_numpys(name, device):
    one, other = pair(CASES[name], device=device)
    batch = batch_for(one, [300, 200])
    advantages = np.random.default_rng(3).normal(size=500)
    (expected, there), (got, here) = (trust_region_step(p, batch, advantages) for p in (one, other))
    assert got.outcome is expected.outcome is trust_region.Outcome.ACCEPTED
    assert got.n_backtracks == expected.n_backtracks
    np.testing.assert_allclose(here - one.theta, there - one.theta, atol=1e-8 * np.abs(there - one.theta).max())
    assert isinstance(got.theta, torch.Tensor)
    assert (got.theta.device.type, got.theta.dtype) == (device, torch.float64)


class Pixels(nn.Module):
    """Convolutions, normalisations, a pool, a frozen layer, a tied one, and one that is not used."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.hidden = nn.Linear(16, 5)
        self.again, self.once_more = nn.Linear(5, 5), nn.Linear(5, 5)
        self.once_more.weight = self.again.weight
        self.frozen = nn.Linear(5, 5).requires_grad_(requires_grad=False)
        self.unused = nn.Linear(2, 1)
        self.head = nn.Linear(5, 3)
        self.dropout = nn.Dropout(0.5)

    def forward(self, observations):
        x = torch.tanh(self.norm(self.convolution(observations / 255.0)))
        x = torch.tanh(self.hidden(nn.functional.avg_pool2d(x, 2).flatten(1)))
        x = torch.tanh(self.once_more(torch.tanh(self.again(self.dropout(x)))))
        return self.head(self.frozen(x))


class Sequences(nn.Module):
    """A module with a memory within a row, or with attention."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        if kind == "attention":
            self.layer = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, activation="gelu", batch_first=True)
        else:
            self.layer = {"lstm": nn.LSTM, "gru": nn.GRU}[kind](4, 4, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, observations):
        x = self.layer(observations)
        return self.head((x if self.kind == "attention" else x[0])[:, -1])


MODULES = {
    "convolutions": (Pixels, PIXELS),
    "attention": (lambda: Sequences("attention"), SEQUENCES),
    "gru": (lambda: Sequences("gru"), SEQUENCES),
    "lstm": (lambda: Sequences("lstm"), SEQUENCES),
}


def module_policy(name, dtype=torch.float64, device="cpu"):
    make, spec = MODULES[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return policies.ModulePolicy(spec, make().to(dtype), device=device)


@pytest.mark.parametrize("name", MODULES)
def test_a_modules_answers_are_derivatives(name):
    policy = module_policy(name)
    objective = policy.objective(batch_for(policy, [6]))
    theta, weights = policy.theta + 0.01, np.random.default_rng(1).normal(size=6)

    def value(at):
        evaluation = objective.evaluate(at)
        return weights @ evaluation.log_likelihoods + 0.7 * evaluation.entropy

    score = objective.to_array(objective.score(theta, weights, 0.7))
    centre = policy.theta
    for seed in range(4):
        along = np.random.default_rng(seed).normal(size=len(theta))
        slope = (value(theta + 1e-5 * along) - value(theta - 1e-5 * along)) / 2e-5
        assert math.isclose(score @ along, slope, rel_tol=1e-5, abs_tol=1e-7)
        product = objective.to_array(objective.fisher_product(centre, along))
        other = np.random.default_rng(seed + 9).normal(size=len(theta))
        # The KL's slope at the old theta is zero, so its curvature is that of four points around it.
        corners = [objective.evaluate(centre + 1e-3 * (a * along + b * other)).kl for a in (1, -1) for b in (1, -1)]
        curvature = (corners[0] - corners[1] - corners[2] + corners[3]) / 4e-6
        assert math.isclose(other @ product, curvature, rel_tol=1e-2, abs_tol=1e-2 * abs(along @ product))


@pytest.mark.parametrize("kept", [0, 1, 2**30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_kept_changes_no_bit(monkeypatch, kept, dtype):
    """Graphs that are made again give the same answers as those that are kept."""
    policy = module_policy("convolutions", dtype)
    batch = batch_for(policy, [30])
    weights, vector = np.random.default_rng(1).normal(size=30), np.ones(policy.n_parameters)
    monkeypatch.setattr(graphs, "BLOCK_ROWS", 8)
    expected = [ask(policy.objective(batch), question, policy.theta, weights, vector) for question in QUESTIONS]
    size = policy.objective(batch)._network._n_bytes_of_a_graph()
    assert size > 8 * 36 * policy.theta.itemsize
    monkeypatch.setattr(graphs, "KEPT_BYTES", kept * size if kept < 9 else kept)
    objective = policy.objective(batch)
    for _ in range(2):
        for question, answer in zip(QUESTIONS, expected, strict=True):
            assert np.array_equal(ask(objective, question, policy.theta, weights, vector), answer)
    assert len(objective._network._graphs) == {0: 1, 1: 2}.get(kept, 4)


def test_blocks_are_answered_alone_and_summed(monkeypatch, case):
    one, other = pair(case)
    batch = batch_for(one, [30])
    weights, vector = np.random.default_rng(1).normal(size=30), np.ones(one.n_parameters)
    monkeypatch.setattr(layers, "BLOCK_ROWS", 8)
    for question in QUESTIONS:
        expected, got = (ask(p.objective(batch), question, one.theta, weights, vector) for p in (one, other))
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-13)


def test_large_rows_make_small_blocks():
    policy = module_policy("convolutions")
    network = policy.objective(batch_for(policy, [4097]))._network
    assert [rows.stop - rows.start for rows in network.blocks] == [4096, 1]
    rows = torch.zeros(700, 4, 84, 84, dtype=torch.uint8)
    assert len(graphs.ModuleGraphs(policy._network, rows).blocks) == 2


@pytest.mark.parametrize("kind", ["mlp", "module"])
def test_questions_may_come_in_any_order(kind):
    """What was asked before changes no answer, though activations and graphs are kept."""
    policy = pair(CASES["three actions"])[1] if kind == "mlp" else module_policy("convolutions")
    batch = batch_for(policy, [20])
    a, b, weights = policy.theta, policy.theta + 0.1, np.random.default_rng(2).normal(size=20)
    questions = [(question, theta) for question in QUESTIONS for theta in (a, b)]
    expected = [ask(policy.objective(batch), *question, weights, b) for question in questions]
    objective = policy.objective(batch)
    for index in np.random.default_rng(3).integers(0, len(questions), 30):
        assert np.array_equal(ask(objective, *questions[index], weights, b), expected[index])


def test_a_theta_that_is_changed_in_place_is_noticed():
    policy = pair(CASES["three actions"])[1]
    objective = policy.objective(batch_for(policy, [5]))
    theta = objective.theta + 0.1
    first = objective.evaluate(theta).log_likelihoods
    theta += 0.1
    assert not np.array_equal(objective.evaluate(theta).log_likelihoods, first)


def test_one_that_is_changed_in_inference_mode_is_noticed_too():
    policy = pair(CASES["three actions"])[1]
    batch = batch_for(policy, [5])
    with torch.inference_mode():
        objective = policy.objective(batch)
        theta = objective.theta + 0.1
        first = objective.evaluate(theta).log_likelihoods
        theta += 0.1
        assert not np.array_equal(objective.evaluate(theta).log_likelihoods, first)


READS = {"aten::_local_scalar_dense", "aten::equal", "aten::is_nonzero", "aten::nonzero", "aten::item"}
"""What asks a device for a value."""


def print_reads_of_fisher_products():
    """For each case: whether a product was seen, what it read, and what it read after being given another theta."""

    def names(ask):
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            ask()
        return {event.name for event in profile.events()}

    for name in ("two actions", "three actions", "one force", "two forces"):
        policy = pair(CASES[name])[1]
        objective = policy.objective(batch_for(policy, [5000]))
        theta = objective.theta
        vector = objective.score(theta, np.ones(5000))
        asked = names(partial(objective.fisher_product, theta, vector))
        compared = names(partial(objective.fisher_product, theta.clone(), vector))
        print("aten::mm" in asked, sorted(asked & READS), sorted(compared & READS))


def test_a_fisher_product_brings_nothing_to_the_host():
    """On a GPU, whatever the host reads makes it wait for all that was asked before.

    In a process of its own, for PyTorch's profiler crashes beside TensorFlow.
    """
    tests = str(Path(__file__).parents[1])
    load = (
        f"import sys, runpy; sys.path.insert(0, {tests!r}); "
        f"runpy.run_path({__file__!r})['print_reads_of_fisher_products']()"
    )
    done = subprocess.run([sys.executable, "-c", load], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["True [] ['aten::equal']"] * 4, done.stderr


def test_two_actions_of_which_one_is_all_but_certain_are_numpys():
    one, other = pair(CASES["two actions"])
    batch = batch_for(one, [50])
    sure = np.array(one.theta)
    sure[-1], sure[-2] = 300.0, -300.0  # biases of the outputs
    one.theta = other.theta = sure
    weights, vector = np.ones(50), np.ones(one.n_parameters)
    expected, got = (p.objective(batch) for p in (one, other))
    for theta in (sure, sure + 0.1):
        for question in ("evaluate", "score"):
            a, b = (ask(objective, question, theta, weights, vector) for objective in (expected, got))
            np.testing.assert_allclose(b, a, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["mlp", "module"])
def test_kl_is_measured_from_the_theta_of_the_objectives_making(kind):
    policy = pair(CASES["three actions"])[1] if kind == "mlp" else module_policy("convolutions")
    batch = batch_for(policy, [30])
    objective = policy.objective(batch)
    theta, other = policy.theta, policy.theta + 0.1
    before = objective.evaluate(other).kl
    policy.theta = other
    assert objective.evaluate(other).kl == before > 0.0
    assert objective.evaluate(theta).kl == 0.0
    assert np.array_equal(objective.to_array(objective.theta), theta)


def test_entropy_and_log_likelihoods_are_those_of_one_distribution():
    policy = pair(CASES["three actions"])[1]
    batch = batch_for(policy, [20])
    p = [
        np.exp(policy.objective(dataclasses.replace(batch, actions=np.full(20, action))).evaluate(policy.theta)[0])
        for action in range(3)
    ]
    np.testing.assert_allclose(sum(p), 1.0, rtol=1e-12)
    explicit = -np.mean(sum(share * np.log(share) for share in p))
    assert math.isclose(policy.objective(batch).evaluate(policy.theta).entropy, explicit, rel_tol=1e-12)


def test_a_gaussian_has_its_closed_forms():
    policy = pair(CASES["forces in a square"])[1]
    batch = batch_for(policy, [15])
    new = policy.theta + 0.2 * np.random.default_rng(5).normal(size=policy.n_parameters)

    def moments(theta):
        mean = policy.at(theta).act(batch.observations, batch.memories, None)[2]["mean"].reshape(15, 4)
        return mean, np.exp(theta[-4:])

    (m, s), (n, t) = moments(policy.theta), moments(new)
    evaluation = policy.objective(batch).evaluate(new)
    x = batch.actions.reshape(15, 4)
    densities = np.exp(-0.5 * ((x - n) / t) ** 2) / (t * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(evaluation.log_likelihoods, np.log(densities).sum(axis=1), rtol=1e-10)
    kl = (np.log(t / s) + (s**2 + (m - n) ** 2) / (2 * t**2) - 0.5).sum(axis=1).mean()
    assert math.isclose(evaluation.kl, kl, rel_tol=1e-10)
    assert math.isclose(evaluation.entropy, 0.5 * np.log(2 * np.pi * np.e * t**2).sum(), rel_tol=1e-10)


def test_deviations_below_the_least_count_as_it_and_learn_nothing():
    policy = policies.GaussianMLPPolicy(TWO_FORCES, (4,), min_std=0.5, dtype="float64")
    policy.initialise(Streams(1).generator())
    theta = np.array(policy.theta)
    theta[-2:] = np.log([0.1, 2.0])
    at_least = np.array(theta)
    at_least[-2] = np.log(0.5)
    objective = policy.at(theta).objective(batch_for(policy, [12]))
    assert np.array_equal(objective.evaluate(theta)[0], objective.evaluate(at_least)[0])
    assert objective.evaluate(at_least).kl == 0.0
    score = objective.score(theta, np.ones(12), 1.0)
    fisher = objective.fisher_product(theta, np.ones(policy.n_parameters))
    assert score[-2] == fisher[-2] == 0.0
    assert score[-1] != 0.0
    assert fisher[-1] == 2.0


def test_large_logits_overflow_nowhere():
    policy = pair(CASES["three actions"], "float32")[1]
    objective = policy.objective(batch_for(policy, [20]))
    theta = 1e4 * policy.theta
    evaluation = objective.evaluate(theta)
    assert np.isfinite(evaluation.log_likelihoods).all()
    assert math.isfinite(evaluation.kl)
    assert evaluation.entropy >= 0
    assert objective.score(theta, np.ones(20), 1.0).isfinite().all()


@pytest.mark.parametrize("kind", ["mlp", "module"])
def test_wrong_shapes_are_refused_with_both(kind):
    policy = pair(CASES["three actions"])[1] if kind == "mlp" else module_policy("convolutions")
    p, objective = policy.n_parameters, policy.objective(batch_for(policy, [5]))
    for wrong in (np.zeros(p - 1), np.zeros((1, p)), torch.zeros(p + 1)):
        with pytest.raises(MismatchError, match=rf"`theta` of shape .* expects \({p},\)"):
            objective.evaluate(wrong)
        with pytest.raises(MismatchError, match=rf"`vector` of shape .* expects \({p},\)"):
            objective.fisher_product(objective.theta, wrong)
    with pytest.raises(MismatchError, match=r"`weights` of shape \(4,\).* expects \(5,\)"):
        objective.score(objective.theta, np.zeros(4))
