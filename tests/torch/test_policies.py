"""PyTorch's policies: what they act by, what they keep, what they refuse, and a run of one."""

import copy
import json
import re
from pathlib import Path

import cloudpickle
import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from core.samples import ONE_FORCE, PLANE, THREE_ACTIONS, TWO_ACTIONS, TWO_FORCES, batch_of, draws
from garage import load_policy, process
from garage.algos import TRPO
from garage.baselines import ZeroBaseline
from garage.core.state import differences, flatten
from garage.core.streams import Streams
from garage.core.types import EnvSpec
from garage.envs import GymEnv
from garage.errors import ArgumentError, MismatchError
from garage.experiment import ExperimentContext, Trainer
from garage.experiment.deterministic import set_seed
from garage.np import policies as numpy_policies
from garage.torch.policies import CategoricalMLPPolicy, GaussianMLPPolicy, ModulePolicy

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
PIXELS = spaces.Box(0, 255, (1, 6, 6), np.uint8)


@pytest.fixture(params=DEVICES)
def device(request):
    return request.param


class Pixels(nn.Module):
    """A small convolutional network with everything that a module may keep."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.hidden, self.again = nn.Linear(16, 16), nn.Linear(16, 16)
        self.again.weight = self.hidden.weight
        self.frozen = nn.Linear(16, 16).requires_grad_(requires_grad=False)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(16, 2)
        self.register_buffer("scale", torch.tensor(255.0))

    def forward(self, observations):
        x = torch.relu(self.norm(self.convolution(observations / self.scale)))
        x = nn.functional.avg_pool2d(x, 2).flatten(1)
        x = torch.relu(self.again(torch.relu(self.hidden(x))))
        return self.head(self.dropout(self.frozen(x)))


def made(kind, seed=0, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(**options)


def pixel_policy(seed=0, **options):
    return ModulePolicy(EnvSpec(PIXELS, spaces.Discrete(2), 8), made(Pixels, seed), **options)


def linear(n_outputs, seed=0, **options):
    return made(lambda: nn.Linear(4, n_outputs, **options), seed)


def acted(policy, n=5, *, greedy=False):
    observations = draws(policy.spec.observation_space, np.random.default_rng(0), n)
    noise = None if greedy else policy.draw_noise(Streams(0).generator("noise"), n)
    return policy.act(observations, policy.initial_memory(n), noise)


def bits(answer):
    actions, memory, infos = answer
    return [part.tobytes() for part in (actions, memory, *infos.values())]


def contents(module):
    return {name: tensor.clone() for name, tensor in [*module.named_parameters(), *module.named_buffers()]}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("kind", "spec"), [("CategoricalMLPPolicy", THREE_ACTIONS), ("GaussianMLPPolicy", TWO_FORCES)])
def test_mlps_act_as_numpys_do_bit_for_bit(kind, spec, dtype, device):
    one = getattr(numpy_policies, kind)(spec, dtype=dtype)
    other = {"CategoricalMLPPolicy": CategoricalMLPPolicy, "GaussianMLPPolicy": GaussianMLPPolicy}[kind](
        spec, dtype=dtype, device=device
    )
    for policy in (one, other):
        policy.initialise(Streams(1).generator("policy"))
    assert differences(one.state_dict(), other.state_dict()) == []
    assert bits(acted(one, 64)) == bits(acted(other, 64))


def test_mlps_have_the_known_defaults():
    policy = CategoricalMLPPolicy(TWO_ACTIONS)
    assert (policy.hidden_sizes, policy.dtype, policy.name) == ((32, 32), np.float32, "policy")
    assert policy.device == torch.device("cpu")
    gaussian = GaussianMLPPolicy(ONE_FORCE)
    assert (gaussian.init_std, gaussian.min_std) == (1.0, 1e-6)


def test_a_module_acts_in_eval_mode_and_stays_as_it_is(device):
    module = made(Pixels)
    before = contents(module)
    policy = ModulePolicy(EnvSpec(PIXELS, spaces.Discrete(2)), module, device=device)
    assert policy.initialised
    first = bits(acted(policy))
    assert bits(acted(policy)) == first
    objective = policy.objective(batch_of([9], spec=policy.spec))
    objective.score(objective.theta, np.ones(9))
    objective.fisher_product(objective.theta, objective.theta)
    assert bits(acted(policy)) == first
    policy.theta = policy.theta + 1
    assert bits(acted(policy)) != first
    assert module.training
    assert all(parameter.grad is None for parameter in module.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in contents(module).items())
    with torch.no_grad():
        module.head.bias.add_(100.0)  # whoever changes the module does not change the policy
    policy.initialise(Streams(1).generator())
    assert bits(acted(policy)) == first


def test_logits_are_the_modules():
    module = made(Pixels).eval()
    policy = pixel_policy()
    observations = draws(PIXELS, np.random.default_rng(0), 5)
    with torch.no_grad():
        expected = module(torch.tensor(observations, dtype=torch.float32)).numpy()
    actions, _, infos = policy.act(observations, policy.initial_memory(5), None)
    np.testing.assert_allclose(infos["logits"], expected, rtol=1e-5)
    assert np.array_equal(actions, expected.argmax(axis=1))


def test_theta_is_the_parameters_once_each_and_the_rest_is_fixed():
    module, policy = made(Pixels), pixel_policy()
    learnable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    expected = torch.cat([parameter.detach().reshape(-1) for parameter in learnable])
    assert np.array_equal(policy.theta, expected.numpy())
    state = policy.state_dict()
    fixed = {path.removeprefix("fixed/") for path in flatten(state) if path.startswith("fixed/")}
    assert fixed == {
        *("norm/running_mean", "norm/running_var", "norm/num_batches_tracked"),
        *("frozen/weight", "frozen/bias", "scale"),
    }
    assert state["layers"] == (
        "convolution/weight 4x1x3x3, convolution/bias 4, norm/weight 4, norm/bias 4, hidden/weight 16x16, "
        "hidden/bias 16, again/bias 16, head/weight 2x16, head/bias 2"
    )


def test_a_module_for_a_box_has_its_own_deviations():
    spec = EnvSpec(PLANE, spaces.Box(-1, 1, (2, 3), np.float64))
    module = nn.Sequential(linear(6), nn.Unflatten(1, (2, 3)))
    policy = ModulePolicy(spec, module, init_std=0.5, min_std=0.1)
    assert policy.n_parameters == 30 + 6
    np.testing.assert_allclose(np.exp(policy.theta[-6:]), 0.5, rtol=1e-6)
    assert policy.state_dict()["layers"] == "0/weight 6x4, 0/bias 6, log_std 6"
    observations = draws(PLANE, np.random.default_rng(0), 7)
    noise = policy.draw_noise(Streams(0).generator(), 7)
    for theta, std in ((policy.theta, 0.5), (np.r_[policy.theta[:-6], np.full(6, -9.0)], 0.1)):
        actions, _, infos = policy.at(theta).act(observations, policy.initial_memory(7), noise)
        assert actions.shape == infos["mean"].shape == (7, 2, 3)
        np.testing.assert_allclose((actions - infos["mean"]).reshape(7, 6), std * noise, atol=1e-6)
    assert np.array_equal(policy.act(observations, policy.initial_memory(7), None)[0], infos["mean"])


@pytest.mark.parametrize(
    "space", [spaces.Discrete(4, start=1), spaces.MultiBinary(4), spaces.MultiDiscrete([3, 5, 2, 2])], ids=str
)
def test_observations_of_other_spaces(space):
    policy = ModulePolicy(EnvSpec(space, spaces.Discrete(2)), linear(2))
    observations = np.stack([space.sample() for _ in range(3)])
    assert policy.act(observations, policy.initial_memory(3), None)[2]["logits"].shape == (3, 2)
    with pytest.raises(MismatchError, match="Got observations of shape"):
        policy.act(observations[:, None], policy.initial_memory(3), None)


def test_copies_share_no_parameters(device):
    policy = pixel_policy(device=device)
    theta, answer = policy.theta.copy(), bits(acted(policy))
    for other in (policy.at(theta + 1), copy.deepcopy(policy), copy.copy(policy)):
        assert type(other) is ModulePolicy
        other.theta = theta + 2
        assert bits(acted(other)) != answer
        assert bits(acted(policy)) == answer
        assert np.array_equal(policy.theta, theta)
        other.theta = theta
        assert bits(acted(other)) == answer
        state = other.state_dict()
        state["fixed"]["scale"] = state["fixed"]["scale"] * 2
        other.load_state_dict(state)
        assert bits(acted(policy)) == answer != bits(acted(other))


def test_what_is_tied_stays_tied():
    policy = pixel_policy()
    for other in (policy, policy.at(policy.theta + 1), copy.deepcopy(policy)):
        module = other._network._module
        assert module.again.weight is module.hidden.weight
        start = other._network.flat.data_ptr()
        assert all(0 <= p.data_ptr() - start < 4 * other.n_parameters for p in other._network.parameters)


def test_theta_is_copied_to_the_host_once():
    policy = pixel_policy()
    assert policy.theta is policy.theta
    policy.theta = policy.theta + 1
    assert "array" not in vars(policy._network)
    with pytest.raises(ValueError, match="read-only"):
        policy.theta[0] = 1


def test_a_pickle_carries_the_module_as_it_was_given(device):
    policy = pixel_policy(3, device=device, name="pilot")
    first = policy.theta
    policy.theta = first + 1
    again = cloudpickle.loads(cloudpickle.dumps(policy))
    assert (again.name, again.device) == ("pilot", policy.device)
    assert np.array_equal(again.theta, first)
    again.load_state_dict(policy.state_dict())
    assert differences(again.state_dict(), policy.state_dict()) == []
    assert bits(acted(again)) == bits(acted(policy))


def test_a_state_of_one_device_goes_to_another():
    states = [pixel_policy(1, device=device).state_dict() for device in DEVICES]
    for device in DEVICES:
        for state in states:
            policy = pixel_policy(2, device=device)
            policy.load_state_dict(state)
            assert differences(policy.state_dict(), states[0]) == []
            assert {tensor.device.type for tensor in policy._network.fixed.values()} == {device}


def test_loading_brings_fixed_parts_or_nothing():
    policy, other = pixel_policy(1), pixel_policy(2)
    state, before = policy.state_dict(), bits(acted(other))
    for path, value, pattern in (
        ("scale", np.zeros(2, np.float32), r"`policy/fixed/scale`: the snapshot has float32 of shape \(2,\), .*\(\)"),
        ("scale", 3.0, "the snapshot has 3.0"),
        ("scale", None, "the snapshot has None"),
    ):
        with pytest.raises(MismatchError, match=pattern):
            other.load_state_dict({**state, "fixed": {**state["fixed"], path: value}})
    del state["fixed"]["scale"]
    with pytest.raises(MismatchError, match=r"`policy`/fixed: `scale` is missing"):
        other.load_state_dict(state)
    with pytest.raises(MismatchError, match="`fixed` is missing"):
        other.load_state_dict({"theta": policy.theta})
    assert bits(acted(other)) == before
    other.load_state_dict(policy.state_dict())
    assert bits(acted(other)) == bits(acted(policy))


class Returns(nn.Module):
    """Returns whatever a function makes of the outputs of a layer."""

    def __init__(self, function):
        super().__init__()
        self.layer, self.function = nn.Linear(4, 3), function

    def forward(self, observations):
        return self.function(self.layer(observations))


def half_frozen():
    module = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 3).double())
    module[1].requires_grad_(requires_grad=False)
    return module


def with_bfloat_buffer():
    module = nn.Linear(4, 3)
    module.register_buffer("table", torch.zeros(2, dtype=torch.bfloat16))
    return module


@pytest.mark.parametrize(
    ("module", "error", "pattern"),
    [
        (lambda: nn.Linear(4, 2), MismatchError, r"Linear does not fit Discrete\(3\).*gave \(2, 2\), .*\(2, 3\)"),
        (lambda: Returns(lambda x: x[:1]), MismatchError, r"gave \(1, 3\), expected a tensor of shape \(2, 3\)"),
        (lambda: Returns(lambda x: (x, x)), MismatchError, "gave a tuple, expected a tensor"),
        (lambda: Returns(lambda x: x / 0.0), ArgumentError, "module Returns gave .* expected finite numbers"),
        (lambda: Returns(lambda x: x.double()), ArgumentError, "of torch.float64 .* of torch.float32"),
        (lambda: Returns(lambda x: x.detach()), ArgumentError, "No parameter of the module Returns changes"),
        (lambda: nn.Linear(5, 3), MismatchError, r"cannot be given 2 .* of shape \(2, 4\).*RuntimeError"),
        (nn.Flatten, ArgumentError, "module Flatten has no parameters that require a gradient"),
        (lambda: nn.Linear(4, 3).requires_grad_(requires_grad=False), ArgumentError, "Did you freeze all of them"),
        (half_frozen, ArgumentError, r"`0.weight` is torch.float32, `1.weight` is torch.float64.*module.float\(\)"),
        (lambda: nn.Linear(4, 3).bfloat16(), ArgumentError, "`weight` is torch.bfloat16"),
        (with_bfloat_buffer, ArgumentError, "buffer `table` is torch.bfloat16"),
        (lambda: nn.Linear, ArgumentError, "must be a torch.nn.Module that was made, got <class"),
    ],
)  # fmt: skip
def test_modules_that_do_not_fit_are_refused(module, error, pattern):
    with pytest.raises(error, match=pattern):
        ModulePolicy(THREE_ACTIONS, module())


@pytest.mark.parametrize(
    ("spec", "pattern"),
    [
        (EnvSpec(PLANE, spaces.MultiBinary(3)), "cannot act in MultiBinary.*expected Discrete actions, or Box"),
        (EnvSpec(PLANE, spaces.Box(0, 9, (3,), np.int32)), "of a floating dtype"),
        (EnvSpec(spaces.Text(3), spaces.Discrete(3)), "cannot read Text.*expected Box, Discrete"),
    ],
)
def test_worlds_that_do_not_fit_are_refused(spec, pattern):
    with pytest.raises(MismatchError, match=pattern):
        ModulePolicy(spec, nn.Linear(4, 3))


@pytest.mark.parametrize("options", [{"min_std": 0.0}, {"init_std": float("inf")}, {"min_std": 2.0}])
def test_bad_deviations_are_refused(options):
    with pytest.raises(ArgumentError, match=r"ModulePolicy's (min|init)_std must be .*, got"):
        ModulePolicy(TWO_FORCES, nn.Linear(4, 2), **options)


def test_deviations_of_actions_that_have_none_are_refused():
    with pytest.raises(ArgumentError, match=r"init_std=0.5 .* for Box actions; Discrete\(3\) has none"):
        ModulePolicy(THREE_ACTIONS, nn.Linear(4, 3), init_std=0.5)


@pytest.mark.parametrize("change", [-1, 1])
def test_a_theta_of_another_shape_is_refused_with_both_and_the_layers(change):
    policy = ModulePolicy(THREE_ACTIONS, nn.Linear(4, 3), name="pilot")
    pattern = rf"`pilot`: got shape \({15 + change},\), this policy has \(15,\). Its layers are weight 3x4, bias 3\."
    with pytest.raises(MismatchError, match=pattern):
        policy.theta = np.zeros(15 + change)


class Bright(gymnasium.Env):
    """One half of the image is bright; the action that names it pays."""

    observation_space = PIXELS
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed, options=options)
        self.age = 0
        return self.image(), {}

    def image(self):
        self.side = int(self.np_random.integers(2))
        image = self.np_random.integers(0, 100, (1, 6, 6)).astype(np.uint8)
        image[..., 3 * self.side : 3 * self.side + 3] += 120
        return image

    def step(self, action):
        reward, self.age = float(action == self.side), self.age + 1
        return self.image(), reward, self.age >= 8, False, {}


@pytest.fixture
def own_process(tmp_path, monkeypatch):
    """As if the test were a process: its own folder, no seed, and generators that are put back."""
    monkeypatch.chdir(tmp_path)
    before = process.generators_state()
    yield
    process.load_generators_state(before)
    process.set_process_seed(None)


def trainer_of(path, device="cpu"):
    set_seed(4)
    env = GymEnv(Bright)
    policy = ModulePolicy(env.spec, made(Pixels), device=device)
    algo = TRPO(env=env, policy=policy, baseline=ZeroBaseline(env.spec), max_kl_step=0.1)
    trainer = Trainer(ExperimentContext(path))
    trainer.setup(algo, env)
    return trainer


def rows(path):
    return [json.loads(line) for line in Path(path, "metrics.jsonl").read_text().splitlines()]


@pytest.mark.usefixtures("own_process")
def test_a_convolutional_network_learns_and_goes_on_bit_for_bit(device):
    trainer_of("whole", device).train(n_epochs=4, batch_size=400)
    returns = [row["Evaluation/AverageReturn"] for row in rows("whole")]
    assert returns[1] > returns[0] + 0.1
    assert returns[3] > returns[0] + 1.0
    trainer_of("halves", device).train(n_epochs=2, batch_size=400)
    process.set_process_seed(None)
    restored = Trainer()
    restored.restore("halves")  # its objects are rebuilt from the recipe
    restored.resume(n_epochs=4)
    assert [row["digest"] for row in rows("halves")] == [row["digest"] for row in rows("whole")]
    policy = load_policy("halves")
    assert isinstance(policy, ModulePolicy)
    assert differences(policy.state_dict(), restored.algo.policies()["policy"].state_dict()) == []
    manifest = json.loads(Path("halves/snapshots/000003.json").read_text())
    assert manifest["fingerprint"]["torch"]["deterministic"] is True
    assert re.match(r"\d+\.\d+", manifest["fingerprint"]["torch"]["version"])


@pytest.mark.usefixtures("own_process")
def test_mlps_draw_the_same_episodes_as_numpys():
    for name, kind in (("torch", CategoricalMLPPolicy), ("np", numpy_policies.CategoricalMLPPolicy)):
        set_seed(2)
        env = GymEnv("CartPole-v1")
        algo = TRPO(env=env, policy=kind(env.spec, (8,), dtype="float64"), baseline=ZeroBaseline(env.spec))
        trainer = Trainer(ExperimentContext(name))
        trainer.setup(algo, env)
        trainer.train(n_epochs=3, batch_size=300)
    for one, other in zip(rows("torch"), rows("np"), strict=True):
        shown = [key for key in one if key.startswith(("Evaluation/", "TotalEnvSteps"))]
        assert [one[key] for key in shown] == [other[key] for key in shown]
        assert np.isclose(one["policy/KL"], other["policy/KL"], rtol=1e-6)
