"""TFTrainer: its graph and session, users' own variables, and what is restored into which graph."""

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiment.parts import digests, kept, messages, rows
from garage import load_policy, process
from garage.algos import TRPO
from garage.baselines import LinearFeatureBaseline
from garage.core.recipe import Component
from garage.envs import GymEnv
from garage.errors import ArgumentError, MismatchError, OrderError, RecipeError
from garage.experiment import ExperimentContext, TFTrainer, Trainer
from garage.experiment.deterministic import set_seed
from garage.np import policies as numpy_policies
from garage.storage.store import SnapshotStore
from garage.tf.installation import import_tensorflow
from garage.tf.policies import CategoricalMLPPolicy, GaussianMLPPolicy

tf = import_tensorflow()
v1 = tf.compat.v1


class Drift(Component):
    """A user's own part in the graph: a counter that goes up and noise that adds up."""

    def __init__(self, name="drift"):
        self.name = name
        with v1.variable_scope(name):
            self.count = v1.get_variable("count", (), tf.int64, v1.zeros_initializer())
            self.sum = v1.get_variable("inner/sum", (3,), tf.float32, v1.random_uniform_initializer(seed=1))
            self.step = tf.group(self.count.assign_add(1), self.sum.assign(self.sum * 1.5 + 1.0))


class Drifting(TRPO):
    """TRPO with such a part beside it."""

    def __init__(self, *, drift, **options):
        super().__init__(**options)
        self.drift = drift

    def epoch(self, collect, streams):
        session = v1.get_default_session()
        session.run(self.drift.step)
        count, total = session.run([self.drift.count, self.drift.sum])
        return super().epoch(collect, streams) | {"Drift/Count": count, "Drift/Sum": float(total.sum())}


def parts(kind=TRPO, **options):
    env = GymEnv("CartPole-v1")
    policy = CategoricalMLPPolicy(env.spec, hidden_sizes=(4,))
    return kind(env=env, policy=policy, baseline=LinearFeatureBaseline(env.spec), **options), env


def train(path, n_epochs=3, seed=1, **options):
    """Train in a graph of its own."""
    set_seed(seed)
    with TFTrainer(ExperimentContext(str(path))) as trainer:
        trainer.setup(*parts(**options))
        trainer.train(n_epochs=n_epochs, batch_size=60)
    process.set_process_seed(None)


def drifting(path, n_epochs=3):
    set_seed(1)
    with TFTrainer(ExperimentContext(str(path))) as trainer:
        trainer.setup(*parts(Drifting, drift=Drift()))
        trainer.train(n_epochs=n_epochs, batch_size=60)
    process.set_process_seed(None)


def names_of(path):
    return [leaf.path for leaf in SnapshotStore(Path(path)).read("last").manifest.leaves]


def nothing_is_default():
    return v1.get_default_session() is None and tf.executing_eagerly()


def test_graph_and_session_are_the_default_ones_within_the_block():
    trainer = TFTrainer()
    assert trainer.sess is None
    with trainer as entered:
        assert entered is trainer
        assert v1.get_default_session() is trainer.sess
        assert v1.get_default_graph() is trainer.sess.graph
        assert trainer.sess.run(tf.constant(2) * 3) == 6
    assert trainer.sess is None
    assert nothing_is_default()


def test_each_has_a_graph_of_its_own_and_leaves_an_outer_one_as_it_was():
    with v1.Session(graph=tf.Graph()) as outer:
        graph = v1.get_default_graph()
        with TFTrainer() as trainer:
            assert trainer.sess is not outer
            with TFTrainer() as inner:
                assert v1.get_default_session() is inner.sess
            assert v1.get_default_session() is trainer.sess
        assert v1.get_default_session() is outer
        assert v1.get_default_graph() is graph
    assert nothing_is_default()


def test_a_given_session_is_used_with_its_graph_and_stays_open():
    sess = v1.Session(graph=tf.Graph())
    with v1.Session(graph=tf.Graph()) as outer:
        with TFTrainer(sess=sess) as trainer:
            assert v1.get_default_session() is trainer.sess is sess
            assert v1.get_default_graph() is sess.graph
            three = tf.constant(3)
        assert v1.get_default_session() is outer
    assert sess.run(three) == 3
    sess.close()
    assert nothing_is_default()


def test_an_exception_in_the_block_leaves_it_clean():
    trainer = TFTrainer()

    def fail():
        with trainer:
            trainer.setup(*parts())
            return trainer.sess, 1 / 0

    with pytest.raises(ZeroDivisionError):
        fail()
    assert trainer.sess is None
    assert nothing_is_default()
    train("run")
    assert kept("run") == [1, 2]


def test_a_block_is_entered_once():
    trainer = TFTrainer()
    with trainer, pytest.raises(OrderError, match="new TFTrainer"):
        trainer.__enter__()
    with pytest.raises(OrderError, match="new TFTrainer"), trainer:
        pass
    with pytest.raises(OrderError, match="within its block"):
        TFTrainer().__exit__(None, None, None)


