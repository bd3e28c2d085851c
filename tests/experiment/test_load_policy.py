import numpy as np
import pytest

import garage
from experiment.parts import trained as trained_here
from experiment.remembering import Remembering
from garage.algos import TRPO, Normalised
from garage.baselines import ZeroBaseline
from garage.envs import GymEnv
from garage.errors import NoSnapshotError, RecipeError
from garage.experiment import ExperimentContext, Trainer
from garage.experiment.deterministic import set_seed
from garage.np.policies import CategoricalMLPPolicy
from garage.process import get_seed, set_process_seed
from garage.storage.run_directory import RunDirectory
from garage.storage.store import SnapshotStore
from storage.counted_reads import CountedReads, stored_bytes
from storage.sample_runs import flip


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
    loaded = garage.load_policy(run)
    observations = np.random.default_rng(1).normal(size=(7, 4)).astype(np.float32)
    for ours, theirs in zip(
        loaded.act(observations, loaded.initial_memory(7), None)[::2],
        policy.act(observations, policy.initial_memory(7), None)[::2],
        strict=True,
    ):
        np.testing.assert_equal(ours, theirs)


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


def test_a_policy_whose_state_is_not_all_below_its_name_is_loaded_whole(tmp_path):
    before = get_seed()

    def normalised(**parts):
        return Normalised(TRPO(**parts))

    trainer = trained_here(tmp_path / "run", 2, kind=normalised)
    set_process_seed(before)
    policy, loaded = trainer.algo.policies()["policy"], garage.load_policy(tmp_path / "run")
    observations = np.random.default_rng(1).normal(size=(7, 4)).astype(np.float32)
    for ours, theirs in zip(
        loaded.act(observations, loaded.initial_memory(7), None)[::2],
        policy.act(observations, policy.initial_memory(7), None)[::2],
        strict=True,
    ):
        np.testing.assert_equal(ours, theirs)
