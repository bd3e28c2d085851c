"""Policies as values: what is described acts with the same bits, and what no writer wrote is refused."""

import contextlib
import importlib
import math

import msgspec
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from core.samples import TWO_ACTIONS, TWO_FORCES
from experiment.parts import tiny
from garage.algos import TRPO, Normalised
from garage.baselines import ZeroBaseline
from garage.core.streams import Streams
from garage.core.types import EnvSpec
from garage.envs import GymEnv
from garage.errors import ArgumentError, DamagedError, MismatchError
from garage.experiment import policy_descriptions
from garage.experiment.policy_descriptions import built, described, places, read
from garage.experiment.tf_trainer import rebuilding
from garage.np import policies as np_policies

SPECS = {"CategoricalMLPPolicy": TWO_ACTIONS, "GaussianMLPPolicy": TWO_FORCES}


class World:
    """What an algorithm asks of its world when it is built."""

    def __init__(self, spec):
        self.spec = spec


def learner(policy, spec, wrap=lambda algo: algo):
    algo = wrap(TRPO(env=World(spec), policy=policy, baseline=ZeroBaseline(spec)))
    algo.initialise(Streams(1).at("initialise"))
    return algo


def built_again(algo, name="policy"):
    description = read(described(algo), name)
    state = {"algo": algo.state_dict()}
    assert all(place.startswith("algo/") for place in places(description))
    return built(description, state)


def acts_alike(ours, theirs):
    space = theirs.spec.observation_space
    space.seed(1)
    observations = np.array([space.sample() for _ in range(7)])
    noise = theirs.draw_noise(np.random.default_rng(2), 7)
    for given_noise in (None, noise):
        mine, _, my_infos = ours.act(observations, ours.initial_memory(7), given_noise)
        other, _, other_infos = theirs.act(observations, theirs.initial_memory(7), given_noise)
        np.testing.assert_array_equal(mine, other, strict=True)
        np.testing.assert_equal(my_infos, other_infos)
    np.testing.assert_array_equal(ours.draw_noise(np.random.default_rng(2), 7), noise, strict=True)


@pytest.mark.parametrize("framework", ["np", "torch", "tf"])
@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_policies_of_every_framework_come_back_as_numpys(framework, kind, dtype):
    options = {"init_std": 0.3, "min_std": 1e-3} if kind == "GaussianMLPPolicy" else {}
    with rebuilding("TensorFlow") if framework == "tf" else contextlib.nullcontext():
        made = getattr(importlib.import_module(f"garage.{framework}.policies"), kind)
        policy = made(SPECS[kind], (5, 3), name="pilot", dtype=dtype, **options)
        again = built_again(learner(policy, SPECS[kind]))
        assert type(again) is getattr(np_policies, kind)
        assert (again.name, again.spec) == ("pilot", policy.spec)
        acts_alike(again, policy)


@pytest.mark.parametrize(
    "wrap",
    [
        Normalised,
        lambda algo: Normalised(algo, clip=math.inf),
        lambda algo: Normalised(algo, observations=False),
        lambda algo: Normalised(Normalised(Normalised(algo, rewards=False, clip=2.0), observations=False), clip=0.5),
    ],
)
def test_however_it_is_normalised(wrap):
    policy = np_policies.GaussianMLPPolicy(TWO_FORCES, (3,))
    algo, generator = learner(policy, TWO_FORCES, wrap), np.random.default_rng(1)
    state = algo.state_dict()
    node = state
    while "algo" in node:  # statistics that differ, as after some epochs
        if "observations" in node:
            shape = node["observations"]["mean"].shape
            node["observations"] = {"n": 9, "mean": generator.normal(size=shape), "squares": generator.random(shape)}
        node = node["algo"]
    algo.load_state_dict(state)
    acts_alike(built_again(algo), algo.policies()["policy"])


@st.composite
def boxes(draw):
    dtype = np.dtype(draw(st.sampled_from(["f2", "f4", "f8", "i1", "i4", "i8", "u1"])))
    shape = draw(st_numpy.array_shapes(min_dims=0, max_dims=3, max_side=3))
    elements = st_numpy.from_dtype(dtype, allow_nan=False)
    ends = [draw(st_numpy.arrays(dtype, shape, elements=elements, fill=elements)) for _ in range(2)]
    return spaces.Box(np.minimum(*ends), np.maximum(*ends), dtype=dtype.type)


discrete = st.builds(lambda n, start: spaces.Discrete(n, start=start), st.integers(1, 50), st.integers(-9, 9))
counts = st.integers(1, 5)
binary = st.builds(spaces.MultiBinary, counts | st.lists(counts, min_size=1, max_size=3))


@given(boxes() | discrete | binary, st.none() | st.integers(1, 9))
def test_spaces_come_back_as_they_were(space, length):
    spec = EnvSpec(space, spaces.Discrete(2, start=-1), length)
    again = built_again(learner(np_policies.CategoricalMLPPolicy(spec, (2,)), spec))
    assert again.spec == spec
    assert again.spec.observation_space.dtype == space.dtype
    if isinstance(space, spaces.Box):
        np.testing.assert_array_equal(again.spec.observation_space.low, space.low, strict=True)
        np.testing.assert_array_equal(again.spec.observation_space.high, space.high, strict=True)


