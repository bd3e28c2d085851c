"""Trainer.restore: it only reads, from a recipe or into one's own objects, and says what does not fit."""

import json
import logging
import random
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from experiment.parts import (
    Drawing,
    Fuse,
    Opaque,
    Trap,
    digests,
    everything_below,
    flip_a_bit,
    kept,
    messages,
    new_trainer,
    opaque,
    rows,
    tiny,
    trained,
)
from garage import load_policy
from garage.algos import TRPO
from garage.baselines import ZeroBaseline
from garage.envs import GymEnv
from garage.errors import (
    ArgumentError,
    DamagedError,
    FormatVersionError,
    MismatchError,
    NoSnapshotError,
    OrderError,
    RecipeError,
)
from garage.experiment import ExperimentContext, Trainer, progress, recipes
from garage.experiment.deterministic import set_seed
from garage.np.policies import CategoricalMLPPolicy, GaussianMLPPolicy
from garage.process import generators_state
from garage.storage import manifest as manifests
from garage.storage.run_directory import RunDirectory


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A run of five epochs with all its snapshots."""
    path = tmp_path_factory.mktemp("original") / "run"
    trained(path, 5, context={"snapshot_mode": "all"})
    return path


@pytest.fixture
def run(original):
    """A copy of it for one test."""
    shutil.copytree(original, "run")
    return Path("run")


def restored(path, which="last", **options):
    trainer = Trainer()
    if options:
        trainer.setup(*tiny(**options))
    trainer.restore(path, which)
    return trainer


def theta_of(trainer):
    return trainer.algo.policies()["policy"].theta


@pytest.mark.parametrize("own", [False, True], ids=["recipe", "own objects"])
def test_nothing_on_the_disk_changes(run, own):
    before = everything_below(".")
    for which in ("last", "first", "best", 2):
        restored(run, which, **({"hidden_sizes": (4,)} if own else {}))
    assert everything_below(".") == before


@pytest.mark.parametrize("own", [False, True], ids=["recipe", "own objects"])
def test_everything_comes_back(run, own):
    trainer = restored(run, 3, **({"hidden_sizes": (4,)} if own else {}))
    row = rows(run)[3]
    assert trainer.stats.total_epoch == 3
    assert trainer.stats.last_itr == 4
    assert trainer.total_env_steps == row["TotalEnvSteps"]
    assert isinstance(trainer.algo, TRPO)
    assert isinstance(trainer.env, GymEnv)
    assert theta_of(trainer).shape == (30,)
    np.testing.assert_array_equal(theta_of(trainer), theta_of(restored(run, 3)))


def test_the_arguments_of_training_come_back(run):
    args = Trainer().restore(run, 3)
    assert (args.n_epochs, args.batch_size, args.start_epoch) == (5, 60, 4)
    assert (args.plot, args.store_episodes, args.pause_for_plot) == (False, False, False)
    with pytest.raises(AttributeError):
        args.n_epochs = 7


def test_strings_and_paths_and_the_home_folder(run, monkeypatch):
    monkeypatch.setenv("HOME", str(run.parent.absolute()))
    assert Trainer().restore("~/run") == Trainer().restore(str(run)) == Trainer().restore(run)


def test_the_two_tables(run, capsys):
    restored(run)
    assert messages(capsys.readouterr().out) == [
        "Restore from snapshot saved in run",
        "-- Train Args --     -- Value --",
        "n_epochs             5",
        "last_epoch           4",
        "batch_size           60",
        "store_episodes       0",
        "pause_for_plot       0",
        "-- Stats --          -- Value --",
        "last_itr             5",
        f"total_env_steps      {rows(run)[-1]['TotalEnvSteps']}",
    ]


def test_first_last_best_and_by_number():
    trained("run", 12, context={"snapshot_mode": "gap", "snapshot_gap": 2})
    assert kept("run") == [0, 2, 4, 6, 8, 10]
    judged = {row["epoch"] - 1: row["Evaluation/AverageReturn"] for row in rows("run")}
    best = max((epoch for epoch in kept("run") if epoch in judged), key=lambda epoch: (judged[epoch], -epoch))
    expected = {"first": 0, "last": 10, "best": best, 6: 6}
    assert {which: restored("run", which).stats.total_epoch for which in expected} == expected


def test_the_last_is_so_by_number_and_not_by_text():
    trainer = trained("run", 1, context={"snapshot_mode": "all"})
    for epoch in (80, 120):
        trainer._progress.stats = type(trainer.stats)(epoch)
        trainer.save(epoch)
    assert restored("run").stats.total_epoch == 120
    assert restored("run", "first").stats.total_epoch == 0


@pytest.mark.parametrize("which", [17, -1, "newest", True, 2.0, None])
def test_an_epoch_that_is_not_there(run, which):
    with pytest.raises(NoSnapshotError, match=r"it has: 0, 1, 2, 3, 4\.|must be 'last', 'first', 'best' or an epoch"):
        restored(run, which)


def test_missing_and_empty_directories():
    Path("empty").mkdir()
    Path("file").write_text("")
    for name, said in (("nowhere", "no such directory"), ("file", "no such directory"), ("empty", "no snapshot in")):
        with pytest.raises(NoSnapshotError, match=said):
            Trainer().restore(name)
    assert sorted(path.name for path in Path().iterdir()) == ["empty", "file"]


def test_a_run_that_was_stopped_before_its_first_epoch_ended():
    Fuse.blows_at = 0
    with pytest.raises(EOFError):
        trained("run", 2, kind=Fuse)
    with pytest.raises(NoSnapshotError, match="stopped before its first epoch ended"):
        Trainer().restore("run")


@pytest.mark.parametrize("part", ["packs", "recipe"])
def test_half_copied(run, part):
    path = run / part
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(DamagedError, match=r"No snapshot of run verifies(.|\n)*`garage verify run`"):
        Trainer().restore(run)


@pytest.mark.parametrize("damage", [Path.unlink, flip_a_bit], ids=["missing", "damaged"])
def test_ones_own_objects_need_no_recipe(run, damage):
    damage(run / "recipe")
    trainer = restored(run, hidden_sizes=(4,))
    assert trainer.stats.total_epoch == 4
    trainer.resume(n_epochs=6)
    trained("undisturbed", 6)
    assert digests(run) == digests("undisturbed")


def test_half_copied_without_its_log_goes_on_all_the_same(run):
    trained("undisturbed", 6)
    (run / "metrics.jsonl").unlink()
    (run / "run.json").unlink()
    restored(run).resume(n_epochs=6)
    assert digests(run) == digests("undisturbed")[5:]
    assert RunDirectory(run).info().snapshot_mode == "last"  # what is not known is what is usual


def test_a_damaged_newest_snapshot_is_told_and_passed_over(run, capsys):
    trained("undisturbed", 6)
    flip_a_bit(run / "snapshots" / "000004.json")
    capsys.readouterr()
    trainer = restored(run)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "Passed over" in line]
    assert "Passed over a damaged snapshot, fell back to epoch 3" in line
    assert "000004.json is damaged" in line
    assert trainer.stats.total_epoch == 3
    trainer.resume(n_epochs=6)
    assert trainer.snapshot_dir == run
    assert digests(run) == digests("undisturbed")
    flip_a_bit(run / "snapshots" / "000005.json")
    with pytest.raises(DamagedError, match="verifies"):
        restored(run, 5)


def test_all_damaged(run):
    for path in (run / "snapshots").iterdir():
        flip_a_bit(path)
    before = everything_below(run)
    with pytest.raises(DamagedError, match=r"No snapshot of run verifies"):
        Trainer().restore(run)
    assert everything_below(run) == before


def test_another_version_of_the_format(run):
    path = run / "snapshots" / "000004.json"
    path.write_bytes(manifests.encode(msgspec.structs.replace(manifests.read(path), format=2)))
    with pytest.raises(FormatVersionError, match=r"format version 2; this garage reads version 1.*Use the garage"):
        Trainer().restore(run)


def test_after_setup_nothing_is_unpickled(monkeypatch):
    def trap(algo, env, surroundings):
        pickled = recipes.dump_opaque("trap", Trap())
        return json.dumps({"folder": ".", "modules": {}}).encode() + b"\n" + pickled

    with monkeypatch.context() as patched:
        patched.setattr(recipes, "make", trap)
        trained("run", 2)
    own = Trainer()
    own.setup(*tiny())
    Trap.n_sprung = 0
    own.restore("run")
    assert Trap.n_sprung == 0
    own.resume(n_epochs=3)
    assert Trap.n_sprung == 0
    Trainer().restore("run", 1)
    assert Trap.n_sprung == 1
    Trainer().restore("run")  # what one's own objects wrote has their recipe
    assert Trap.n_sprung == 1


def gaussian():
    env = GymEnv("Pendulum-v1")
    return TRPO(env=env, policy=GaussianMLPPolicy(env.spec, hidden_sizes=(4,)), baseline=ZeroBaseline(env.spec)), env


def of_float64():
    env = GymEnv("CartPole-v1")
    policy = CategoricalMLPPolicy(env.spec, hidden_sizes=(4,), dtype="float64")
    return TRPO(env=env, policy=policy, baseline=ZeroBaseline(env.spec)), env


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: tiny(hidden_sizes=(5,)), r"`policy/theta`.*shape \(30,\).*\(37,\).*built with hidden_sizes=\(5,\)"),
        (gaussian, r"`policy/theta`.*\(30,\).*\(22,\)"),
        (of_float64, r"`policy/theta`.*float32 of shape \(30,\).*float64 of shape"),
        (lambda: tiny(baseline=ZeroBaseline), r"afterwards `algo/baseline/coefficients` is missing.*same kinds"),
        (opaque, r"Cannot load `algo` into a Opaque: it has no load_state_dict"),
    ],
)
def test_what_does_not_fit_is_named(run, make, said):
    before = everything_below(run)
    trainer = Trainer()
    trainer.setup(*make())
    with pytest.raises(MismatchError, match=said):
        trainer.restore(run)
    with pytest.raises(OrderError, match=r"restore in the middle of loading.*call restore\(directory\)"):
        trainer.train(n_epochs=2, batch_size=60)
    assert everything_below(run) == before


def test_a_snapshot_without_a_baselines_state_does_not_fit_one_that_has(run):
    trained("other", 1, baseline=ZeroBaseline)
    trainer = Trainer()
    trainer.setup(*tiny())
    with pytest.raises(MismatchError, match=r"`coefficients` is missing"):
        trainer.restore("other")
    trainer.restore(run)  # it fits, and everything is loaded anew
    trainer.resume(n_epochs=6)
    trained("undisturbed", 6)
    assert digests(run) == digests("undisturbed")


def test_a_baseline_of_another_shape_names_both(run):
    env = GymEnv("CartPole-v1")
    baseline = recipes.load((run / "recipe").read_bytes())[0].baseline
    with pytest.raises(MismatchError, match=r"`LinearFeatureBaseline/coefficients`.*shape \(3,\).*has \(12,\)"):
        baseline.load_state_dict({"coefficients": np.zeros(3)})
    assert env.spec == baseline.spec


@pytest.mark.parametrize(("name", "saved"), [("n_lanes", 1), ("n_groups", 1)])
def test_lanes_and_groups_are_the_snapshots(run, name, saved):
    trainer = new_trainer(setup={name: 2})
    with pytest.raises(ArgumentError, match=rf"{name}=2, but the snapshot was made with {saved}.*Leave it out"):
        trainer.restore(run)
    new_trainer(setup={name: saved}).restore(run)


def test_lanes_asked_for_stay_where_the_snapshot_knows_of_none():
    new_trainer("run").save(0)
    trainer = new_trainer(setup={"n_lanes": 3, "n_groups": 2})
    trainer.restore("run")
    trainer.resume(n_epochs=2, batch_size=60)
    state = restored("run")._progress.run.collector.sampler_state()
    assert (state["n_lanes"], state["n_groups"]) == (3, 2)


def test_restoring_again_takes_everything_from_the_other_run(run):
    trained("other", 2, hidden_sizes=(6,), max_kl_step=0.5)
    trainer = restored(run)
    trainer.restore("other")
    assert trainer.algo.max_kl_step == 0.5
    assert theta_of(trainer).shape == (4 * 6 + 6 + 6 * 2 + 2,)
    trainer.restore(run, 1)
    assert trainer.algo.max_kl_step == 0.01
    assert trainer.stats.total_epoch == 1


def test_settings_are_those_of_ones_own_objects(run):
    trainer = Trainer()
    trainer.setup(*tiny(max_kl_step=0.5))
    trainer.restore(run)
    assert trainer.algo.max_kl_step == 0.5


def test_the_policy_alone(run):
    policy = load_policy(run, 3)
    np.testing.assert_array_equal(policy.theta, theta_of(restored(run, 3)))
    with pytest.raises(RecipeError, match="has no policy 'actor'; it has: policy"):
        load_policy(run, name="actor")
    set_seed(1)
    trainer = Trainer(ExperimentContext("opaque"))
    trainer.setup(*opaque())
    trainer.train(n_epochs=2, batch_size=60)
    np.testing.assert_array_equal(load_policy("opaque").theta, theta_of(trainer))


def test_a_policy_that_is_not_described_needs_a_recipe(monkeypatch):
    def refuse(algo, env, surroundings):
        msg = "not today"
        raise RecipeError(msg)

    monkeypatch.setattr(recipes, "make", refuse)
    trainer = trained("run", 1)
    np.testing.assert_array_equal(load_policy("run").theta, theta_of(trainer))
    set_seed(1)
    trainer = Trainer(ExperimentContext("opaque"))
    trainer.setup(*opaque())
    trainer.train(n_epochs=1, batch_size=60)
    with pytest.raises(RecipeError, match=r"no recipe \(not today\).*trainer\.setup"):
        load_policy("opaque")


def test_differences_of_the_fingerprint_are_said(run, monkeypatch, capsys):
    present = progress.fingerprint
    assert "may differ" not in capsys.readouterr().out
    monkeypatch.setattr(progress, "fingerprint", lambda: present() | {"numpy": "9.9", "new": 1})
    trainer = restored(run)
    said = [line for line in messages(capsys.readouterr().out) if "last bits" in line]
    start = "The numbers may differ from the original's in their last bits: "
    assert said == [f"{start}numpy: {np.__version__} when saved, 9.9 now; new: None when saved, 1 now"]
    assert trainer.resume(n_epochs=6) > 0


def test_the_number_of_threads_is_the_trainers(run, capsys):
    Trainer(n_threads=1).restore(run)
    assert "threads" not in capsys.readouterr().out
    Trainer(n_threads=2).restore(run)
    assert "threads: 1 when saved, 2 now" in capsys.readouterr().out


def test_episodes_are_kept_when_asked_for(capsys):
    trainer = trained("run", 3, store_episodes=True)
    batch = trainer.stats.last_episode
    assert batch.n_steps == rows("run")[2]["TotalEnvSteps"] - rows("run")[1]["TotalEnvSteps"]
    other = restored("run")
    assert "store_episodes       1" in messages(capsys.readouterr().out)
    again = other.stats.last_episode
    for name in ("observations", "actions", "rewards", "lengths", "last_observations", "ends", "memories"):
        np.testing.assert_array_equal(getattr(again, name), getattr(batch, name))
    np.testing.assert_array_equal(again.agent_infos["logits"], batch.agent_infos["logits"])
    other.resume(n_epochs=4)
    assert other.stats.last_episode.n_steps != batch.n_steps
    other.resume(n_epochs=5, store_episodes=False)
    assert other.stats.last_episode is None
    assert restored("run").stats.last_episode is None


def test_episodes_are_no_part_of_the_digest():
    trained("with", 2, store_episodes=True)
    trained("without", 2)
    assert digests("with") == digests("without")


def test_damaged_episodes_are_named_and_the_state_is_whole():
    trainer = trained("run", 2, store_episodes=True, batch_size=5000)
    manifest = manifests.read(Path("run", "snapshots", "000001.json"))
    state = {piece.chunk for leaf in manifest.leaves if "episodes/" not in leaf.path for piece in leaf.pieces}
    stored = {piece.chunk for leaf in manifest.leaves if "episodes/" in leaf.path for piece in leaf.pieces}
    chunk = manifest.chunks[min(stored - state)]
    path = RunDirectory(Path("run")).pack_path(chunk.pack)
    data = bytearray(path.read_bytes())
    data[chunk.offset + chunk.stored // 2] ^= 1
    path.write_bytes(data)
    other = restored("run")
    np.testing.assert_array_equal(theta_of(other), theta_of(trainer))
    with pytest.raises(DamagedError, match="episodes/"):
        _ = other.stats.last_episode
    with pytest.raises(DamagedError, match="episodes/"):
        other.save(1)
    other.resume(n_epochs=3)
    assert other.stats.last_episode.n_steps > 0


def test_the_processs_generators_are_put_back_last_and_nothing_is_drawn():
    trained("undisturbed", 5, kind=Drawing)
    trained("run", 3, kind=Drawing)
    after = json.dumps(generators_state(), default=lambda array: array.tolist())
    random.seed(99)
    np.random.seed(99)  # noqa: NPY002 - users' code may use it
    np.random.normal()  # noqa: NPY002 - leaves one cached
    for own in (False, True):
        trainer = Trainer()
        if own:
            trainer.setup(*tiny(kind=Drawing))
        trainer.restore("run")
        assert json.dumps(generators_state(), default=lambda array: array.tolist()) == after
    trainer.resume(n_epochs=5)
    drawn = [[row[key] for key in sorted(row) if key.startswith("Drawn/")] for row in rows("run")]
    assert drawn == [[row[key] for key in sorted(row) if key.startswith("Drawn/")] for row in rows("undisturbed")]
    assert len({tuple(row) for row in drawn}) == 5


def test_an_opaque_part_is_said_and_what_it_has_learned_is_in_it(caplog):
    trainer = Trainer(ExperimentContext("run"))
    with caplog.at_level(logging.WARNING):
        trainer.setup(*opaque())
    assert "has no state_dict(), so each snapshot holds it pickled whole" in caplog.text
    trainer.train(n_epochs=2, batch_size=60)
    manifest = manifests.read(Path("run", "snapshots", "000001.json"))
    assert [leaf.path for leaf in manifest.opaque] == ["algo"]
    np.testing.assert_array_equal(theta_of(restored("run")), theta_of(trainer))


class Socket(Opaque):
    """An opaque algorithm that cannot even be pickled."""

    def __getstate__(self):
        msg = "sockets stay"
        raise TypeError(msg)


def test_an_opaque_part_that_cannot_be_pickled_cannot_be_saved():
    algo, env = opaque()
    trainer = Trainer(ExperimentContext("run"))
    trainer.setup(Socket(algo.policy), env)
    with pytest.raises(RecipeError, match=r"Cannot save `algo`.*sockets stay.*Give it state_dict\(\) and load_state"):
        trainer.train(n_epochs=2, batch_size=60)


class Changed(Opaque):
    """Its code changes between saving and restoring."""

    def __setstate__(self, state):
        if Trap.n_sprung and state["n_epochs"]:
            msg = "another version"
            raise KeyError(msg)
        self.__dict__.update(state)


def test_an_opaque_part_whose_code_changed_says_so():
    Trap.n_sprung = 0
    algo, env = opaque()
    trainer = Trainer(ExperimentContext("run"))
    trainer.setup(Changed(algo.policy), env)
    trainer.train(n_epochs=1, batch_size=60)
    Trap.n_sprung = 1
    with pytest.raises(RecipeError, match=r"Cannot unpickle an opaque part: KeyError: 'another version'"):
        Trainer().restore("run")


class StatefulWorld(GymEnv):
    """A world with a state of its own, as one with running statistics."""

    def __init__(self, n=0):
        super().__init__("CartPole-v1")
        self.n = n

    def state_dict(self):
        return {"n": self.n}

    def load_state_dict(self, state):
        self.n = state["n"]


def test_a_worlds_own_state_comes_back():
    env = StatefulWorld()
    set_seed(1)
    trainer = Trainer(ExperimentContext("run"))
    algo, _ = tiny()
    trainer.setup(algo, env)
    env.n = 5
    trainer.train(n_epochs=1, batch_size=60)
    assert restored("run").env.n == 5
