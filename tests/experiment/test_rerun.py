"""A run that is computed anew has the digests that it recorded; where it has not, the leaf is named."""

import contextlib
import importlib
import shutil
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from experiment.parts import Drawing, everything_below, kept, new_trainer, opaque, rows, tiny, trained
from experiment.remembering import Remembering
from garage.algos import PPO, TRPO
from garage.envs import GymEnv
from garage.errors import NoSnapshotError, NothingLeftError, RecipeError, UntrustedError
from garage.experiment import ExperimentContext, TFTrainer, Trainer
from garage.experiment.deterministic import set_seed
from garage.experiment.rerun import Compared, Parted, Plan, Request, rerun
from garage.process import set_process_seed
from garage.storage.fork import fork
from garage.storage.run_directory import RunDirectory
from garage.storage.signing_key import find_key
from garage.storage.store import SnapshotStore
from garage.storage.writer import rewind


class Nudged(TRPO):
    """Learns a little more at the end of an epoch, if a test changes its mind."""

    nudges_at: ClassVar[int | None] = None

    def epoch(self, collect, streams):
        metrics = super().epoch(collect, streams)
        if streams.path[-1] == Nudged.nudges_at:
            theta = self.policy.theta.copy()
            theta[5] += 0.25
            self.policy.theta = theta
        return metrics


@pytest.fixture(autouse=True)
def no_nudge():
    yield
    Nudged.nudges_at = None


def replayed(path, *args, **options):
    """What is said of each epoch, and of the first one that differs; the run is not touched, nor the process's seed."""
    before = everything_below(path) if Path(path).is_dir() else None
    plan, *said = rerun(Request(Path(path).absolute(), *args, **options))
    assert isinstance(plan, Plan)
    assert everything_below(path) == before
    set_process_seed(None)
    parted = said.pop() if isinstance(said[-1], Parted) else None
    assert [each.epoch for each in said] == list(range(plan.first, plan.first + len(said)))
    assert parted is not None or plan.last == said[-1].epoch
    return plan, said, parted


def assert_equal(path, *args, epochs, generators=(), **options):
    plan, said, parted = replayed(path, *args, **options)
    assert parted is None
    assert [each.epoch for each in said] == list(epochs)
    expected = [Compared(epoch=epoch, equal=True, metrics=[], generators=list(generators)) for epoch in epochs]
    assert said == expected
    return plan


def resume(path, which="last", seed=None, **args):
    trainer = Trainer()
    trainer.restore(path, which)
    if seed is not None:
        set_seed(seed)
    trainer.resume(**args)
    set_process_seed(None)
    return trainer.snapshot_dir


def train_in(port, path, n_epochs=3):
    policies = importlib.import_module(f"garage.{port}.policies")
    functions = importlib.import_module(f"garage.{port}.value_functions")
    context = ExperimentContext(str(path), snapshot_mode="all")
    with TFTrainer(context) if port == "tf" else contextlib.nullcontext(Trainer(context)) as trainer:
        set_seed(1)
        env = GymEnv("CartPole-v1")
        policy = policies.CategoricalMLPPolicy(env.spec, hidden_sizes=(4,))
        baseline = functions.MLPValueFunction(env.spec, hidden_sizes=(4,))
        trainer.setup(Nudged(env=env, policy=policy, baseline=baseline), env)
        trainer.train(n_epochs=n_epochs, batch_size=60)
    set_process_seed(None)


@pytest.mark.parametrize("port", ["np", "torch", "tf"])
def test_each_port_is_the_same_again_and_a_planted_change_is_named(port):
    train_in(port, "run")
    plan = assert_equal("run", epochs=range(3))
    assert (plan.begins, plan.notes) == ("recipe and seed 1", [])
    assert assert_equal("run", 0, epochs=[1, 2]).begins == "epoch 0"
    Nudged.nudges_at = 1
    _, said, parted = replayed("run")
    assert [each.equal for each in said] == [True, False]
    assert (parted.epoch, parted.seen_in, parted.n_leaves) == (1, 1, 1)
    assert parted.first.path == "algo/policy/theta"
    assert parted.first.component == "algo/policy"
    assert parted.first.n_unequal == 1
    assert parted.first.distance == pytest.approx(0.25)


