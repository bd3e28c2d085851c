"""The values of JSON that a state tree may hold; apart from `garage.core.types`, which needs NumPy."""

from typing import TypeAlias

Scalar: TypeAlias = bool | int | float | str | None
