"""What decides over last bits, and what a run was started with."""

import json
import platform
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import threadpoolctl

from experiment.parts import Scripted, trained
from garage.envs import GymEnv
from garage.experiment import Trainer
from garage.experiment import fingerprint as module
from garage.experiment.fingerprint import differences, fingerprint, installed_packages, provenance
from garage.kernels import library


def test_versions_cpu_and_threads():
    found = fingerprint()
    assert found["python"] == platform.python_version()
    assert found["numpy"] == np.__version__
    assert found["garage"] == metadata.version("garage")
    assert found["cpu"]
    assert found["blas"]
    assert json.loads(json.dumps(found)) == found
    for n_threads in (1, 2):
        with threadpoolctl.threadpool_limits(limits=n_threads):
            assert fingerprint()["threads"] == n_threads


def test_a_run_keeps_both():
    trained("run", 1)
    found = json.loads(Path("run/provenance.json").read_text())
    assert found["command"] == sys.argv
    assert found["folder"] == str(Path.cwd())
    assert any(package.startswith("numpy==") for package in found["packages"])
    assert found["fingerprint"]["threads"] == 1
    assert set(found) == set(provenance(GymEnv("CartPole-v1"), {}))
    assert found["git"] is None
    assert found["environment"]["description"].startswith("<GymEnv: CartPole-v1")
    assert found["environment"]["max_episode_length"] == 500
    assert found["environment"]["action_space"] == "Discrete(2)"
    manifest = json.loads(Path("run/snapshots/000000.json").read_text())
    policies = {"policy": "garage.np.policies.CategoricalMLPPolicy"}
    objects = {key: manifest["fingerprint"].pop(key) for key in ("settings", "code")}
    assert manifest["fingerprint"] == found["fingerprint"] | {"policies": policies}
    assert objects["settings"]["algo.discount"] == "0.99"
    assert objects["settings"]["algo.policy.hidden_sizes"] == "(4)"
    assert list(objects["code"].values()) == [{}]


def test_packages_are_those_that_are_installed(tmp_path, monkeypatch):
    before = installed_packages()
    assert before == sorted({f"{one.name}=={one.version}" for one in metadata.distributions()}, key=str.lower)
    for folder, text in {
        "mine-2.dist-info/METADATA": "Metadata-Version: 2.1\r\nName: mine\r\nVersion: 2\r\n\r\nName: trap\r\n",
        "old-1.egg-info/PKG-INFO": "Description: What\n Name: trap\nname: Old\nversion:1\n",
        "nameless-1.dist-info/METADATA": "Version: 1\n\nName: trap\n",
        "empty-1.dist-info/RECORD": "",
    }.items():
        (tmp_path / folder).parent.mkdir()
        (tmp_path / folder).write_text(text, encoding="utf-8", newline="")
    monkeypatch.syspath_prepend(tmp_path)
    assert set(installed_packages()) == {*before, "mine==2", "Old==1"}


def test_a_resumed_run_keeps_what_it_was_started_with():
    trained("run", 1)
    first = json.loads(Path("run/provenance.json").read_text())
    for n_epochs in (2, 3):
        trainer = Trainer()
        trainer.restore("run")
        trainer.resume(n_epochs=n_epochs)
    found = json.loads(Path("run/provenance.json").read_text())
    assert found["earlier"][0]["written_at"] == first["written_at"]
    assert len(found["earlier"]) == 2
    assert found["earlier"][0]["fingerprint"] == first["fingerprint"]
    assert found["earlier"][0]["host"] == first["host"]


def test_of_very_many_earlier_ones_the_first_and_the_newest_are_kept():
    before = {"written_at": 1000, "earlier": list(range(1000))}
    earlier = provenance(GymEnv("CartPole-v1"), before)["earlier"]
    assert (len(earlier), earlier[0], earlier[-2], earlier[-1]["written_at"]) == (100, 0, 999, 1000)


def test_the_level_of_the_compiled_part_is_told():
    assert provenance(GymEnv("CartPole-v1"), {})["kernels"] == library.level()


def test_variables_are_those_that_libraries_read(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("MY_SECRET_TOKEN", "hush")
    found = provenance(GymEnv("CartPole-v1"), {})
    assert found["variables"]["OMP_NUM_THREADS"] == "3"
    assert "hush" not in json.dumps(found["variables"])


def test_a_world_of_ones_own_is_described_alike_in_every_process():
    first, second = (provenance(Scripted(lambda generator: 3), {})["environment"] for _ in range(2))
    assert first == second
    assert first["type"] == "experiment.parts.Scripted"
    assert "0x" not in first["description"]


def test_differences_are_said_one_by_one():
    assert differences({"a": 1, "b": [2]}, {"a": 1, "b": [2]}) == []
    assert differences({"a": 1, "b": 2}, {"a": 2, "c": 3}) == [
        "a: 1 when saved, 2 now",
        "b: 2 when saved, None now",
        "c: None when saved, 3 now",
    ]
    with_framework = {"a": 1, "frame": {"version": 1, "threads": 1}}
    assert differences(with_framework, {"a": 1, "frame": {"version": 1, "threads": 2}}) == [
        "frame.threads: 1 when saved, 2 now"
    ]
    assert differences(with_framework, {"a": 1}) == differences({"a": 1}, with_framework) == []


def test_what_a_system_does_not_say(monkeypatch):
    def missing(package):
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "version", missing)
    monkeypatch.setattr(module, "_version", module._version.__wrapped__)  # which remembers nothing
    monkeypatch.setattr(Path, "is_file", lambda self: False)
    monkeypatch.setattr(np, "show_config", lambda mode: None)
    found = module.fingerprint()
    assert found["garage"] is None
    assert found["cpu"] == (platform.processor() or platform.machine())
    assert module.provenance(GymEnv("CartPole-v1"), {})["numpy_simd"] == []
    monkeypatch.setattr(Path, "is_file", lambda self: True)
    monkeypatch.setattr(Path, "read_text", lambda self: "processor: 1\n")
    assert module.fingerprint()["cpu"] == found["cpu"]
