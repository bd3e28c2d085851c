"""Values as run directories keep them: equal ones look equal in every process."""

import math
import re
from collections.abc import Mapping
from types import FunctionType
from typing import Any

from garage.core.options import plain

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def without_addresses(text: str) -> str:
    """A representation without what is another one in each process."""
    return _ADDRESS.sub("", text)


def representation(value: object) -> str:
    """A value's ``repr``, without addresses, and sets in the order of their elements' own."""
    if isinstance(value, set | frozenset) and value:
        elements = f"{{{', '.join(sorted(map(representation, value)))}}}"
        return elements if isinstance(value, set) else f"frozenset({elements})"
    return without_addresses(repr(value))


def as_json(value: Any) -> Any:  # noqa: ANN401 - whatever a user passes
    """An argument as JSON keeps it; what JSON lacks, by its representation."""
    if isinstance(value, type | FunctionType):
        return f"{value.__module__}:{value.__qualname__}"
    if isinstance(value, list | tuple):
        return [as_json(element) for element in value]
    if isinstance(value, Mapping):
        return {str(key): as_json(element) for key, element in value.items()}
    return _scalar(plain(value))


def _scalar(value: object) -> bool | int | float | str | None:
    """One of JSON's kinds, without what subclasses add to them."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float) and math.isfinite(value):
        return float.__float__(value)
    return str.__str__(value) if isinstance(value, str) else representation(value)
