"""A component pickles as its constructor call.

One rule replaces a ``__getstate__`` per class: what a component *is* is the call that made it, and what
it has *learned* is its `state_dict`. So a recipe stays small, survives the renaming of private
attributes, and never carries a framework's handles.
"""

import copy
from typing import Any, Self


class Component:
    """Base of everything that is part of an experiment's recipe."""

    _constructor_call: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Remember the call."""
        self = super().__new__(cls)
        self._constructor_call = (args, kwargs)
        return self

    def __copy__(self) -> Self:
        """A copy with everything that this one has learned."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A copy with everything that this one has learned, which shares nothing with it."""
        other = object.__new__(type(self))
        memo[id(self)] = other
        other.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return other

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the constructor call."""
        args, kwargs = self._constructor_call
        return _call, (type(self), args, kwargs)


def _call(cls: type[Component], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Component:
    return cls(*args, **kwargs)
