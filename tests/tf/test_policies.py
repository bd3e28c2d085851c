"""TensorFlow's policies: where they live, and what they leave alone there."""

import copy
import pickle

import cloudpickle
import numpy as np
import pytest
import tensorflow as tf

from core.samples import TWO_ACTIONS, TWO_FORCES, batch_of
from garage.core.streams import Streams
from garage.errors import MismatchError, OrderError
from garage.np import policies as numpy_policies
from garage.tf.flat_variable import GARAGE_VARIABLES, FlatVariable
from garage.tf.policies import CategoricalMLPPolicy, GaussianMLPPolicy
from garage.tf.session import GraphSession

KINDS = {"categorical": (CategoricalMLPPolicy, TWO_ACTIONS), "gaussian": (GaussianMLPPolicy, TWO_FORCES)}


@pytest.fixture(params=KINDS.values(), ids=KINDS.keys())
def kind(request):
    return request.param


def initialised(policy):
    policy.initialise(Streams(1).generator("policy"))
    return policy


def test_without_a_session_the_error_names_the_block(kind):
    for surroundings in (tf.Graph().as_default, tf.init_scope):
        with surroundings(), pytest.raises(OrderError, match=r"`pilot` .*with TFTrainer\(ctxt\) as trainer"):
            kind[0](kind[1], name="pilot")


def test_acting_is_numpys_bit_for_bit(kind):
    numpys = initialised(getattr(numpy_policies, kind[0].__name__)(kind[1]))
    with GraphSession():
        ours = initialised(kind[0](kind[1]))
    batch = batch_of([70], spec=kind[1])
    noise = [policy.draw_noise(Streams(2).generator("noise"), 70) for policy in (ours, numpys)]
    assert ours.theta.tobytes() == numpys.theta.tobytes()
    (actions, _, infos), (expected, _, expected_infos) = (
        policy.act(batch.observations, policy.initial_memory(70), drawn)
        for policy, drawn in zip((ours, numpys), noise, strict=True)
    )
    assert actions.tobytes() == expected.tobytes()
    assert [infos[key].tobytes() for key in infos] == [expected_infos[key].tobytes() for key in expected_infos]


def test_options_are_numpys(kind):
    with GraphSession():
        ours, numpys = kind[0](kind[1]), getattr(numpy_policies, kind[0].__name__)(kind[1])
        for attribute in ("hidden_sizes", "dtype", "name", "n_parameters"):
            assert getattr(ours, attribute) == getattr(numpys, attribute)
        gaussian = GaussianMLPPolicy(TWO_FORCES, (3,), init_std=0.5, min_std=0.1, name="arm", dtype="float64")
    assert (gaussian.init_std, gaussian.min_std, gaussian.name, gaussian.dtype) == (0.5, 0.1, "arm", np.float64)


def test_a_pickle_lives_in_the_session_that_is_the_default_one_when_it_is_loaded(kind):
    with GraphSession() as first:
        policy = initialised(kind[0](kind[1], (4,), name="a name, and more: é"))
        pickled = cloudpickle.dumps(policy)
        assert policy.graph is first.sess.graph
    with GraphSession() as second:
        again = pickle.loads(pickled)
        assert again.graph is second.sess.graph
        again.theta = policy.theta
        batch = batch_of([9], spec=kind[1])
        assert again.objective(batch).evaluate(again.theta).kl == 0.0
    with pytest.raises(OrderError, match="TFTrainer"):
        pickle.loads(pickled)


def test_copies_live_where_the_original_does(kind):
    with GraphSession() as surroundings:
        policy = initialised(kind[0](kind[1], (4,)))
        n_operations = len(surroundings.sess.graph.get_operations())
        for other in (policy.at(policy.theta + 1), copy.copy(policy), copy.deepcopy(policy)):
            assert other.graph is policy.graph
            assert other.theta is not None
        assert len(surroundings.sess.graph.get_operations()) == n_operations
    changed = copy.deepcopy(policy)
    changed.theta = changed.theta + 1
    assert not np.array_equal(changed.theta, policy.theta)


def test_users_savers_initialisers_and_optimizers_do_not_see_our_variables(kind):
    with GraphSession() as surroundings:
        policy = initialised(kind[0](kind[1], (4,)))
        mine = tf.compat.v1.get_variable("mine", initializer=np.float32(2.0))
        surroundings.prepare()
        objective = policy.objective(batch_of([9], spec=kind[1]))
        before = objective.evaluate(policy.theta).log_likelihoods
        assert tf.compat.v1.global_variables() == tf.compat.v1.trainable_variables() == [mine]
        assert len(surroundings.sess.graph.get_collection(GARAGE_VARIABLES)) == 1
        surroundings.sess.run(tf.compat.v1.train.GradientDescentOptimizer(0.25).minimize(mine * mine))
        surroundings.sess.run(tf.compat.v1.global_variables_initializer())
        assert np.array_equal(objective.evaluate(policy.theta).log_likelihoods, before)


def test_nothing_depends_on_the_names_that_tensorflow_gives(kind):
    with GraphSession(), tf.compat.v1.variable_scope("garage"):
        tf.compat.v1.get_variable("Variable", shape=(3,))
        policies = [initialised(kind[0](kind[1], (4,), name="same")) for _ in range(2)]
        batch = batch_of([9], spec=kind[1])
        answers = [policy.objective(batch).score(policy.theta, np.ones(9)) for policy in policies]
    assert np.array_equal(*answers)


def test_all_of_it_is_computed_by_the_processor(kind):
    with GraphSession() as surroundings, tf.device("/GPU:0"):
        policy = initialised(kind[0](kind[1], (4,)))
        batch = batch_of([9], spec=kind[1])
        assert policy.objective(batch).evaluate(policy.theta).kl == 0.0
        products = [operation for operation in surroundings.sess.graph.get_operations() if operation.type == "MatMul"]
        assert {product.device for product in products} == {"/device:CPU:0"}


def test_the_worlds_spaces_must_fit():
    with GraphSession():
        with pytest.raises(MismatchError, match="use GaussianMLPPolicy"):
            CategoricalMLPPolicy(TWO_FORCES)
        with pytest.raises(MismatchError, match="use CategoricalMLPPolicy"):
            GaussianMLPPolicy(TWO_ACTIONS)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_flat_variable_holds_what_was_loaded_last_and_nobody_elses_memory(dtype):
    with GraphSession():
        variable = FlatVariable("critic", 64, np.dtype(dtype))
        read = variable.callable(variable.vector)
        room = np.empty(65 * 64, np.uint8)
        # At such an address TensorFlow would use the array's own memory.
        mine = room[-room.ctypes.data % 64 :][: 64 * np.dtype(dtype).itemsize].view(dtype)
        mine[:] = np.arange(64)
        variable.load(mine)
        mine += 1
        assert np.array_equal(read(), np.arange(64))
        variable.load(np.arange(64.0))
        assert np.array_equal(read(), np.arange(64))
        variable.load(mine)
        assert np.array_equal(read(), mine)
        assert read().dtype == dtype
        assert copy.copy(variable) is copy.deepcopy(variable) is variable
    with pytest.raises(OrderError, match="`critic`: its TensorFlow session was closed"):
        variable.load(np.zeros(64))
