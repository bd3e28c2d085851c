"""Trainer: the order of its calls, their arguments, what it says of itself."""

import logging
import random
import re
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest

from experiment.parts import (
    Fuse,
    Opaque,
    Reporting,
    Walk,
    WithArgument,
    digests,
    events,
    everything_below,
    kept,
    messages,
    new_trainer,
    opaque,
    rows,
    tiny,
    trained,
)
from garage.algos import TRPO
from garage.baselines import ZeroBaseline
from garage.envs import GymEnv
from garage.errors import (
    ArgumentError,
    MismatchError,
    NonFiniteError,
    NothingLeftError,
    OrderError,
    RecipeError,
    UnknownWorldError,
    WorldRaisedError,
    WriteError,
)
from garage.experiment import ExperimentContext, Trainer
from garage.experiment.arguments import TrainArgs
from garage.experiment.deterministic import set_seed
from garage.np.policies import CategoricalMLPPolicy
from garage.storage.disk import Disk
from garage.storage.store import SnapshotStore


@pytest.mark.parametrize(
    "call",
    [lambda t: t.train(2, 60), lambda t: t.save(0), lambda t: t.algo, lambda t: t.env],
    ids=["train", "save", "algo", "env"],
)
def test_setup_comes_first(call):
    with pytest.raises(OrderError, match=r"call trainer\.setup\(algo, env\) or trainer\.restore"):
        call(Trainer())


def test_resume_needs_something_to_go_on_from():
    for trainer in (Trainer(), new_trainer("run")):
        with pytest.raises(OrderError, match=r"call restore\(directory\) or train\(\.\.\.\) first"):
            trainer.resume(n_epochs=3)


def test_train_is_called_once():
    trainer = trained("run", 1)
    restored = Trainer()
    restored.restore("run")
    for done in (trainer, restored):
        with pytest.raises(OrderError, match=r"To go on, call resume\(n_epochs"):
            done.train(n_epochs=2, batch_size=60)


def test_setup_comes_before_training_and_restoring():
    trainer = trained("run", 1)
    restored = Trainer()
    restored.restore("run")
    for done in (trainer, restored):
        with pytest.raises(OrderError, match=r"Use a new Trainer"):
            done.setup(*tiny())
        assert done.resume(n_epochs=done.stats.last_itr + 1) > 0


def test_setup_again_before_training_replaces_the_first(capsys):
    trainer = new_trainer("run")
    algo, env = tiny(hidden_sizes=(5,))
    trainer.setup(algo, env)
    assert trainer.algo is algo
    assert trainer.env is env
    trainer.setup(algo, env)
    assert "The policy `policy` has parameters already; they are kept" in capsys.readouterr().out


def test_what_it_says_is_read_only():
    trainer = trained("run", 2)
    for owner, names in (
        (trainer, ("algo", "env", "stats", "total_env_steps", "snapshot_dir")),
        (trainer.stats, ("total_epoch", "last_itr", "total_env_steps", "elapsed_seconds", "last_episode")),
    ):
        for name in names:
            with pytest.raises(AttributeError):
                setattr(owner, name, 3)
    assert trainer.stats.total_epoch == 1
    assert trainer.stats.last_itr == 2
    assert trainer.stats.total_env_steps == trainer.total_env_steps == rows("run")[-1]["TotalEnvSteps"]
    assert trainer.snapshot_dir == Path("run")


def test_before_training_there_is_nothing():
    trainer = Trainer()
    assert (trainer.stats.total_epoch, trainer.stats.last_itr, trainer.total_env_steps) == (-1, 0, 0)
    assert trainer.stats.last_episode is None
    assert trainer.snapshot_dir is None
    assert Trainer(ExperimentContext("somewhere")).snapshot_dir == Path("somewhere")
    assert not Path("somewhere").exists()


def test_train_returns_the_mean_return_of_its_last_epoch():
    trainer = new_trainer("run")
    assert trainer.train(n_epochs=2, batch_size=60) == rows("run")[1]["Evaluation/AverageReturn"]
    assert trainer.resume(n_epochs=3) == rows("run")[2]["Evaluation/AverageReturn"]


