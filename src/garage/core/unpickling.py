"""Unpickling in a process whose script has classes of its own."""

import inspect
import io
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

_BY_VALUE = "cloudpickle.cloudpickle"


def unpickled(data: bytes) -> Any:  # noqa: ANN401 - users' own classes
    """What was pickled by cloudpickle. This runs the code that the pickle names.

    Classes that were pickled by value are made anew, as an empty script would make them, and the same ones by all calls
    in a process. cloudpickle itself would find a script's class in the process that pickled it and fill that one again:
    its methods would no longer see the script's variables, but copies of them.
    """
    return _Unpickler(io.BytesIO(data)).load()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - pickle's protocol
        found = super().find_class(module, name)
        return partial(_made_apart, found) if module == _BY_VALUE and name.startswith("_make_") else found


def _made_apart(make: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401 - see above
    call = inspect.signature(make).bind(*arguments)
    known_as = call.arguments.get("class_tracker_id")
    if known_as is not None:
        call.arguments["class_tracker_id"] = f"garage {known_as}"
    return make(*call.args, **call.kwargs)
