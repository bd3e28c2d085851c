import os
import pathlib
import pickle
import shutil
import subprocess
import sys
import venv

import numpy as np
import pytest
from blake3 import blake3
from msgspec.structs import replace

import garage
from experiment.parts import trained as trained_here
from experiment.remembering import Remembering
from garage.algos import TRPO, Normalised
from garage.baselines import ZeroBaseline
from garage.envs import GymEnv
from garage.errors import DependencyError, NoSnapshotError, RecipeError
from garage.experiment import ExperimentContext, Trainer
from garage.experiment.deterministic import set_seed
from garage.np.policies import CategoricalMLPPolicy
from garage.process import get_seed, set_process_seed
from garage.storage import manifest as manifests
from garage.storage.run_directory import RunDirectory
from garage.storage.store import SnapshotStore
from storage.counted_reads import CountedReads, stored_bytes
from storage.sample_runs import flip


def rewritten(run, change):
    """Change all manifests of a run, which are then signed by nobody."""
    for path in RunDirectory(run).snapshots_path.glob("*.json"):
        path.write_bytes(manifests.encode(replace(change(manifests.read(path)), signature=None)))


@pytest.fixture
def trained(tmp_path):
    before = get_seed()
    set_seed(1)
    env = GymEnv("CartPole-v1")
    algo = TRPO(env=env, policy=CategoricalMLPPolicy(env.spec, hidden_sizes=(4,)), baseline=ZeroBaseline(env.spec))
    trainer = Trainer(ExperimentContext(str(tmp_path / "run"), snapshot_mode="all"))
    trainer.setup(algo, env)
    trainer.train(n_epochs=2, batch_size=60)
    set_process_seed(before)
    return tmp_path / "run", algo.policy


def test_the_policy_of_a_run_acts_as_the_trained_one_does(trained):
    run, policy = trained
    acts_alike(garage.load_policy(run), policy)


def test_the_epoch_can_be_chosen(trained):
    run, policy = trained
    assert (garage.load_policy(run, 0).theta != policy.theta).any()
    np.testing.assert_array_equal(garage.load_policy(run, "last").theta, policy.theta)


def test_what_is_not_there_is_named(trained):
    run, _ = trained
    with pytest.raises(NoSnapshotError, match="epoch 7"):
        garage.load_policy(run, 7)
    with pytest.raises(RecipeError, match="no policy 'critic'; it has: policy"):
        garage.load_policy(run, name="critic")


def test_of_a_run_with_a_replay_buffer_the_policy_alone_is_read(tmp_path, monkeypatch):
    before = get_seed()
    trainer = trained_here(tmp_path / "run", 2, batch_size=4000, kind=Remembering, capacity=20_000)
    set_process_seed(before)
    manifest = SnapshotStore(tmp_path / "run").read().manifest
    block = manifest.chunks[manifest.groups[0].blocks[1]]
    flip(RunDirectory(tmp_path / "run").pack_path(block.pack), block.offset)
    reads = CountedReads(monkeypatch)
    loaded = garage.load_policy(tmp_path / "run")
    np.testing.assert_array_equal(loaded.theta, trainer.algo.policy.theta)
    paths = [leaf.path for leaf in manifest.leaves if leaf.path.startswith("algo/policy")]
    assert reads.n_bytes == stored_bytes(manifest, *paths)


def normalised(**parts):
    return Normalised(TRPO(**parts))


def acts_alike(ours, theirs):
    observations = np.random.default_rng(1).normal(size=(7, 4)).astype(np.float32)
    noise = theirs.draw_noise(np.random.default_rng(2), 7)
    for given in (None, noise):
        actions = [policy.act(observations, policy.initial_memory(7), given)[::2] for policy in (ours, theirs)]
        np.testing.assert_equal(*actions)


@pytest.mark.parametrize("is_described", [True, False], ids=["described", "by the recipe"])
def test_a_policy_that_normalises_acts_by_the_runs_statistics(tmp_path, is_described):
    trainer = trained_here(tmp_path / "run", 2, kind=normalised)
    if not is_described:
        rewritten(tmp_path / "run", lambda manifest: replace(manifest, policies={}))
    acts_alike(garage.load_policy(tmp_path / "run", trust=True), trainer.algo.policies()["policy"])


def test_a_damaged_snapshot_is_passed_over_and_that_is_said(trained, capsys):
    run, _ = trained
    theta = garage.load_policy(run, 0).theta
    manifest = SnapshotStore(run).read("last").manifest
    leaf = next(leaf for leaf in manifest.leaves if leaf.path == "algo/policy/theta")
    chunk = manifest.chunks[leaf.pieces[0].chunk]
    flip(RunDirectory(run).pack_path(chunk.pack), chunk.offset)
    np.testing.assert_array_equal(garage.load_policy(run).theta, theta)
    assert "Passed over a damaged snapshot, fell back to epoch 0" in capsys.readouterr().out