@pytest.mark.parametrize("name", ["n_epochs", "batch_size"])
@pytest.mark.parametrize("value", [0, -1, True, 2.0, "3"])
def test_sizes_are_integers_of_at_least_one(name, value):
    trainer = new_trainer("run")
    with pytest.raises(ArgumentError, match=rf"^Trainer's {name} must be an integer of at least 1, got {value!r}"):
        trainer.train(**({"n_epochs": 2, "batch_size": 60} | {name: value}))
    assert not Path("run").exists()
    trainer.train(n_epochs=1, batch_size=60)
    before = everything_below("run")
    with pytest.raises(ArgumentError, match=rf"^Trainer's {name} must be an integer of at least 1, got {value!r}"):
        trainer.resume(**({"n_epochs": 2} | {name: value}))
    assert everything_below("run") == before


def test_numbers_of_numpy_are_numbers():
    context = {"snapshot_mode": "gap", "snapshot_gap": np.int64(2), "snapshot_seconds": np.float32(1e-6)}
    setup = {"n_lanes": np.int8(1), "n_groups": np.int64(1)}
    set_seed(np.int64(1))
    trainer = Trainer(
        ExperimentContext("run", **context), n_threads=np.int64(1), eval_every=np.int32(2), eval_episodes=np.uint8(1)
    )
    trainer.setup(*tiny(), **setup)
    trainer.train(np.int64(3), np.int64(60))
    trainer.save(np.int64(2))
    assert kept("run") == [0, 2]
    args = Trainer().restore("run", np.argmax([1, 0]))
    assert args == TrainArgs(3, 60, start_epoch=1, eval_every=2, eval_episodes=1)
    assert all(isinstance(value, int) for value in vars(args).values())
    with pytest.raises(ArgumentError, match=r"batch_size must be an integer of at least 1, got 60\.0"):
        trainer.resume(4, np.float64(60))


@pytest.mark.parametrize("config", ["run", Path("run"), SimpleNamespace(snapshot_dir="run"), dict])
def test_a_context_that_is_none(config):
    with pytest.raises(ArgumentError, match=r"snapshot_config must be the ctxt of.*got .*Trainer\(ExperimentContext\("):
        Trainer(config)


def test_an_algorithm_and_an_environment_are_told_apart():
    algo, env = tiny()
    theirs = gymnasium.make("CartPole-v1")
    for given in ((env, algo), (env, env), (algo, algo), (algo, "CartPole-v1"), (env, theirs), (algo, theirs)):
        with pytest.raises(ArgumentError, match=r"setup\(algo, env\); got|Wrap it: env = GymEnv"):
            Trainer().setup(*given)
    with pytest.raises(ArgumentError, match=r"got gymnasium's .*CartPole.* Wrap it: env = GymEnv\("):
        TRPO(env=theirs, policy=algo.policy, baseline=algo.baseline)
    with pytest.raises(ArgumentError, match=r"LinearFeatureBaseline\(env_spec=env.spec\), got None.*ZeroBaseline"):
        Trainer().setup(TRPO(env=env, policy=algo.policy, baseline=None), env)


def test_a_pause_without_a_plot_is_refused():
    trainer = new_trainer("run")
    with pytest.raises(ArgumentError, match="pause_for_plot=True would be ignored without plot=True"):
        trainer.train(2, 60, pause_for_plot=True)
    trainer.train(1, 60, plot=False, pause_for_plot=False)
    with pytest.raises(ArgumentError, match="pause_for_plot=True would be ignored without plot=True"):
        trainer.resume(2, pause_for_plot=True)


@pytest.mark.parametrize("name", ["plot", "store_episodes", "pause_for_plot"])
@pytest.mark.parametrize("value", [None, 0, "yes"])
def test_flags_are_true_or_false(name, value):
    trainer = new_trainer("run")
    with pytest.raises(ArgumentError, match=f"{name} must be True or False, got {value!r}"):
        trainer.train(2, 60, **{name: value})


@pytest.mark.parametrize("value", [0, -1, True, 1.0])
def test_threads_lanes_and_groups_are_positive_integers(value):
    with pytest.raises(ArgumentError, match="n_threads must be an integer of at least 1"):
        Trainer(n_threads=value)
    for name in ("n_lanes", "n_groups"):
        with pytest.raises(ArgumentError, match=f"{name} must be an integer of at least 1"):
            new_trainer("run", setup={name: value})


def test_a_lone_instance_has_one_lane():
    instance = Walk()
    world = GymEnv(instance)
    with pytest.raises(ArgumentError, match=r"n_lanes=2, but .* cannot be copied, so it has one lane"):
        new_trainer("run", world=world, setup={"n_lanes": 2})
    trainer = new_trainer("run", world=world, setup={"n_lanes": 1})
    trainer.train(2, 60)
    assert SnapshotStore(Path("run")).read().state["sampler"]["n_lanes"] == 1


