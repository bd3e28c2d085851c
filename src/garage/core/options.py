"""Ranges of options: what each must be, in words and as a check."""

import math
import numbers
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from garage.errors import ArgumentError


class Range(NamedTuple):
    """What an option may be."""

    expected: str
    """In words, after "must be"."""
    includes: Callable[[Any], bool]


def plain(value: Any) -> Any:  # noqa: ANN401 - whatever a user passes
    """A scalar of NumPy as Python's own, which can be written down; all else as it is."""
    return value.item() if isinstance(value, np.generic) else value


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real)


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= least


FRACTION = Range("within [0, 1]", lambda value: _is_number(value) and 0 <= value <= 1)
INNER_FRACTION = Range("within (0, 1)", lambda value: _is_number(value) and 0 < value < 1)
POSITIVE = Range("above 0 and finite", lambda value: _is_number(value) and 0 < value < math.inf)
POSITIVE_OR_INFINITE = Range("above 0", lambda value: _is_number(value) and value > 0)
NOT_NEGATIVE = Range("at least 0 and finite", lambda value: _is_number(value) and 0 <= value < math.inf)
COUNT = Range("an integer of at least 1", lambda value: _is_count(value, 1))
COUNT_OR_ZERO = Range("an integer of at least 0", lambda value: _is_count(value, 0))
COUNT_OR_NONE = Range("an integer of at least 1, or None", lambda value: value is None or _is_count(value, 1))
TEXT = Range("a str", lambda value: isinstance(value, str))
TEXT_OR_NONE = Range("a str, or None", lambda value: value is None or isinstance(value, str))
SWITCH = Range("True or False", lambda value: isinstance(value, bool))


def check(owner: str, **options: tuple[object, Range]) -> None:
    """Check that each option is within its range.

    Args:
        owner: whose options they are, for the message.
        options: by name, the value and its range.

    Raises:
        ArgumentError: naming the first option that is not.
    """
    for name, (value, allowed) in options.items():
        if not allowed.includes(value):
            msg = f"{owner}'s {name} must be {allowed.expected}, got {value!r}."
            raise ArgumentError(msg)