BARE = """
import importlib.abc
import sys

import numpy as np

FORBIDDEN = {"torch", "tensorflow", "ray", "mujoco", "ale_py", "Box2D", "pygame", "cv2", "pandas", "islands"}


class Bare(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] in FORBIDDEN:
            raise ModuleNotFoundError(fullname)


def refuse(event, args):
    if event == "pickle.find_class":
        raise RuntimeError(f"unpickled {args}")


sys.meta_path.insert(0, Bare())
sys.addaudithook(refuse)

import garage

policy = garage.load_policy("run")
observations = np.random.default_rng(1).normal(size=(7, 2)).astype(np.float32)
actions, _, _ = policy.act(observations, policy.initial_memory(7), None)
np.save("actions.npy", actions)
"""
"""Where nothing but garage's base can be imported, and nothing be unpickled."""

FIRST = """
import numpy as np
from islands import Islands

from garage.algos import TRPO, Normalised
from garage.baselines import ZeroBaseline
from garage.envs import GymEnv
from garage.experiment import ExperimentContext, Trainer
from garage.torch.policies import GaussianMLPPolicy

env = GymEnv(Islands)
policy = GaussianMLPPolicy(env.spec, hidden_sizes=(4,), dtype="float64")
algo = Normalised(TRPO(env=env, policy=policy, baseline=ZeroBaseline(env.spec)))
trainer = Trainer(ExperimentContext("run"))
trainer.setup(algo, env)
trainer.train(n_epochs=2, batch_size=60)
observations = np.random.default_rng(1).normal(size=(7, 2)).astype(np.float32)
policy = algo.policies()["policy"]
np.save("expected.npy", policy.act(observations, policy.initial_memory(7), None)[0])
"""

ISLANDS = """
import gymnasium
import numpy as np
from gymnasium import spaces


class Islands(gymnasium.Env):
    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = spaces.Box(-1, 1, (3,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed, options=options)
        self.age = 0
        return self.np_random.normal(size=2).astype(np.float32), {}

    def step(self, action):
        self.age += 1
        return self.np_random.normal(size=2).astype(np.float32), 1.0, self.age == 7, False, {}
"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """The run of a PyTorch policy in a world of which nothing is left, and a recipe that makes a file if unpickled."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for name, text in (("islands.py", ISLANDS), ("first.py", FIRST), ("bare.py", BARE)):
        (folder / name).write_text(text)
    subprocess.run([sys.executable, "first.py"], cwd=folder, check=True, capture_output=True)
    (folder / "islands.py").unlink()
    header = (folder / "run" / "recipe").read_bytes().partition(b"\n")[0]
    recipe = header + b"\n" + pickle.dumps(Touches(str(folder / "sprung")))
    (folder / "run" / "recipe").write_bytes(recipe)
    rewritten(folder / "run", lambda manifest: replace(manifest, recipe=blake3(recipe).hexdigest()))
    return folder


class Touches:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_it_needs_neither_framework_nor_world_and_unpickles_nothing(elsewhere):
    said = subprocess.run([sys.executable, "-W", "error", "bare.py"], cwd=elsewhere, check=False, capture_output=True)
    assert said.returncode == 0, said.stderr
    np.testing.assert_array_equal(np.load(elsewhere / "actions.npy"), np.load(elsewhere / "expected.npy"))
    assert not (elsewhere / "sprung").exists()


def test_the_trap_would_have_gone_off(elsewhere, tmp_path):
    run = shutil.copytree(elsewhere / "run", tmp_path / "run")
    rewritten(run, lambda manifest: replace(manifest, policies={}))
    with pytest.raises(RecipeError):
        garage.load_policy(run, trust=True)
    assert (elsewhere / "sprung").exists()
    (elsewhere / "sprung").rmdir()


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_it_works_where_garage_alone_is_installed(elsewhere, tmp_path):
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    root = pathlib.Path(__file__).parents[2]
    subprocess.run([python, "-m", "pip", "install", "--quiet", str(root)], check=True)
    listed = subprocess.run([python, "-m", "pip", "list"], check=True, capture_output=True, text=True).stdout
    assert "torch" not in listed
    subprocess.run([python, "-W", "error", "bare.py"], cwd=elsewhere, check=True)
    np.testing.assert_allclose(np.load(elsewhere / "actions.npy"), np.load(elsewhere / "expected.npy"))


def test_a_framework_that_is_not_installed_is_named_with_its_extra(trained, monkeypatch):
    run, _ = trained
    kinds = {"policies": {"policy": "garage.torch.policies.ModulePolicy"}}
    rewritten(run, lambda manifest: replace(manifest, policies={}, fingerprint={**manifest.fingerprint, **kinds}))
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(DependencyError, match=r'ModulePolicy, which needs PyTorch.*pip install "garage\[torch\]"'):
        garage.load_policy(run)