def test_an_unknown_world_is_named():
    with pytest.raises(UnknownWorldError, match=r"CartPoel-v1.*Did you mean 'CartPole-v1'"):
        tiny("CartPoel-v1")


def test_a_policy_must_fit_the_environment():
    cartpole, lake = GymEnv("CartPole-v1"), GymEnv("FrozenLake-v1")
    policy = CategoricalMLPPolicy(cartpole.spec, hidden_sizes=(4,))
    with pytest.raises(MismatchError, match=r"`policy` does not fit .*FrozenLake.*env_spec=env\.spec"):
        TRPO(env=lake, policy=policy, baseline=ZeroBaseline(cartpole.spec))
    algo = TRPO(env=cartpole, policy=policy, baseline=ZeroBaseline(cartpole.spec))
    trainer = Trainer()
    with pytest.raises(MismatchError, match=r"`policy` does not fit .*FrozenLake"):
        trainer.setup(algo, lake)
    with pytest.raises(OrderError, match="setup"):
        trainer.train(1, 60)


def test_setup_itself_writes_nothing_and_a_constructor_neither():
    new_trainer()
    assert list(Path().iterdir()) == []


def test_metrics_that_are_nan_or_numbers_of_numpy_survive():
    Reporting.extra = {"NaN": float("nan"), "Infinite": -np.inf, "Scalar": np.float32(0.5), "Array": np.array([3])}
    trained("run", 2, kind=Reporting)
    recorded = rows("run")[-1]
    assert [recorded[name] for name in ("NaN", "Infinite", "Scalar", "Array")] == ["NaN", "-Infinity", 0.5, 3]
    trainer = Trainer()
    trainer.restore("run")
    trainer.save(1)
    trainer.resume(n_epochs=3)
    assert rows("run")[1] == recorded
    assert rows("run")[2]["NaN"] == "NaN"
    assert SnapshotStore(Path("run")).verify() == []


@pytest.mark.parametrize(
    ("key", "value"),
    [("x", "0.5"), ("x", True), ("x", np.bool_(1)), ("x", None), ("x", np.zeros(2)), ("x", 1j), (3, 1)],
)
def test_metrics_that_are_no_numbers_are_refused(key, value):
    Reporting.extra = {key: value}
    with pytest.raises(ArgumentError, match=re.escape(f"The metric {key!r} is")):
        trained("run", 2, kind=Reporting)
    assert kept("run") == []
    assert rows("run") == []


@pytest.mark.parametrize("name", ["epoch", "digest"])
def test_a_metric_does_not_take_the_place_of_what_a_row_is(name):
    Reporting.extra = {name: 0}
    with pytest.raises(ArgumentError, match=rf"a metric named '{name}', which each row.*such as 'policy/{name}'"):
        trained("run", 2, kind=Reporting)
    assert rows("run") == []


@pytest.mark.parametrize("error", [EOFError, KeyboardInterrupt, SystemExit])
def test_after_an_interrupted_epoch_only_restore_goes_on(error):
    trained("undisturbed", 4, kind=Fuse)
    Fuse.blows_at, Fuse.error = 2, error
    trainer = new_trainer("run", kind=Fuse)
    with pytest.raises(error):
        trainer.train(n_epochs=4, batch_size=60)
    assert events("run")[-1] == "failed"
    for call in (lambda: trainer.resume(n_epochs=4), lambda: trainer.save(1)):
        with pytest.raises(OrderError, match=r"interrupted in the middle of an epoch.*call restore\(directory\), then"):
            call()
    Fuse.blows_at = None
    args = trainer.restore("run")
    assert args.start_epoch == 2
    trainer.resume()
    assert digests("run") == digests("undisturbed")
    assert events("run")[-1] == "finished"


def test_a_failed_training_is_on_record():
    Fuse.blows_at = 1
    with pytest.raises(EOFError, match="blown"):
        trained("run", 3, kind=Fuse)
    *_, failed = SnapshotStore(Path("run")).directory.events()
    assert failed["error"] == "EOFError('blown')"
    assert "in epoch" in failed["traceback"]