@pytest.mark.parametrize(
    "context",
    [
        {},
        pytest.param({"snapshot_mode": "all"}, marks=pytest.mark.long),
        pytest.param({"snapshot_mode": "gap_overwrite", "snapshot_gap": 2}, marks=pytest.mark.long),
    ],
)
def test_stretches_with_other_arguments(context):
    trained("run", 2, context=context)
    resume("run", n_epochs=4, batch_size=130)
    resume("run", n_epochs=5, batch_size=90)
    n_rows = len(rows("run"))
    assert_equal("run", epochs=range(n_rows))
    oldest = kept("run")[0]
    assert_equal("run", "first", epochs=range(oldest + 1, n_rows))
    assert_equal("run", n_epochs=2, epochs=range(2))
    assert_equal("run", "first", 1, epochs=[oldest + 1])


def test_lanes_and_groups_that_were_asked_for():
    trained("run", 2, setup={"n_lanes": 2, "n_groups": 3})
    assert_equal("run", epochs=range(2))


def test_generators_of_the_process_and_what_was_drawn_from_them():
    trained("run", 3, kind=Drawing)
    assert_equal("run", epochs=range(3))


def test_a_replay_buffer():
    trained("run", 4, kind=Remembering)
    assert_equal("run", epochs=range(4))


def test_a_replay_buffer_of_other_content(monkeypatch):
    trained("run", 3, kind=Remembering)
    add = Remembering.epoch

    def rounded(self, collect, streams):
        return add(self, lambda policy: _rounded(collect(policy)), streams)

    monkeypatch.setattr(Remembering, "epoch", rounded)
    _, _, parted = replayed("run")
    assert (parted.epoch, parted.seen_in) == (0, 1)
    assert parted.first.path == "algo/buffer/transitions"
    assert 0 < parted.first.distance < 0.01
    assert parted.first.n_unequal > 0


def _rounded(batch):
    return type(batch)(**(vars(batch) | {"observations": np.round(batch.observations, 2)}))


def test_episodes_that_are_cut_by_the_end_of_an_epoch():
    trained("run", 4, kind=PPO, fragments=True, context={"snapshot_mode": "all"})
    assert_equal("run", epochs=range(4))
    assert_equal("run", 1, epochs=[2, 3])


def test_an_abandoned_epoch_does_not_count():
    trained("run", 4, context={"snapshot_mode": "all"})
    rewind(RunDirectory(Path("run")), 1)
    assert_equal("run", epochs=range(2))  # the rows after it are still there
    resume("run", n_epochs=3, batch_size=100)
    assert_equal("run", epochs=range(3))


def test_a_fork_with_another_seed_is_computed_through_its_parent():
    trained("run", 4, kind=Drawing, context={"snapshot_mode": "all"})
    child = resume("run", 1, seed=7, n_epochs=5, batch_size=90)
    resume("run", n_epochs=6, batch_size=150)  # what its parent did later is not the child's
    assert_equal(child, epochs=range(5))
    fork(Path("run"), 2, Path("forked"), key=find_key())
    resume("forked", n_epochs=5)
    assert_equal("forked", epochs=range(5))
    grandchild = resume(child, 3, seed=8, n_epochs=6)
    assert_equal(grandchild, epochs=range(6))


def test_a_fork_that_was_copied_with_its_parent():
    trained("here/run", 3, context={"snapshot_mode": "all"})
    resume("here/run", 1, seed=7, n_epochs=4)
    shutil.move("here", "there")
    assert_equal("there/run_1", epochs=range(4))


def test_a_fork_without_its_parent_begins_with_its_oldest_snapshot():
    trained("run", 3, context={"snapshot_mode": "all"})
    child = resume("run", 1, seed=7, n_epochs=4)
    shutil.rmtree("run")
    plan = assert_equal(child, epochs=[2, 3])
    assert "is not there: begun with its oldest snapshot." in plan.notes[0]


def test_objects_that_were_built_anew_with_other_arguments():
    trained("run", 3, context={"snapshot_mode": "all"})
    trainer = new_trainer("other", None, max_kl_step=0.05, context={"snapshot_mode": "all"})
    trainer.restore("run", 1)
    trainer.resume(n_epochs=4)
    assert RunDirectory(Path("other")).info().parent.epoch == 1
    assert_equal("other", epochs=range(4), generators=[])


