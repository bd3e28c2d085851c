"""The NumPy policies: what they act by, what they keep, what they refuse."""

import copy
import math
import pickle
import re

import numpy as np
import pytest
from gymnasium import spaces

from core.samples import ONE_FORCE, PLANE, THREE_ACTIONS, TWO_ACTIONS, TWO_FORCES, draws
from garage.core import acting
from garage.core.mlp import MLPShape
from garage.core.streams import Streams
from garage.core.types import EnvSpec
from garage.errors import ArgumentError, MismatchError, OrderError
from garage.np.policies import CategoricalMLPPolicy, GaussianMLPPolicy

KINDS = {"categorical": (CategoricalMLPPolicy, TWO_ACTIONS), "gaussian": (GaussianMLPPolicy, TWO_FORCES)}


@pytest.fixture(params=KINDS.values(), ids=KINDS.keys())
def kind(request):
    return request.param


def initialised(policy, seed=0):
    policy.initialise(Streams(seed).generator("policy"))
    return policy


def test_first_parameters_are_the_mlps_and_then_the_deviations():
    generator = Streams(3).generator("policy")
    categorical = CategoricalMLPPolicy(TWO_ACTIONS, (32, 32), dtype="float64")
    categorical.initialise(generator)
    expected = MLPShape((4, 32, 32, 2)).draw(Streams(3).generator("policy"))
    assert np.array_equal(categorical.theta, expected)
    assert categorical.n_parameters == 1282
    gaussian = initialised(GaussianMLPPolicy(TWO_FORCES, (32, 32), init_std=0.3, dtype="float64"), 3)
    np.testing.assert_allclose(np.exp(gaussian.theta[-2:]), 0.3)
    assert np.array_equal(gaussian.theta[:-2], expected)


def test_defaults_are_the_known_ones(kind):
    policy = kind[0](kind[1])
    assert policy.hidden_sizes == (32, 32)
    assert policy.dtype == np.float32
    assert policy.name == "policy"
    if kind[0] is GaussianMLPPolicy:
        assert (policy.init_std, policy.min_std) == (1.0, 1e-6)


def test_acting_is_by_the_outputs_and_the_noise():
    observations = draws(PLANE, np.random.default_rng(0), 6)
    categorical = initialised(CategoricalMLPPolicy(THREE_ACTIONS, (8,)))
    noise = categorical.draw_noise(Streams(0).generator(), 6)
    actions, _, infos = categorical.act(observations, categorical.initial_memory(6), noise)
    assert np.array_equal(actions, (infos["logits"] + noise).argmax(axis=1))
    greedy, _, _ = categorical.act(observations, categorical.initial_memory(6), None)
    assert np.array_equal(greedy, infos["logits"].argmax(axis=1))
    gaussian = initialised(GaussianMLPPolicy(TWO_FORCES, (8,), init_std=0.5))
    noise = gaussian.draw_noise(Streams(0).generator(), 6)
    actions, _, infos = gaussian.act(observations, gaussian.initial_memory(6), noise)
    np.testing.assert_allclose(actions, infos["mean"] + 0.5 * noise, rtol=1e-6)
    assert np.array_equal(gaussian.act(observations, gaussian.initial_memory(6), None)[0], infos["mean"])


def test_noise_is_that_of_acting_in_the_policys_dtype():
    for policy in (CategoricalMLPPolicy(THREE_ACTIONS), CategoricalMLPPolicy(THREE_ACTIONS, dtype="float64")):
        expected = acting.categorical_noise(Streams(0).generator(), 5, 3).astype(policy.dtype)
        assert np.array_equal(policy.draw_noise(Streams(0).generator(), 5), expected)
    policy = GaussianMLPPolicy(TWO_FORCES)
    expected = acting.gaussian_noise(Streams(0).generator(), 5, 2).astype(np.float32)
    assert np.array_equal(policy.draw_noise(Streams(0).generator(), 5), expected)