@pytest.mark.parametrize("misbehaves", ["raises", "observation", "reward"])
def test_a_world_that_misbehaves_in_mid_batch_costs_that_batch_only(misbehaves):
    trained("undisturbed", 3, world=Walk)
    steps = [row["TotalEnvSteps"] for row in rows("undisturbed")]

    class Breaking(Exception):  # noqa: N818 - never raised
        pass

    trainer = new_trainer("run", world=Walk)
    trainer.train(n_epochs=1, batch_size=60)
    Walk.misbehaves, Walk.steps_left = misbehaves, steps[1] - steps[0] + 20
    expected = WorldRaisedError if misbehaves == "raises" else NonFiniteError
    with pytest.raises(expected, match=r"seed.*every snapshot is intact") as caught:
        trainer.resume(n_epochs=3)
    if misbehaves == "raises":
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
    Walk.misbehaves = ""
    assert kept("run") == [0, 1]
    assert SnapshotStore(Path("run")).verify() == []
    other = Trainer()
    other.restore("run")
    other.resume()
    assert digests("run") == digests("undisturbed")


def test_a_refused_write_at_the_start_leaves_no_lock(monkeypatch):
    trainer = new_trainer("run")
    original = Disk.write_whole

    def refuse(self, path, parts):
        if path.name == "provenance.json":
            msg = "the disk is full"
            raise WriteError(msg)
        original(self, path, parts)

    with monkeypatch.context() as patched:
        patched.setattr(Disk, "write_whole", refuse)
        with pytest.raises(WriteError):
            trainer.train(n_epochs=2, batch_size=60)
    assert not Path("run", "lock").exists()
    other = new_trainer("run")
    other.train(n_epochs=2, batch_size=60)
    assert kept("run") == [0, 1]


def test_a_refused_write_in_training_stops_it_and_loses_nothing(monkeypatch):
    trained("undisturbed", 3)
    trainer = new_trainer("run")
    trainer.train(n_epochs=2, batch_size=60)

    def refuse(self, file, data):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Disk, "write", refuse)
        with pytest.raises(WriteError, match="No space left on device"):
            trainer.resume(n_epochs=3)
    other = Trainer()
    other.restore("run")
    other.resume(n_epochs=3)
    assert digests("run") == digests("undisturbed")


class Drawer:
    """Cannot be pickled."""

    def __reduce__(self):
        msg = "it holds a socket"
        raise TypeError(msg)


def test_what_cannot_be_pickled_is_said_and_trained_all_the_same(caplog, capsys):
    def setup_of(seed):
        trainer = new_trainer("run", seed, kind=WithArgument, argument=Drawer())
        assert "This experiment has no recipe: cannot pickle it: TypeError: it holds a socket" in caplog.text
        return trainer

    with caplog.at_level(logging.WARNING):
        trainer = setup_of(1)
    trainer.train(n_epochs=2, batch_size=60)
    manifest = SnapshotStore(Path("run")).read().manifest
    assert manifest.recipe is None
    assert "it holds a socket" in manifest.recipe_problem
    assert not Path("run", "recipe").exists()
    with pytest.raises(RecipeError, match=r"no recipe \(cannot pickle.*a socket.*call trainer\.setup\(algo, env\)"):
        Trainer().restore("run")
    other = setup_of(1)
    other.restore("run")
    other.resume(n_epochs=3)
    trained("undisturbed", 3)
    assert digests("run") == digests("undisturbed")


def changed_argument():
    algo, env = tiny()
    algo.max_kl_step = 0.5
    return algo, env


def hidden_attribute():
    algo, env = tiny()
    algo.baseline.secret = [1, {"x": (2,)}]
    return algo, env


def exchanged_part():
    algo, env = tiny()
    algo.policy = CategoricalMLPPolicy(env.spec, hidden_sizes=(5,))
    return algo, env


def changed_array():
    algo, env = tiny(kind=WithArgument, argument=np.zeros(3))
    algo.argument = np.ones(3)
    return algo, env


def changed_object():
    algo, env = tiny(kind=WithArgument, argument=Opaque(None))
    algo.argument = {1, 2}
    return algo, env


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (changed_argument, "`algo.max_kl_step` is 0.01 instead of 0.5"),
        (hidden_attribute, "`algo.baseline.secret[0]` is missing instead of 1"),
        (hidden_attribute, "`algo.baseline.secret[1]['x'][0]` is missing instead of 2"),
        (exchanged_part, "policy/theta"),
        (changed_array, "`algo.argument` is float64[3] "),
        (changed_object, "`algo.argument` is a Opaque instead of a set"),
    ],
)
def test_what_the_constructors_do_not_know_of_is_named_at_setup(make, named, caplog):
    set_seed(1)
    trainer = Trainer(ExperimentContext("run"))
    with caplog.at_level(logging.WARNING):
        trainer.setup(*make())
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert named in warning
    assert "Training goes on" in warning
    trainer.train(n_epochs=1, batch_size=60)
    with pytest.raises(RecipeError, match="no recipe"):
        Trainer().restore("run")


