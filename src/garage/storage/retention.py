"""Which epochs are saved, and which snapshots are kept: one table."""

from collections.abc import Sequence
from typing import NamedTuple

from garage.errors import ArgumentError


class _Mode(NamedTuple):
    every_epoch: bool
    """Whether every epoch is saved, or only each gap-th."""
    keeps_gaps: bool
    """Whether each gap-th snapshot is kept for ever."""


_MODES = {
    "last": _Mode(every_epoch=True, keeps_gaps=False),
    "all": _Mode(every_epoch=True, keeps_gaps=True),
    "gap": _Mode(every_epoch=False, keeps_gaps=True),
    "gap_and_last": _Mode(every_epoch=True, keeps_gaps=True),
    "gap_overwrite": _Mode(every_epoch=False, keeps_gaps=False),
    "none": _Mode(every_epoch=False, keeps_gaps=False),
}
_NEWEST_AND_SPARE = 2


class Retention:
    """Which epochs are saved, and which snapshots are kept.

    Args:
        mode: ``last`` (the newest and a spare), ``all``, ``gap`` (epochs divisible by the gap),
            ``gap_and_last`` (those, the newest and a spare), ``gap_overwrite`` (of those the newest and a spare),
            ``none``.
        gap: epochs between the snapshots of the gap modes.

    Raises:
        ArgumentError: no such mode, a gap below 1, or a gap for a mode that has none.
    """

    def __init__(self, mode: str = "last", gap: int = 1) -> None:
        if mode not in _MODES:
            msg = f"snapshot_mode must be one of {', '.join(_MODES)}; got {mode!r}."
            raise ArgumentError(msg)
        if isinstance(gap, bool) or not isinstance(gap, int) or gap < 1:
            msg = f"snapshot_gap must be an integer of at least 1, got {gap!r}."
            raise ArgumentError(msg)
        if gap != 1 and not mode.startswith("gap"):
            msg = f"snapshot_gap={gap} would be ignored by snapshot_mode={mode!r}. Use one of the gap modes."
            raise ArgumentError(msg)
        self.mode, self.gap = mode, gap

    def saves(self, epoch: int) -> bool:
        """Whether training saves that epoch by itself."""
        return self.mode != "none" and (_MODES[self.mode].every_epoch or epoch % self.gap == 0)

    def superseded(self, epochs: Sequence[int], *, requested: frozenset[int]) -> list[int]:
        """Which of the snapshots may go.

        Args:
            epochs: those that have a snapshot, ascending.
            requested: those that a user's own ``save`` asked for, which a mode that keeps gaps keeps too.
        """
        if self.mode in {"all", "gap", "none"}:
            return []
        older = epochs[:-_NEWEST_AND_SPARE]
        if not _MODES[self.mode].keeps_gaps:
            return list(older)
        return [epoch for epoch in older if epoch % self.gap and epoch not in requested]
