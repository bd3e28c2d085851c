"""One flat vector of parameters in a TensorFlow graph, and the session that computes with it.

A learner shares its `FlatVariable` with all its light copies: each loads its own parameters before it asks.
Nothing here depends on the names of variables and operations, which TensorFlow changes to make them unique.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import numpy as np

from garage.core.types import Array
from garage.errors import OrderError
from garage.tf.installation import check_one_distribution, import_tensorflow

tf = import_tensorflow()
check_one_distribution()

GARAGE_VARIABLES = "garage/variables"
"""The graph collection of our variables. They are in no other, so users' savers, initialisers and optimizers pass
them by; what they hold is loaded before it is used, and saved by garage itself."""


class FlatVariable:
    """A vector of n parameters in the graph of the default session.

    Args:
        owner: whose parameters they are, for messages.
        n: P, their number.
        dtype: to compute in.

    Attributes:
        session: that computes.
        graph: the session's.
        vector: the parameters as a tensor ``[P]``, read anew in each run.

    Raises:
        OrderError: there is no default session.
    """

    def __init__(self, owner: str, n: int, dtype: "np.dtype[Any]") -> None:
        session = tf.compat.v1.get_default_session()
        if session is None:
            msg = (
                f"`{owner}` learns in a TensorFlow graph and needs a session to live in; there is no default one. "
                "Build it inside a trainer's: with TFTrainer(ctxt) as trainer: ..."
            )
            raise OrderError(msg)
        self.owner, self.session, self.graph = owner, session, session.graph
        self._dtype = dtype
        self._held: Array | None = None
        with self.building():
            values = tf.compat.v1.placeholder(dtype.name, (n,))
            variable = tf.compat.v1.Variable(
                np.zeros(n, dtype), trainable=False, use_resource=True, collections=[GARAGE_VARIABLES]
            )
            self.vector = variable.value()
            assign = variable.assign(values, read_value=False)
        self._assign = self.callable(assign, [values])

    def __copy__(self) -> Self:
        """Itself: copies of a learner compute with the same variable."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Itself, for a session cannot be copied."""
        return self

    @contextmanager
    def building(self) -> Iterator[None]:
        """While it lasts, operations are added to the graph, wherever in users' code that happens.

        They are the processor's: what is fed and fetched lies there, and then a machine with a GPU gives the same bits.
        """
        with (
            self.graph.as_default(),
            tf.control_dependencies(None),
            tf.compat.v1.name_scope("garage"),
            tf.device("/CPU:0"),
        ):
            yield

    def load(self, values: Array) -> None:
        """Let the graph compute at these parameters ``[P]``; nothing to do if it does already.

        Raises:
            OrderError: the session was closed.
        """
        mine = values.astype(self._dtype)  # a copy that nobody changes: TensorFlow may keep the array's memory
        if self._held is None or not np.array_equal(self._held, mine):
            self._held = None
            self._assign(mine)
            self._held = mine

    def callable(self, fetches: Any, feeds: Sequence[Any] = ()) -> Callable[..., Any]:  # noqa: ANN401 - TensorFlow's
        """A function of the values of ``feeds`` that returns those of ``fetches``.

        It raises an `OrderError` once the session was closed.
        """
        run = self.session.make_callable(fetches, feed_list=list(feeds) or None)  # None is a faster way

        def call(*values: Any) -> Any:  # noqa: ANN401
            try:
                return run(*values)
            except RuntimeError as error:  # of closed sessions; what fails in a graph raises an OpError
                msg = (
                    f"Cannot compute with `{self.owner}`: its TensorFlow session was closed. It can still act; to "
                    "learn, build or restore it inside an open one: with TFTrainer(ctxt) as trainer: ..."
                )
                raise OrderError(msg) from error

        return call