def test_the_next_snapshot_says_which_leaf_if_that_of_the_epoch_is_not_kept():
    trained("run", 6, kind=Nudged, context={"snapshot_mode": "gap", "snapshot_gap": 3})
    Nudged.nudges_at = 1
    _, said, parted = replayed("run", n_epochs=3)
    assert [each.equal for each in said] == [True, False]
    assert (parted.epoch, parted.seen_in) == (1, 3)
    assert parted.first.component.startswith("algo/")
    Nudged.nudges_at = 5
    _, said, parted = replayed("run")
    assert [each.equal for each in said] == [True] * 5 + [False]
    assert parted == Parted(epoch=5, seen_in=None, n_leaves=0, first=None)


def test_a_leaf_that_was_not_there(monkeypatch):
    trained("run", 1)
    monkeypatch.setattr(TRPO, "state_dict", lambda self: {"policy": self.policy.state_dict(), "new": 1})
    monkeypatch.setattr(TRPO, "load_state_dict", lambda self, state: None)
    _, _, parted = replayed("run")
    assert parted.n_leaves > 1
    assert (parted.first.path.split("/")[1], parted.first.b) == ("baseline", None)


def test_what_was_pickled_whole_is_said_not_to_be_compared():
    trainer = Trainer(ExperimentContext("run"))
    set_seed(3)
    trainer.setup(*opaque())
    trainer.train(n_epochs=2, batch_size=60)
    set_process_seed(None)
    plan = assert_equal("run", epochs=range(2))
    assert plan.notes == ["`algo` was pickled whole, so no digest covers it: not compared."]
    assert_equal("run", 0, epochs=[1])


def test_metrics_and_generators_that_differ_are_named_and_change_no_verdict(monkeypatch):
    trained("run", 2, kind=Drawing)
    monkeypatch.setattr("random.gauss", lambda mean, deviation: 0.0)
    _, said, parted = replayed("run")
    assert parted is None
    assert said[1].equal
    assert said[1].metrics == ["Drawn/python", "Drawn/uniform"]
    assert said[1].generators == ["process/random"]


def test_other_versions_are_noted(monkeypatch):
    trained("run", 1)
    monkeypatch.setattr("garage.experiment.fingerprint._cpu", lambda: "another one")
    plan = assert_equal("run", epochs=[0])
    assert len(plan.notes) == 1
    assert "another one" in plan.notes[0]


def test_a_row_without_a_digest_is_said_to_be_unknown():
    trained("run", 2)
    path = RunDirectory(Path("run")).metrics_path
    path.write_bytes(path.read_bytes().split(b"\n", 1)[1])
    _, said, parted = replayed("run")
    assert [each.equal for each in said] == [None, True]
    assert parted is None


def test_what_cannot_be_replayed(monkeypatch):
    trained("run", 2)
    with pytest.raises(NothingLeftError, match="has recorded no epoch from 2 on"):
        replayed("run", "last")
    with pytest.raises(NoSnapshotError, match="There is no snapshot of epoch 9"):
        replayed("run", 9)
    with pytest.raises(NoSnapshotError, match="There is no run in"):
        replayed("nowhere")
    monkeypatch.setenv("GARAGE_SIGNING_KEY", "00" * 32)
    with pytest.raises(UntrustedError, match="garage trust"):
        replayed("run")
    assert_equal("run", trust=True, epochs=range(2))


def test_a_run_that_keeps_no_snapshot_or_no_recipe():
    trained("run", 2, context={"snapshot_mode": "none"})
    with pytest.raises(NoSnapshotError, match="keeps no snapshot, so nothing says by whom its recipe was written"):
        replayed("run")
    algo, env = tiny()
    algo.hidden = lambda: None
    trainer = Trainer(ExperimentContext("no_recipe"))
    set_seed(1)
    trainer.setup(algo, env)
    trainer.train(n_epochs=1, batch_size=60)
    set_process_seed(None)
    assert SnapshotStore(Path("no_recipe")).read().recipe is None
    with pytest.raises(RecipeError, match="This run has no recipe"):
        replayed("no_recipe")
