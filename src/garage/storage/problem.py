"""What is damaged or missing in a run, as a reader of all of it finds it."""

from typing import NamedTuple


class Problem(NamedTuple):
    """One value, or one file, that is not as it was written."""

    reason: str
    """What is wrong; of a value, without its path."""
    epoch: int | None = None
    """Of the snapshot whose values cannot all be read; None of files that they do without."""
    leaf: str | None = None
    """The path of a value."""
    pack: str | None = None
    """The only one that holds that value."""

    @property
    def line(self) -> str:
        """The same in words."""
        said = self.reason if self.leaf is None else f"Cannot read `{self.leaf}`: {self.reason}."
        return said if self.epoch is None else f"epoch {self.epoch}: {said}"