def test_outside_of_its_block_it_can_set_up_and_restore_nothing():
    train("run")
    with TFTrainer():
        made = parts()
    with pytest.raises(OrderError, match=r"with TFTrainer\(ctxt\) as trainer"):
        TFTrainer().setup(*made)
    with pytest.raises(OrderError, match=r"with TFTrainer\(ctxt\) as trainer"):
        TFTrainer().restore("run")


@pytest.mark.parametrize("kind", [CategoricalMLPPolicy, GaussianMLPPolicy])
def test_a_policy_outside_of_a_session_is_refused(kind):
    env = GymEnv("CartPole-v1" if kind is CategoricalMLPPolicy else "Pendulum-v1")
    with pytest.raises(OrderError, match=r"with TFTrainer\(ctxt\) as trainer"):
        kind(env.spec)


def test_a_plain_trainer_takes_no_part_that_lives_in_a_graph():
    with TFTrainer():
        made = parts()
        with pytest.raises(MismatchError, match=r"`algo\.policy.*TensorFlow graph.*with TFTrainer"):
            Trainer().setup(*made)


@pytest.mark.parametrize("where", ["another trainer's", "eager"])
def test_parts_of_another_graph_are_named(where):
    if where == "eager":
        alien = type("Alien", (Component,), {"__init__": lambda self: setattr(self, "weights", tf.Variable(1.0))})()
    else:
        with TFTrainer():
            alien = Drift()
    with TFTrainer() as trainer:
        algo, env = parts(Drifting, drift=alien)
        with pytest.raises(MismatchError, match=r"`algo\.drift\.\w+`, a \w*Variable, was built in another graph"):
            trainer.setup(algo, env)


def test_setup_initialises_only_what_is_uninitialised():
    set_seed(1)
    with TFTrainer(ExperimentContext("run")) as trainer:
        drift = Drift()
        trainer.sess.run(drift.count.initializer)
        trainer.sess.run(drift.count.assign_add(41))
        trainer.setup(*parts(Drifting, drift=drift))
        assert trainer.sess.run(drift.count) == 41
        assert np.isfinite(trainer.sess.run(drift.sum)).all()
        trainer.train(n_epochs=1, batch_size=60)
    assert rows("run")[-1]["Drift/Count"] == 42


def test_users_variables_are_saved_by_name_and_go_on():
    drifting("undisturbed", 5)
    drifting("run", 3)
    assert [path for path in names_of("run") if path.startswith("tf/")] == [
        "tf/drift/count:0",
        "tf/drift/inner/sum:0",
    ]
    with TFTrainer() as trainer:
        trainer.restore("run")
        trainer.resume(n_epochs=5)
    assert digests("run") == digests("undisturbed")
    assert rows("run")[-1]["Drift/Count"] == 5


def test_the_digest_covers_users_variables():
    drifting("run", 2)
    train("plain", 2)
    assert digests("run") != digests("plain")


def test_what_has_no_place_is_listed(caplog):
    drifting("run")
    with TFTrainer() as trainer:
        v1.get_variable("mine", (2,))
        trainer.setup(*parts())
        with caplog.at_level(logging.WARNING, "garage"):
            trainer.restore("run")
    said = "\n".join(record.getMessage() for record in caplog.records)
    assert "`tf/drift/count:0`: this graph has no variable of that name" in said
    assert "`tf/drift/inner/sum:0`" in said
    assert "the variable `mine:0`: the snapshot has none of that name" in said


def test_a_variable_of_another_shape_is_refused():
    drifting("run")
    with TFTrainer() as trainer:
        with v1.variable_scope("drift/inner"):
            v1.get_variable("sum", (4,))
        trainer.setup(*parts())
        with pytest.raises(MismatchError, match=r"`tf/drift/inner/sum:0`: .*float32\[3\].*float32\[4\]"):
            trainer.restore("run")


def test_paths_come_from_places_and_not_from_names_that_tensorflow_made_unique():
    train("alone")
    with TFTrainer() as trainer:
        for _ in range(2):
            made = parts()
        trainer.setup(*made)
        trainer.restore("alone")
        assert names_of("alone") == sorted(names_of("alone"))
        assert "algo/policy/theta" in names_of("alone")
        trainer.resume(n_epochs=4)
    train("undisturbed", 4)
    assert digests("alone") == digests("undisturbed")


def test_restoring_twice_and_beside_the_trained_policy():
    train("undisturbed", 5)
    set_seed(1)
    with TFTrainer(ExperimentContext("run")) as trainer:
        algo, env = parts()
        trainer.setup(algo, env)
        trainer.train(n_epochs=3, batch_size=60)
        with TFTrainer() as second:
            second.restore("run")
            first_graph = second.sess.graph
            second.restore("run", "first")
            assert second.sess.graph is not first_graph
            assert v1.get_default_session() is second.sess
            second.restore("run")
            assert np.array_equal(second.algo.policy.theta, algo.policy.theta)
            process.set_process_seed(None)
            second.resume(n_epochs=5)
        assert v1.get_default_session() is trainer.sess
    assert digests("run") == digests("undisturbed")
    assert nothing_is_default()


