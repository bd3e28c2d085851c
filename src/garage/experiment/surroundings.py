"""The surroundings of an experiment that needs none: the process is enough."""

import contextlib
from collections.abc import Iterable

from garage.core.ports import GRAPH_VARIABLES
from garage.core.types import State
from garage.errors import MismatchError

_IN_A_GRAPH = "garage.tf."


class ProcessAlone:
    """See `Surroundings`."""

    name = "process"

    def check(self, parts: Iterable[tuple[str, object]]) -> None:
        """See `Surroundings.check`."""
        for path, part in parts:
            if f"{type(part).__module__}.".startswith(_IN_A_GRAPH):
                msg = (
                    f"`{path}`, a {type(part).__name__}, lives in a TensorFlow graph, and a plain Trainer has none. "
                    "Build it and train it within `with TFTrainer(ctxt) as trainer:`."
                )
                raise MismatchError(msg)

    def elsewhere(self) -> contextlib.AbstractContextManager[None]:
        """Anywhere."""
        return contextlib.nullcontext()

    def renew(self) -> None:
        """Nothing is in the way."""

    def prepare(self) -> None:
        """Nothing waits for a first value."""

    def state_dict(self) -> State:
        """Nothing."""
        return {}

    def load_state_dict(self, state: State) -> list[str]:
        """Nothing is taken."""
        if GRAPH_VARIABLES not in state:
            return []
        return ["the variables of a TensorFlow graph, which only a TFTrainer has"]