def test_gaussian_actions_have_the_shape_of_the_space():
    spec = EnvSpec(PLANE, spaces.Box(-1, 1, (2, 3), np.float64))
    policy = initialised(GaussianMLPPolicy(spec, (4,), dtype="float64"))
    observations = draws(PLANE, np.random.default_rng(0), 5)
    noise = policy.draw_noise(Streams(0).generator(), 5)
    actions, _, infos = policy.act(observations, policy.initial_memory(5), noise)
    assert actions.shape == infos["mean"].shape == (5, 2, 3)
    assert noise.shape == (5, 6)
    np.testing.assert_allclose((actions - infos["mean"]).reshape(5, 6), noise, rtol=1e-12)


@pytest.mark.parametrize(
    "space",
    [spaces.Discrete(4, start=1), spaces.Box(0, 255, (3, 2), np.uint8), spaces.MultiBinary(3), spaces.Box(-1, 1, ())],
)
def test_observations_of_any_flat_space_will_do(space):
    policy = initialised(CategoricalMLPPolicy(EnvSpec(space, spaces.Discrete(2)), (4,)))
    observations = draws(space, np.random.default_rng(0), 3)
    actions, _, infos = policy.act(observations, policy.initial_memory(3), None)
    assert actions.shape == (3,)
    assert infos["logits"].dtype == np.float32


def test_theta_before_the_first_initialise_is_an_error_that_says_what_to_do(kind):
    policy = kind[0](kind[1], name="pilot")
    observations = draws(PLANE, np.random.default_rng(0), 2)
    assert not policy.initialised
    for call in (lambda: policy.theta, policy.state_dict, lambda: policy.act(observations, np.zeros((2, 0)), None)):
        with pytest.raises(OrderError, match=r"`pilot` has no parameters yet. Call policy\.initialise\(generator\)"):
            call()


def test_theta_is_a_read_only_copy(kind):
    policy = initialised(kind[0](kind[1], (4,)))
    mine = np.array(policy.theta)
    policy.theta = mine
    mine[:] = 7
    assert not (policy.theta == 7).any()
    assert not np.shares_memory(policy.theta, mine)
    with pytest.raises(ValueError, match="read-only"):
        policy.theta[0] = 1


def test_assigning_theta_changes_how_it_acts(kind):
    policy = initialised(kind[0](kind[1], (4,)))
    observations = draws(PLANE, np.random.default_rng(0), 9)
    key = {CategoricalMLPPolicy: "logits", GaussianMLPPolicy: "mean"}[kind[0]]
    before = policy.act(observations, policy.initial_memory(9), None)[2][key]
    policy.theta = policy.theta + 1
    after = policy.act(observations, policy.initial_memory(9), None)[2][key]
    assert not np.array_equal(before, after)
    policy.theta = policy.theta - 1
    np.testing.assert_allclose(policy.act(observations, policy.initial_memory(9), None)[2][key], before, atol=1e-6)


@pytest.mark.parametrize("shape", [(3,), (0,), (1, 23), (24,), ()])
def test_theta_of_another_shape_is_refused_with_both_and_the_sizes(shape):
    policy = CategoricalMLPPolicy(TWO_ACTIONS, (3,), name="pilot")
    pattern = re.escape(f"`pilot`: got shape {shape}, this policy has (23,). Was it built with hidden_sizes=(3,)?")
    with pytest.raises(MismatchError, match=pattern):
        policy.theta = np.zeros(shape)
    with pytest.raises(MismatchError, match=pattern):
        policy.at(np.zeros(shape))


def test_at_is_a_light_copy_that_leaves_the_original_alone(kind):
    policy = initialised(kind[0](kind[1], (4,), name="pilot"))
    before = policy.theta.copy()
    other = policy.at(policy.theta + 1)
    assert type(other) is type(policy)
    assert (other.name, other.spec, other.hidden_sizes, other.dtype) == ("pilot", policy.spec, (4,), policy.dtype)
    assert np.array_equal(policy.theta, before)
    np.testing.assert_array_equal(other.theta, before + 1)
    other.theta = before * 0
    assert np.array_equal(policy.theta, before)
    assert np.array_equal(copy.copy(policy).theta, before)


def test_at_needs_no_parameters_beforehand(kind):
    policy = kind[0](kind[1], (4,))
    assert policy.at(np.zeros(policy.n_parameters)).initialised
    assert not policy.initialised