def test_a_given_session_takes_one_experiment_from_a_recipe():
    train("run")
    with v1.Session(graph=tf.Graph()) as sess, TFTrainer(sess=sess) as trainer:
        trainer.restore("run")
        with pytest.raises(OrderError, match=r"new TFTrainer"):
            trainer.restore("run")


def test_the_graph_does_not_grow_from_epoch_to_epoch():
    set_seed(1)
    with TFTrainer(ExperimentContext("run")) as trainer:
        trainer.setup(*parts(Drifting, drift=Drift()))
        trainer.train(n_epochs=2, batch_size=60)
        n_operations = len(trainer.sess.graph.get_operations())
        trainer.resume(n_epochs=5)
        assert len(trainer.sess.graph.get_operations()) == n_operations


def test_a_run_of_a_graph_needs_one_to_be_rebuilt(capsys):
    train("run")
    with pytest.raises(RecipeError, match=r"trained in TensorFlow.*with TFTrainer"):
        Trainer().restore("run")
    policy = load_policy("run")
    assert nothing_is_default()
    actions, _, _ = policy.act(np.zeros((2, 4), np.float32), policy.initial_memory(2), None)
    assert actions.shape == (2,)
    theta = SnapshotStore(Path("run")).read("last").state["algo"]["policy"]["theta"]
    assert np.array_equal(policy.theta, theta)


def test_evaluations_leave_no_trace():
    train("plain")
    set_seed(1)
    with TFTrainer(ExperimentContext("run"), eval_every=1, eval_episodes=2) as trainer:
        trainer.setup(*parts())
        trainer.train(n_epochs=3, batch_size=60)
    assert digests("run") == digests("plain")
    assert [row["EvaluationGreedy/NumEpisodes"] for row in rows("run")] == [2, 2, 2]


def test_the_command_goes_on_with_it():
    train("undisturbed", 5)
    train("run")
    words = ["resume", "run", "--n-epochs", "5"]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "garage.cli.main", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert digests("run") == digests("undisturbed")


def test_a_tf_trainer_also_trains_and_restores_what_needs_no_graph():
    env = GymEnv("CartPole-v1")
    set_seed(1)
    with TFTrainer(ExperimentContext("run")) as trainer:
        policy = numpy_policies.CategoricalMLPPolicy(env.spec, hidden_sizes=(4,))
        trainer.setup(TRPO(env=env, policy=policy, baseline=LinearFeatureBaseline(env.spec)), env)
        trainer.train(n_epochs=2, batch_size=60)
    assert not [path for path in names_of("run") if path.startswith("tf/")]
    with TFTrainer() as trainer:
        trainer.restore("run")
        assert trainer.resume(n_epochs=3) > 0


@pytest.mark.parametrize("direction", ["np to tf", "tf to np"])
def test_values_cross_from_one_framework_to_another_and_it_is_said(direction, capsys):
    env = GymEnv("CartPole-v1")

    def plain(hidden_sizes=(4,)):
        policy = numpy_policies.CategoricalMLPPolicy(env.spec, hidden_sizes=hidden_sizes)
        return TRPO(env=env, policy=policy, baseline=LinearFeatureBaseline(env.spec)), env

    set_seed(1)
    if direction == "np to tf":
        trainer = Trainer(ExperimentContext("run"))
        trainer.setup(*plain())
        trainer.train(n_epochs=2, batch_size=60)
        with TFTrainer(ExperimentContext("other")) as other:
            other.setup(*parts())
            other.restore("run")
            assert np.array_equal(other.algo.policy.theta, trainer.algo.policy.theta)
            other.resume(n_epochs=3)
    else:
        train("run", 2)
        trainer = Trainer(ExperimentContext("other"))
        trainer.setup(*plain())
        trainer.restore("run")
        trainer.resume(n_epochs=3)
        wrong = Trainer()
        wrong.setup(*plain((5,)))
        with pytest.raises(MismatchError, match=r"policy/theta.*hidden_sizes=\(5,\)"):
            wrong.restore("run")
    said = messages(capsys.readouterr().out)
    assert any(
        "policies.policy: garage." in line and ".np." in line and ".tf." in line and "when saved" in line
        for line in said
    )
    assert len(rows("other")) == 3


def test_the_session_has_the_threads_that_were_asked_for():
    with TFTrainer(n_threads=2) as trainer:
        assert trainer.sess._config.intra_op_parallelism_threads == 2
    with TFTrainer() as trainer:
        assert trainer.sess._config.intra_op_parallelism_threads == 1
    with pytest.raises(ArgumentError, match="n_threads"):
        TFTrainer(n_threads=0)


def test_users_random_operations_are_seeded_by_the_runs_seed():
    drawn = []
    for seed in (1, 1, 2):
        set_seed(seed)
        with TFTrainer() as trainer:
            drawn.append(trainer.sess.run(tf.random.uniform((3,))).tolist())
    assert drawn[0] == drawn[1] != drawn[2]
