"""PyTorch's generators and settings: seeded, saved, put back, and left alone."""

import json
import os

import numpy as np
import pytest
import threadpoolctl
import torch

from core.samples import TWO_ACTIONS
from experiment.parts import run_script
from garage import process
from garage.core import state as state_trees
from garage.core.streams import Streams
from garage.errors import ArgumentError, MismatchError
from garage.torch.devices import device_checked
from garage.torch.framework import TorchFramework
from garage.torch.policies import CategoricalMLPPolicy

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def settings():
    backends = torch.backends
    return {
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warn_only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "fill": torch.utils.deterministic.fill_uninitialized_memory,
        "cudnn": (backends.cudnn.deterministic, backends.cudnn.benchmark),
        "precision": [
            *(backends.cuda.matmul.fp32_precision, backends.cudnn.conv.fp32_precision),
            *(backends.cudnn.rnn.fp32_precision, backends.mkldnn.matmul.fp32_precision),
            *(backends.mkldnn.conv.fp32_precision, backends.mkldnn.rnn.fp32_precision),
        ],
    }


@pytest.fixture(autouse=True)
def settings_as_before():
    before, state = settings(), torch.get_rng_state()
    yield
    torch.set_rng_state(state)
    assert settings() == before


def test_it_is_registered_once():
    assert [framework.name for framework in process.frameworks()].count("torch") == 1
    assert CategoricalMLPPolicy.__module__ == "garage.torch.policies"


@pytest.mark.parametrize("device", DEVICES)
def test_generators_come_back_exactly_and_nothing_is_drawn(device):
    framework = TorchFramework()
    draws = []
    for seed in (3, 3, 4):
        framework.seed(seed)
        draws.append(torch.rand(3, device=device).tolist())
    assert draws[0] == draws[1] != draws[2]
    torch.randn(5, device=device)
    state = framework.generators_state()
    assert state["cpu"].dtype == np.uint8
    assert ("cuda" in state) == torch.cuda.is_initialized()
    assert state_trees.differences(state, framework.generators_state()) == []
    expected = torch.randn(7, device=device).tolist()
    leaves = {path: state_trees.encode(path, leaf) for path, leaf in state_trees.flatten(state).items()}
    stored = {path: state_trees.decode(path, code.dtype, code.shape, code.data) for path, code in leaves.items()}
    framework.load_generators_state(state_trees.rebuild(stored))
    assert torch.randn(7, device=device).tolist() == expected


def test_a_state_is_a_copy():
    framework = TorchFramework()
    state = framework.generators_state()
    before = state["cpu"].copy()
    torch.rand(3)
    assert np.array_equal(state["cpu"], before)


def test_devices_that_are_not_here_are_left_out_and_a_missing_part_is_an_error():
    framework = TorchFramework()
    state = framework.generators_state()
    framework.load_generators_state(state | {"cuda": {"99": np.zeros(16, np.uint8)}})
    with pytest.raises(MismatchError, match="PyTorch's generators: `cpu` is missing"):
        framework.load_generators_state({})


@pytest.mark.parametrize("precision", ["highest", "medium"])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_settings_hold_while_computing_and_are_put_back(n_threads, precision):
    framework = TorchFramework()
    torch.set_float32_matmul_precision(precision)
    try:
        before = settings()
        with framework.computing(n_threads):
            inside = settings()
            assert framework.fingerprint()["deterministic"] is True
            assert framework.fingerprint()["threads"] == n_threads
            with framework.computing(1):
                assert torch.get_num_threads() == 1
            assert settings() == inside
        assert settings() == before
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision("highest")
        torch.backends.cuda.matmul.fp32_precision = torch.backends.mkldnn.matmul.fp32_precision = "none"
    assert inside == {
        "threads": n_threads,
        "deterministic": True,
        "warn_only": False,
        "fill": False,
        "cudnn": (True, False),
        "precision": ["ieee"] * 6,
    }


def test_a_users_own_settings_are_put_back():
    torch.set_deterministic_debug_mode("warn")  # the other call imports a compiler that does not bear TensorFlow's
    try:
        with TorchFramework().computing(1):
            assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.set_deterministic_debug_mode("default")


def test_threads_are_put_back_within_other_limits():
    before = torch.get_num_threads()
    with TorchFramework().computing(1), threadpoolctl.threadpool_limits(limits=1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_the_fingerprint_is_json_and_names_version_and_cpu():
    found = TorchFramework().fingerprint()
    assert json.loads(json.dumps(found)) == found
    assert found["version"] == torch.__version__
    assert found["cpu_capability"]
    assert ("devices" in found) == torch.cuda.is_initialized()


def test_cublas_is_told_to_be_deterministic():
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"]


@pytest.mark.parametrize("device", DEVICES)
def test_devices_that_are_here(device):
    assert device_checked(device).type == device
    assert device_checked(torch.device(device)).type == device


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "meta", 1.5, None])
def test_a_device_that_is_not_here_is_refused_with_those_that_are(device):
    with pytest.raises(ArgumentError, match=rf"Cannot use device {device!r}: .*\. Devices here: cpu"):
        device_checked(device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_cuda_without_a_device_is_refused_when_a_policy_is_made():
    with pytest.raises(ArgumentError, match=r"Cannot use device 'cuda': .*Devices here: cpu\."):
        CategoricalMLPPolicy(TWO_ACTIONS, device="cuda")


SEEDING = """
import sys
if sys.argv[1] == "loaded":
    import torch
from garage.experiment.deterministic import set_seed
assert ("torch" in sys.modules) == (sys.argv[1] == "loaded")
set_seed(7)
import garage.torch
import torch
print(torch.rand(3).tolist())
"""

UNSEEDED = """
import torch
module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout())
torch.manual_seed(5)
torch.rand(2)
before = torch.get_rng_state()
import garage.torch.policies, garage.experiment
from garage.core.streams import Streams
from garage.core.types import EnvSpec
from gymnasium import spaces
spec = EnvSpec(spaces.Box(-1, 1, (2,)), spaces.Discrete(2))
garage.torch.policies.CategoricalMLPPolicy(spec)
garage.torch.policies.ModulePolicy(spec, module)
print(torch.equal(before, torch.get_rng_state()), torch.cuda.is_initialized())
"""


def test_pytorch_is_seeded_whenever_it_is_imported(tmp_path):
    TorchFramework().seed(Streams(7).world_seed("process", "torch"))
    expected = str(torch.rand(3).tolist())
    for order in ("late", "loaded"):
        assert run_script(tmp_path / "seeding.py", SEEDING, order).splitlines()[-1] == expected


def test_importing_and_constructing_change_no_seed_and_start_no_device(tmp_path):
    assert run_script(tmp_path / "unseeded.py", UNSEEDED).split() == ["True", "False"]


def test_a_device_of_the_environment_overrules(monkeypatch):
    monkeypatch.setenv("GARAGE_TORCH_DEVICE", "cpu")
    assert device_checked("cuda:7").type == "cpu"
    monkeypatch.setenv("GARAGE_TORCH_DEVICE", "tpu")
    with pytest.raises(ArgumentError, match=r"Cannot use device 'tpu'.*GARAGE_TORCH_DEVICE=cpu"):
        device_checked("cpu")


def test_without_pytorch_it_says_what_to_install(tmp_path):
    script = "import sys\nsys.modules['torch'] = None\nimport garage.torch.policies\n"
    said = run_script(tmp_path / "missing.py", script, code=1).splitlines()[-1]
    assert "DependencyError: garage.torch needs PyTorch" in said
    assert 'pip install "garage[torch]"' in said