def test_a_state_goes_round(kind):
    policy, other = initialised(kind[0](kind[1], (4,))), kind[0](kind[1], (4,))
    state = policy.state_dict()
    other.load_state_dict(state)
    assert other.theta.tobytes() == policy.theta.tobytes()
    assert other.theta.dtype == policy.theta.dtype
    assert other.state_dict()["layers"] == state["layers"]
    expected = "hidden_0/weights 4x4, hidden_0/biases 4, output/weights 4x2, output/biases 2"
    assert state["layers"] == expected + (", log_std 2" if kind[0] is GaussianMLPPolicy else "")


def test_loading_another_shape_names_path_shapes_layers_and_sizes():
    policy = initialised(CategoricalMLPPolicy(TWO_ACTIONS, (3,)))
    other = initialised(CategoricalMLPPolicy(TWO_ACTIONS, (64, 64), name="pilot"))
    before = other.theta
    with pytest.raises(MismatchError) as caught:
        other.load_state_dict(policy.state_dict())
    message = str(caught.value)
    for part in ("`pilot/theta`", "shape (23,)", "shape (4610,)", "hidden_0/weights 4x3", "hidden_sizes=(64, 64)"):
        assert part in message
    assert other.theta is before


def test_loading_another_dtype_names_both():
    policy, other = initialised(CategoricalMLPPolicy(TWO_ACTIONS)), CategoricalMLPPolicy(TWO_ACTIONS, dtype="float64")
    with pytest.raises(MismatchError, match=r"snapshot has float32 .* this policy has float64"):
        other.load_state_dict(policy.state_dict())
    assert not other.initialised


def test_loading_something_else_says_what_it_is():
    policy = CategoricalMLPPolicy(TWO_ACTIONS, (3,))
    with pytest.raises(MismatchError, match=r"the snapshot has None.*layers are unknown"):
        policy.load_state_dict({"theta": None})
    with pytest.raises(MismatchError, match=r"`policy`: `theta` is missing, it has \['coefficients'\]"):
        policy.load_state_dict({"coefficients": np.zeros(3)})


def test_a_pickle_is_the_constructor_call(kind):
    policy = initialised(kind[0](kind[1], [4], name="pilot", dtype="float64"))
    again = pickle.loads(pickle.dumps(policy))
    assert (again.name, again.hidden_sizes, again.dtype, again.spec) == ("pilot", (4,), np.float64, policy.spec)
    assert not again.initialised


@pytest.mark.parametrize(
    ("make", "pattern"),
    [
        (lambda: CategoricalMLPPolicy(ONE_FORCE), r"cannot act in Box.*expected Discrete.*use GaussianMLPPolicy"),
        (
            lambda: GaussianMLPPolicy(TWO_ACTIONS),
            r"cannot act in Discrete\(2\).*expected Box.*use CategoricalMLPPolicy",
        ),
        (lambda: GaussianMLPPolicy(EnvSpec(PLANE, spaces.Box(0, 9, (1,), np.int32))), "of a floating dtype"),
        (
            lambda: CategoricalMLPPolicy(EnvSpec(spaces.Text(3), spaces.Discrete(2))),
            r"observations of Text.*FlattenObs",
        ),
    ],
)
def test_worlds_that_do_not_fit_are_refused(make, pattern):
    with pytest.raises(MismatchError, match=pattern):
        make()


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        ({"dtype": "float16"}, "dtype must be 'float32' or 'float64', got 'float16'"),
        ({"dtype": np.float32}, "dtype must be"),
        ({"hidden_sizes": (0,)}, "hidden_sizes must be"),
        ({"hidden_sizes": 32}, "hidden_sizes must be .* got 32"),
        ({"min_std": 2.0}, r"got min_std=2\.0 and init_std=1\.0"),
    ],
)
def test_bad_options_are_refused_by_name(options, pattern):
    with pytest.raises(ArgumentError, match=pattern):
        GaussianMLPPolicy(ONE_FORCE, **options)


@pytest.mark.parametrize("std", [0.0, -1.0, math.inf, math.nan, "a", None])
def test_a_std_that_is_none_is_refused(std):
    for name in ("init_std", "min_std"):
        with pytest.raises(ArgumentError, match=f"GaussianMLPPolicy's {name} must be above 0 and finite, got"):
            GaussianMLPPolicy(TWO_FORCES, **{name: std})
