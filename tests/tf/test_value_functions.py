"""The TensorFlow value function: how it lives in a graph. Its answers are tested beside NumPy's."""

import copy

import numpy as np
import pytest

from core.samples import TWO_ACTIONS, batch_of
from experiment.parts import digests
from garage.algos import TRPO
from garage.core.state import differences
from garage.core.streams import Streams
from garage.envs import GymEnv
from garage.errors import OrderError
from garage.experiment import ExperimentContext, TFTrainer
from garage.experiment.deterministic import set_seed
from garage.process import set_process_seed
from garage.tf.flat_variable import GARAGE_VARIABLES
from garage.tf.installation import import_tensorflow
from garage.tf.policies import CategoricalMLPPolicy
from garage.tf.value_functions import MLPValueFunction

tf = import_tensorflow()

BATCH = batch_of([30, 45, 25])
RETURNS = np.sin(BATCH.observations[:, 0]) * 3 + BATCH.steps / 10.0 + 40


@pytest.fixture
def session():
    with tf.compat.v1.Session(graph=tf.Graph()) as session, session.graph.as_default():
        yield session


def made(**options):
    values = MLPValueFunction(TWO_ACTIONS, (8, 8), **options)
    values.initialise(Streams(1).generator("baseline"))
    return values


def test_it_is_built_inside_a_session():
    with pytest.raises(OrderError, match=r"`values` learns in a TensorFlow graph and needs a session"):
        MLPValueFunction(TWO_ACTIONS, name="values")


def test_nothing_is_added_to_the_graph_after_it_was_built(session):
    values = made()
    session.graph.finalize()
    states = []
    for _ in range(2):
        values.initialise(Streams(1).generator("baseline"))
        for batch in (BATCH, batch_of([1]), batch_of([9])):
            values.predict(batch)
            values.fit(batch, batch.rewards)
        values.load_state_dict(values.state_dict())
        states.append(values.state_dict())
    assert differences(*states) == []


def test_users_do_not_meet_its_variable(session):
    made()
    assert session.graph.get_collection(GARAGE_VARIABLES)
    assert tf.compat.v1.global_variables() == []
    assert tf.compat.v1.trainable_variables() == []


def test_two_in_one_graph_and_a_copy_keep_to_themselves(session):
    first, second = made(name="values"), made(name="values")
    copied = copy.deepcopy(first)
    first.fit(BATCH, RETURNS)
    expected = first.state_dict()
    for other in (second, copied):
        other.fit(BATCH, -RETURNS)
        assert differences(expected, first.state_dict()) == []
        other.initialise(Streams(1).generator("baseline"))
        other.fit(BATCH, RETURNS)
        assert differences(expected, other.state_dict()) == []


def test_once_the_session_is_closed_it_predicts_but_does_not_learn():
    with tf.compat.v1.Session(graph=tf.Graph()):
        values = made(name="values")
        values.fit(BATCH, RETURNS)
        state, expected = values.state_dict(), values.predict(BATCH)
    with pytest.raises(OrderError, match="`values`: its TensorFlow session was closed"):
        values.fit(BATCH, RETURNS**2)
    assert differences(state, values.state_dict()) == []
    assert np.array_equal(values.predict(BATCH), expected)


def test_a_snapshot_restores_bit_for_bit(tmp_path):
    path = tmp_path / "run"
    set_seed(1)
    with TFTrainer(ExperimentContext(str(path), snapshot_mode="all")) as trainer:
        env = GymEnv("CartPole-v1")
        policy = CategoricalMLPPolicy(env.spec, hidden_sizes=(4,))
        trainer.setup(TRPO(env=env, policy=policy, baseline=MLPValueFunction(env.spec)), env)
        trainer.train(n_epochs=4, batch_size=60)
    set_process_seed(None)
    with TFTrainer() as trainer:
        trainer.restore(path, from_epoch=1)
        trainer.resume(n_epochs=4)
        assert trainer.snapshot_dir != path
        assert digests(trainer.snapshot_dir) == digests(path)