class Own(np_policies.CategoricalMLPPolicy):
    """A user's own class, whose acting nobody else knows."""


class Elsewhere(TRPO):
    """Has its policy's state at a place of its own."""

    def state_dict(self):
        state = super().state_dict()
        return {"actor": state["policy"], "baseline": state["baseline"]}


def of_spaces(observations, actions=None):
    spec = EnvSpec(observations, actions or spaces.Discrete(2))
    return lambda: learner(np_policies.CategoricalMLPPolicy(spec, (2,)), spec)


class Odd(spaces.Box):
    """A user's own space."""


UNDESCRIBED = {
    "own class": lambda: learner(Own(TWO_ACTIONS), TWO_ACTIONS),
    "own place": lambda: tiny(kind=Elsewhere)[0],
    "own space": of_spaces(Odd(-1, 1, (2,))),
    "short integers": of_spaces(spaces.Discrete(3), spaces.Discrete(2, dtype=np.int8)),
    "long bounds": of_spaces(spaces.Box(-np.arange(1.0, 9001.0), np.inf, (9000,), np.float64)),
}


@pytest.mark.parametrize("make", UNDESCRIBED.values(), ids=UNDESCRIBED.keys())
def test_what_is_not_all_ours_goes_by_its_recipe(make):
    algo = make()
    algo.initialise(Streams(1).at("initialise"))
    assert described(algo) == {}


def test_a_kind_of_a_later_version_goes_by_its_recipe():
    assert read({"policy": {"kind": "TransformerPolicy", "layers": 3}}, "policy") is None
    assert read({}, "policy") is None


@pytest.fixture
def gaussian():
    """A description as JSON, and the state that goes with it."""
    spec = GymEnv("Pendulum-v1").spec
    algo = learner(np_policies.GaussianMLPPolicy(spec, (3,)), spec, Normalised)
    return described(algo)["policy"], {"algo": algo.state_dict()}


BOX = {"kind": "Box", "dtype": "<f4", "shape": [3], "low": 0.0, "high": 1.0}
HUGE = 10**12
FORGED = {
    "hidden_sizes": [[HUGE], [-1], [0], ["3"], [3.0], "33", None, [HUGE] * 70, [1] * 99, [True]],
    "dtype": ["float16", "O", 3],
    "observation_space": [
        *({**BOX, "shape": shape} for shape in ([HUGE], [HUGE] * 64, [1] * 65, [-3], [4], [], "3", [3, 1])),
        *({**BOX, "low": low} for low in ("Inf", [0, 0], [[0], [0], [0]], 2.0, "NaN", None, 1e300, HUGE, [0, 0, "x"])),
        *({**BOX, "dtype": dtype} for dtype in ("O", "|V8", "M8[s]", "<f4,<f4", ">f4", "", "<U9", "|b1")),
        {"kind": "Discrete", "n": HUGE, "start": 0},
        {"kind": "Discrete", "n": 0, "start": 0},
        {"kind": "Discrete", "n": 3, "start": 2**70},
        {"kind": "MultiBinary", "n": [HUGE, HUGE]},
        {"kind": "MultiBinary", "n": 0},
        {"kind": "Dict"},
        {},
        None,
    ],
    "action_space": [{**BOX, "dtype": "|u1"}, {"kind": "Discrete", "n": 2, "start": 0}, {**BOX, "shape": [2]}],
    "state": ["algo", "algo/policy", "", "/", "counters", "algo/algo/policy/theta", "algo/../algo/policy", 3, None],
    "normalised": [
        [{"statistics": "algo/algo", "clip": 1.0}],
        [{"statistics": "algo/observations", "clip": "wide"}],
        [{"statistics": "algo/observations"}],
        {},
        "observations",
    ],
    "init_std": [-1.0, 0, "1", "NaN", 1e-9],
    "min_std": [-1.0, 0.0, 2.0, None],
    "name": [3, None],
    "max_episode_length": ["500", 1.5],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in FORGED.items() for value in values])
def test_what_no_writer_writes_is_refused(gaussian, key, value):
    document, state = gaussian
    with pytest.raises((DamagedError, MismatchError, ArgumentError)):
        built(read({"policy": {**document, key: value}}, "policy"), state)


@pytest.mark.parametrize("key", ["hidden_sizes", "dtype", "observation_space", "state", "init_std", "name"])
def test_what_is_missing_is_named(gaussian, key):
    document, _ = gaussian
    with pytest.raises(DamagedError, match=f"the policy 'policy' .*`{key}`"):
        read({"policy": {name: value for name, value in document.items() if name != key}}, "policy")


def test_a_field_of_a_later_version_is_ignored(gaussian):
    document, state = gaussian
    again = built(read({"policy": {**document, "colour": "blue"}}, "policy"), state)
    np.testing.assert_array_equal(again.theta, state["algo"]["algo"]["policy"]["theta"])


def test_descriptions_are_plain_json(gaussian):
    document, _ = gaussian
    assert msgspec.json.decode(msgspec.json.encode(document)) == document
    assert len(msgspec.json.encode(document)) < 1000
    assert policy_descriptions.read({"policy": document}, "policy").action_space.low == -2.0
