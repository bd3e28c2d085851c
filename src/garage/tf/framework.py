"""What TensorFlow keeps in the process: generators, threads, settings."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from garage.core.state import take, take_array, take_as
from garage.core.types import Array, State
from garage.tf.installation import import_tensorflow

tf = import_tensorflow()

# Not a public name of TensorFlow's: to ask publicly for the global generator makes one if there is none.
from tensorflow.python.ops import stateful_random_ops  # noqa: E402

T = TypeVar("T")

_OWNER = "TensorFlow's global generator"
_SETTINGS = ("TF_ENABLE_ONEDNN_OPTS", "TF_XLA_FLAGS", "XLA_FLAGS", "NVIDIA_TF32_OVERRIDE")


class TensorFlowFramework:
    """TensorFlow as a `Framework`.

    Its one generator with a state that can be read is the global one, ``tf.random.get_global_generator()``. What
    ``tf.random.normal`` and its like count, in eager mode and in every session, can be neither read nor put back:
    what they draw after a restore is not what an uninterrupted run would have drawn. Draw from the global generator,
    or with ``tf.random.stateless_normal`` and its like, instead.

    Seeding makes the global generator and so starts TensorFlow's runtime: configure devices and the threads of eager
    mode (``tf.config``) before.
    """

    name = "tensorflow"

    def seed(self, seed: int) -> None:
        """Seed eager mode, the global generator, and the default graph if there is one."""
        if not tf.executing_eagerly():
            tf.compat.v1.set_random_seed(seed)
        _in_eager_mode(lambda: _seed(seed))

    def generators_state(self) -> State:
        """The global generator's algorithm and words; null and none if there is none, or if a graph holds it."""
        generator = _global_generator()
        if generator is None:
            return {"algorithm": None, "words": np.empty(0, np.int64)}
        words = _in_eager_mode(lambda: np.array(generator.state.numpy()))
        return {"algorithm": int(generator.algorithm), "words": words}

    def load_generators_state(self, state: State) -> None:
        """Put the global generator back; if the state has none, one that was made meanwhile stays as it is.

        Raises:
            MismatchError: a part of the state is missing, or of another kind.
        """
        algorithm = take_as(state, "algorithm", _OWNER, int, type(None))
        words = take_array(state, "words", _OWNER, np.int64, np.shape(take(state, "words", _OWNER)))
        if algorithm is not None:
            _in_eager_mode(lambda: _put_back(algorithm, words))

    @contextlib.contextmanager
    def computing(self, n_threads: int) -> Iterator[None]:  # noqa: ARG002 - a session has its own, see session_config
        """Operations give the same bits each time, from here on for ever: TensorFlow has no public way back.

        The threads of eager mode are fixed when TensorFlow's runtime starts, and the user's to choose before that.
        """
        tf.config.experimental.enable_op_determinism()
        yield

    def fingerprint(self) -> Mapping[str, Any]:
        """Version, threads of eager mode (0: one a core), GPUs, and the settings that decide over last bits."""
        gpus = tf.config.list_physical_devices("GPU")
        return {
            "version": tf.__version__,
            "eager_threads": tf.config.threading.get_intra_op_parallelism_threads(),
            "gpus": [tf.config.experimental.get_device_details(gpu).get("device_name") for gpu in gpus],
            **{setting: os.environ.get(setting) for setting in _SETTINGS},
        }


def session_config(n_threads: int) -> Any:  # noqa: ANN401 - TensorFlow has no types
    """A `tf.compat.v1.ConfigProto` for sessions that compute with ``n_threads`` threads."""
    return tf.compat.v1.ConfigProto(intra_op_parallelism_threads=n_threads, inter_op_parallelism_threads=n_threads)


def _global_generator() -> Any:  # noqa: ANN401
    """The one of eager mode, if there is one; one in a graph is a variable, and saved as variables are."""
    generator = stateful_random_ops.global_generator
    return None if generator is None or tf.is_symbolic_tensor(generator.state.handle) else generator


def _seed(seed: int) -> None:
    if not tf.executing_eagerly():  # switched off for the whole process: nothing lies outside of graphs
        return
    tf.random.set_seed(seed)
    generator = _global_generator()
    if generator is None:
        tf.random.set_global_generator(tf.random.Generator.from_seed(seed))
    else:
        generator.reset_from_seed(seed)  # users may hold on to it


def _put_back(algorithm: int, words: Array) -> None:
    generator = _global_generator()
    if generator is not None and generator.algorithm == algorithm:
        generator.reset(words)
    else:
        tf.random.set_global_generator(tf.random.Generator.from_state(words, algorithm))


def _in_eager_mode(function: Callable[[], T]) -> T:
    """What a function returns that is called in a new thread, where no ``with`` block makes a graph the default."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(function).result()
