"""A graph and its session as the surroundings of an experiment."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, Self

import numpy as np

from garage import process
from garage.core.ports import GRAPH_VARIABLES
from garage.core.state import Leaf, flatten
from garage.core.streams import Streams
from garage.core.types import Array, State
from garage.errors import MismatchError, OrderError
from garage.tf.flat_variable import FlatVariable
from garage.tf.framework import session_config
from garage.tf.installation import import_tensorflow

tf = import_tensorflow()


class GraphSession:
    """A graph and a session of it, both the default ones within a ``with`` block; see `Surroundings`.

    Variables that users make in the graph are saved under ``tf/<name>``. Those of garage's own parts are saved with
    the parts, since TensorFlow changes a variable's name when another one has it already.

    Args:
        sess: a session to use, with its graph; neither is closed. By default a new graph and session.
        n_threads: of a new session.
    """

    name = "TensorFlow"

    def __init__(self, sess: Any = None, *, n_threads: int = 1) -> None:  # noqa: ANN401 - TensorFlow has no types
        self._given, self._n_threads = sess, n_threads
        self.sess: Any = sess
        self._stack: contextlib.ExitStack | None = None
        self._closed = self._rebuilt = False

    def __enter__(self) -> Self:
        """Make both the default ones.

        Raises:
            OrderError: the block was entered before.
        """
        if self._closed or self._stack is not None:
            msg = "This block was entered before, and its graph is of then. Make a new TFTrainer for a new block."
            raise OrderError(msg)
        self._stack = self._opened()
        return self

    def __exit__(self, *error: object) -> None:
        """Leave what was the default before as it was; close a session of our own."""
        stack, self._stack, self._closed = self._open_stack(), None, True
        stack.close()
        if self._given is None:
            self.sess = None

    def check(self, parts: Iterable[tuple[str, object]]) -> None:
        """See `Surroundings.check`."""
        self._open_stack()
        for path, part in parts:
            in_a_graph = isinstance(part, tf.Variable | tf.Tensor | tf.Operation | tf.compat.v1.Session | FlatVariable)
            if in_a_graph and _graph_of(part) is not self.sess.graph:
                msg = (
                    f"`{path}`, a {type(part).__name__}, was built in another graph than this trainer's. Build "
                    "all parts within the trainer's own block: `with TFTrainer(ctxt) as trainer:`."
                )
                raise MismatchError(msg)

    @contextlib.contextmanager
    def elsewhere(self) -> Iterator[None]:
        """While it lasts, another graph and session are the default ones."""
        with GraphSession(n_threads=self._n_threads):
            yield

    def renew(self) -> None:
        """Exchange graph and session for new ones, if objects were rebuilt in them before.

        Raises:
            OrderError: the block has not been entered or has been left, or the session is a given one.
        """
        self._open_stack()
        if self._rebuilt:
            if self._given is not None:
                msg = (
                    "Another experiment was restored into this session before, and its variables are still in the "
                    "graph. Use a new TFTrainer, with a session of its own."
                )
                raise OrderError(msg)
            self._open_stack().close()
            self._stack = self._opened()
        self._rebuilt = True

    def prepare(self) -> None:
        """Initialise those variables that are not initialised yet."""
        self._open_stack()
        variables = [*tf.compat.v1.global_variables(), *tf.compat.v1.local_variables()]
        if variables:
            flags = self.sess.run([tf.compat.v1.is_variable_initialized(variable) for variable in variables])
            missing = [variable for variable, initialised in zip(variables, flags, strict=True) if not initialised]
            self.sess.run([variable.initializer for variable in missing])

    def state_dict(self) -> State:
        """The values of users' variables under ``tf/<name>``; nothing if there are none."""
        variables = self._users_variables()
        return _nested(self.sess.run(variables)) if variables else {}

    def load_state_dict(self, state: State) -> list[str]:
        """Give saved values to those of users' variables that have their names.

        Raises:
            MismatchError: one of them has another shape or dtype than the saved value.
        """
        saved = {
            path.removeprefix(f"{GRAPH_VARIABLES}/"): leaf for path, leaf in flatten(state).items() if _is_ours(path)
        }
        variables = self._users_variables()
        for name, variable in variables.items():
            if name in saved:
                self._load(name, variable, saved[name])
        gone = [
            f"`{GRAPH_VARIABLES}/{name}`: this graph has no variable of that name"
            for name in saved
            if name not in variables
        ]
        new = [f"the variable `{name}`: the snapshot has none of that name" for name in variables if name not in saved]
        return gone + new

    def _load(self, name: str, variable: Any, value: Leaf) -> None:  # noqa: ANN401 - TensorFlow has no types
        expected = variable.shape.as_list(), variable.dtype.as_numpy_dtype
        if not isinstance(value, np.ndarray) or (list(value.shape), value.dtype.type) != expected:
            got = f"{value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) else repr(value)
            msg = (
                f"Cannot load `{GRAPH_VARIABLES}/{name}`: the snapshot has {got}, the graph's variable is "
                f"{np.dtype(expected[1])}{expected[0]}."
            )
            raise MismatchError(msg)
        self.sess.run(variable.initializer, {variable.initializer.inputs[1]: value})

    def _users_variables(self) -> dict[str, Any]:
        self._open_stack()
        variables = self.sess.graph.get_collection(
            tf.compat.v1.GraphKeys.GLOBAL_VARIABLES
        )  # garage's own are not in it
        return {variable.name: variable for variable in variables}

    def _opened(self) -> contextlib.ExitStack:
        with contextlib.ExitStack() as stack:
            if self._given is None:
                graph = tf.Graph()
                self.sess = stack.enter_context(
                    contextlib.closing(tf.compat.v1.Session(graph=graph, config=session_config(self._n_threads)))
                )
            stack.enter_context(self.sess.graph.as_default())
            stack.enter_context(self.sess.as_default())
            if self._given is None:
                seed = process.get_seed()
                chosen = process.draw_seed() if seed is None else seed
                tf.compat.v1.set_random_seed(Streams(chosen).world_seed("process", "graph"))
            return stack.pop_all()

    def _open_stack(self) -> contextlib.ExitStack:
        if self._stack is None:
            msg = (
                "A TFTrainer works within its block, where its graph and session are the default ones: "
                "`with TFTrainer(ctxt) as trainer:`."
            )
            raise OrderError(msg)
        return self._stack


def _graph_of(part: Any) -> object:  # noqa: ANN401 - TensorFlow has no types
    try:
        return part.graph
    except AttributeError:  # of what was made eagerly
        return None


def _is_ours(path: str) -> bool:
    return path.startswith(f"{GRAPH_VARIABLES}/")


def _nested(values: dict[str, Array]) -> State:
    """Values by the names of variables, such as ``dense/kernel:0``, as a state tree."""
    tree: dict[str, Any] = {GRAPH_VARIABLES: {}}
    for name, value in values.items():
        *folders, leaf = name.split("/")
        node = tree[GRAPH_VARIABLES]
        for folder in folders:
            node = node.setdefault(folder, {})
        node[leaf] = np.asarray(value)
    return tree