class Moody(Walk):
    """Another time limit in every environment made of it."""


class Fickle(GymEnv):
    """A world that comes back with another spec."""

    n_made = 0

    def __init__(self):
        Fickle.n_made += 1
        super().__init__(Moody, max_episode_length=5 + Fickle.n_made)


def test_a_world_that_is_rebuilt_as_another_is_named_at_setup(caplog):
    set_seed(1)
    with caplog.at_level(logging.WARNING):
        Trainer().setup(*tiny(Fickle()))
    assert "`env.spec` is EnvSpec(" in caplog.text
    assert "max_episode_length=7" in caplog.text


def test_a_run_without_a_seed_draws_one_says_it_and_can_be_repeated(capsys):
    trained("run", 3, seed=None)
    (line,) = [line for line in messages(capsys.readouterr().out) if "No seed was set" in line]
    seed = int(re.search(r"this run drew (\d+): set_seed\(\1\) repeats it", line)[1])
    assert SnapshotStore(Path("run")).read().state["counters"]["seed"] == seed
    assert SnapshotStore(Path("run")).directory.info().seed == seed
    trained("again", 3, seed=seed)
    assert digests("again") == digests("run")
    trainer = Trainer()
    trainer.restore("run")
    trainer.resume(n_epochs=4)
    trained("longer", 4, seed=seed)
    assert digests("run") == digests("longer")


def test_any_seed_will_do():
    trained("run", 1, seed=2**70)
    trainer = Trainer()
    trainer.restore("run")
    trainer.resume(n_epochs=2)
    assert SnapshotStore(Path("run")).directory.info().seed == 2**70
    assert digests("run") == digests(trained("once", 2, seed=2**70).snapshot_dir)


@pytest.mark.parametrize("seed", [-1, 1.0, True, "1", None])
def test_other_seeds_are_refused(seed):
    with pytest.raises(ArgumentError, match="A seed must be an integer of at least 0"):
        set_seed(seed)


def test_users_generators_follow_the_seed_of_a_run_that_draws_one():
    new_trainer("run", None)
    first = random.random(), np.random.random()  # noqa: NPY002 - users' code may use it
    new_trainer("other", None)
    assert (random.random(), np.random.random()) != first  # noqa: NPY002 - as above


def test_an_algorithm_without_a_state_round_trips_whole(capsys):
    set_seed(1)
    algo, env = opaque()
    trainer = Trainer(ExperimentContext("run"))
    trainer.setup(algo, env)
    trainer.train(n_epochs=3, batch_size=60)
    theta = algo.policy.theta
    restored = Trainer()
    for _ in range(2):  # the second time, the objects of the first are there
        restored.restore("run")
        assert restored.algo.n_epochs == 3
        np.testing.assert_array_equal(restored.algo.policy.theta, theta)
    restored.resume(n_epochs=5)
    set_seed(1)
    once = Trainer(ExperimentContext("once"))
    once.setup(*opaque())
    once.train(n_epochs=5, batch_size=60)
    np.testing.assert_array_equal(restored.algo.policy.theta, once.algo.policy.theta)
    assert digests("run") == digests("once")
    own = Trainer()
    own.setup(*opaque())
    with pytest.raises(RecipeError, match=r"`algo` into objects of your own: it has no state_dict\(\)"):
        own.restore("run")


def test_nothing_left_gives_both_numbers():
    trainer = trained("run", 2)
    before = everything_below("run")
    restored = Trainer()
    restored.restore("run")
    assert everything_below("run") == before
    for done in (trainer, restored):
        for n_epochs in (None, 1, 2):
            with pytest.raises(NothingLeftError, match=rf"2 epochs are finished and n_epochs={n_epochs or 2} is the"):
                done.resume(n_epochs=n_epochs)
    assert kept("run") == [0, 1]
    assert SnapshotStore(Path("run")).verify() == []
    restored.resume(n_epochs=3)
    assert restored.stats.last_itr == 3
