"""Times as people say them."""

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def in_words(seconds: float, *, n_units: int = 2) -> str:
    """A time in its largest units, such as ``2 h 5 min``; whole seconds, and no unit of which there is none.

    Args:
        seconds: at least 0.
        n_units: how many units, one beside the other.
    """
    left = int(seconds)
    first = next((index for index, (_, size) in enumerate(_UNITS) if left >= size), len(_UNITS) - 1)
    said = []
    for unit, size in _UNITS[first : first + n_units]:
        n, left = divmod(left, size)
        said.append(f"{n} {unit}" if n else "")
    return " ".join(filter(None, said)) or "0 s"
