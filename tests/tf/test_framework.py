"""What TensorFlow keeps in a process: seeded, read and put back, in processes of their own."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from garage.core.state import encode, flatten
from garage.errors import MismatchError
from garage.tf.framework import TensorFlowFramework, session_config


def child(script):
    """What a script prints as JSON, a line each."""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


SEEDED = """
import json
from garage import process

def set_seed(seed):
    process.set_process_seed(seed)
    process.seed_generators(seed)

set_seed(1)                     # TensorFlow is not imported yet
import garage.tf
import tensorflow as tf

def show():
    print(json.dumps([float(tf.random.get_global_generator().normal(())), float(tf.random.normal(()))]))

show()
show()
held = tf.random.get_global_generator()
set_seed(1)                     # now it is
show()
with tf.Graph().as_default() as graph, tf.compat.v1.Session():
    set_seed(1)                 # and now a graph is the default
    print(json.dumps(graph.seed is not None))
show()
set_seed(2)
show()
print(json.dumps(held is tf.random.get_global_generator()))
"""


def test_a_seed_reaches_generators_whenever_tensorflow_is_imported_and_whatever_graph_is_the_default():
    first, second, again, of_graph, in_graph, other, held = child(SEEDED)
    assert first == again == in_graph
    assert len({*first, *second, *other}) == 6
    assert of_graph
    assert held


ROUND = """
import json
import tensorflow as tf
tf.random.set_seed(5)
import garage.tf
from garage.tf.framework import TensorFlowFramework
first = float(tf.random.normal(()))
tf.random.set_seed(5)
print(json.dumps(first == float(tf.random.normal(()))))      # the import changed nothing

framework = TensorFlowFramework()
def state():
    return {key: value if value is None or type(value) is int else value.tolist()
            for key, value in framework.generators_state().items()}
def draw():
    return tf.random.get_global_generator().normal((3,)).numpy().tolist()

print(json.dumps([state(), state()]))                        # nobody has made a generator, nor does asking
framework.load_generators_state(framework.generators_state())
mine = tf.random.Generator.from_seed(7)
tf.random.set_global_generator(mine)
draw()
saved, before = framework.generators_state(), state()
after = draw(), draw()
framework.load_generators_state(saved)
print(json.dumps([state() == before, (draw(), draw()) == after, tf.random.get_global_generator() is mine]))
with tf.Graph().as_default() as graph, tf.compat.v1.Session():
    framework.load_generators_state(saved)
    print(json.dumps([state() == before, state() == before, len(graph.get_operations())]))
print(json.dumps((draw(), draw()) == after))
tf.random.set_global_generator(tf.random.Generator.from_seed(7, "threefry"))
framework.load_generators_state(saved)                       # of another algorithm
print(json.dumps((draw(), draw()) == after))

with framework.computing(1), tf.Graph().as_default():
    try:
        tf.random.normal(())
    except RuntimeError as error:                            # operations are deterministic: draws need a seed
        print(json.dumps(str(error)))
"""


def test_reading_the_state_draws_nothing_and_putting_it_back_goes_on_there_in_and_out_of_graphs():
    unchanged, empty, outside, inside, after, other_algorithm, computing = child(ROUND)
    assert unchanged
    assert empty == [{"algorithm": None, "words": []}] * 2
    assert outside == [True, True, True]
    assert inside == [True, True, 0]
    assert after
    assert other_algorithm
    assert "Random ops require a seed" in computing


NO_EAGER_MODE = """
import json
import garage.tf
import tensorflow as tf
from garage.tf.framework import TensorFlowFramework
tf.compat.v1.disable_eager_execution()
framework = TensorFlowFramework()
framework.seed(3)
print(json.dumps(tf.compat.v1.get_default_graph().seed))
tf.random.get_global_generator()
state = framework.generators_state()
print(json.dumps([state["algorithm"], len(state["words"])]))
framework.load_generators_state(state)
"""


def test_where_eager_mode_is_switched_off_graphs_hold_all_there_is():
    assert child(NO_EAGER_MODE) == [3, [None, 0]]


def test_the_state_can_be_stored():
    state = TensorFlowFramework().generators_state()
    assert [encode(path, leaf).hash for path, leaf in flatten(state).items()]


def test_a_state_without_its_parts_is_refused():
    with pytest.raises(MismatchError, match="TensorFlow's global generator"):
        TensorFlowFramework().load_generators_state({"words": np.zeros(3, np.int64)})


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"algorithm": 1, "words": np.array(["a", "b", "c"])}, "`words` is <U1[3], expected int64[3]"),
        ({"algorithm": 1, "words": 3}, "`words` is a int, expected ndarray"),
        ({"algorithm": "1", "words": np.zeros(3, np.int64)}, "`algorithm` is a str, expected int or null"),
    ],
    ids=str,
)
def test_a_state_of_other_kinds_is_refused(state, said):
    with pytest.raises(MismatchError, match=re.escape(said)):
        TensorFlowFramework().load_generators_state(state)


def test_the_fingerprint_is_json_and_names_the_version():
    fingerprint = TensorFlowFramework().fingerprint()
    assert json.loads(json.dumps(fingerprint)) == fingerprint
    assert fingerprint["version"] == tf.__version__


def test_a_sessions_threads_are_as_many_as_asked_for():
    for n_threads in (1, 3):
        config = session_config(n_threads)
        assert (config.intra_op_parallelism_threads, config.inter_op_parallelism_threads) == (n_threads, n_threads)
