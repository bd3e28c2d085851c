"""Which epochs are saved, and which snapshots are kept: one table."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

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
_DROPPING = ("last", "gap_and_last", "gap_overwrite")
_NEWEST_AND_SPARE = 2
AFTER_ITS_EPOCH = "EvaluationGreedy/"
"""Metrics below it are of the policy that an epoch has led to: by them a row judges the snapshot of its own epoch."""


class Settings(Protocol):
    """What says which snapshots are kept, wherever it is written down."""

    @property
    def snapshot_mode(self) -> str:
        """See `Retention`."""
        ...

    @property
    def snapshot_gap(self) -> int:
        """See `Retention`."""
        ...

    @property
    def snapshot_seconds(self) -> float | None:
        """See `Retention`."""
        ...

    @property
    def keep_best(self) -> str | None:
        """See `Retention`."""
        ...


class Retention:
    """Which epochs are saved, and which snapshots are kept.

    Args:
        mode: ``last`` (the newest and a spare), ``all``, ``gap`` (epochs divisible by the gap),
            ``gap_and_last`` (those, the newest and a spare), ``gap_overwrite`` (of those the newest and a spare),
            ``none``.
        gap: epochs between the snapshots of the gap modes.
        seconds: save at most one snapshot in so many seconds; which epochs are saved then depends on the clock, what
            they hold does not.
        keep_best: the metric whose best snapshot is kept besides, such as ``Evaluation/AverageReturn``. A snapshot is
            judged by the row of the epoch after it, whose episodes its policy collected; or by that of its own epoch,
            if the metric lies below ``EvaluationGreedy/``.

    Raises:
        ArgumentError: no such mode, a value out of range, or an option that the mode would ignore.
    """

    def __init__(
        self, mode: str = "last", gap: int = 1, *, seconds: float | None = None, keep_best: str | None = None
    ) -> None:
        if mode not in _MODES:
            msg = f"snapshot_mode must be one of {', '.join(_MODES)}; got {mode!r}."
            raise ArgumentError(msg)
        if isinstance(gap, bool) or not isinstance(gap, int) or gap < 1:
            msg = f"snapshot_gap must be an integer of at least 1, got {gap!r}."
            raise ArgumentError(msg)
        if gap != 1 and not mode.startswith("gap"):
            msg = f"snapshot_gap={gap} would be ignored by snapshot_mode={mode!r}. Use one of the gap modes."
            raise ArgumentError(msg)
        is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if seconds is not None and not (is_number and 0.0 < seconds < math.inf):
            msg = f"snapshot_seconds must be a finite number above 0, or None; got {seconds!r}."
            raise ArgumentError(msg)
        if seconds is not None and mode == "none":
            msg = f"snapshot_seconds={seconds} would be ignored by snapshot_mode='none'. Use another mode."
            raise ArgumentError(msg)
        if keep_best is not None and mode not in _DROPPING:
            msg = (
                f"keep_best={keep_best!r} would be ignored by snapshot_mode={mode!r}, which drops nothing that it "
                f"has saved. Use one of: {', '.join(_DROPPING)}."
            )
            raise ArgumentError(msg)
        self.mode, self.gap, self.seconds, self.keep_best = mode, gap, seconds, keep_best

    @property
    def drops(self) -> bool:
        """Whether any snapshot is ever superseded."""
        return self.mode in _DROPPING

    def saves(self, epoch: int, *, seconds_since_last: float = math.inf) -> bool:
        """Whether training saves that epoch by itself.

        Args:
            epoch: which.
            seconds_since_last: since the last snapshot of this training; by default long enough.
        """
        if self.mode == "none" or (self.seconds is not None and seconds_since_last < self.seconds):
            return False
        return _MODES[self.mode].every_epoch or epoch % self.gap == 0

    def superseded(
        self, epochs: Sequence[int], *, requested: frozenset[int], judgements: Mapping[int, float] | None = None
    ) -> list[int]:
        """Which of the snapshots may go.

        Args:
            epochs: those that have a snapshot, ascending.
            requested: those that a user's own ``save`` asked for, which a mode that keeps gaps keeps too.
            judgements: `keep_best` in the row of each epoch.
        """
        if not self.drops:
            return []
        best = None if self.keep_best is None else best_of(epochs, judgements or {}, lag_of(self.keep_best))
        older = [epoch for epoch in epochs[:-_NEWEST_AND_SPARE] if epoch != best]
        if not _MODES[self.mode].keeps_gaps:
            return older
        return [epoch for epoch in older if epoch % self.gap and epoch not in requested]


def lag_of(metric: str) -> int:
    """How many epochs after a snapshot the row comes that judges it."""
    return 0 if metric.startswith(AFTER_ITS_EPOCH) else 1


def best_of(epochs: Sequence[int], judgements: Mapping[int, float], lag: int = 1) -> int | None:
    """The epoch whose snapshot is the best; of equal ones the earlier, and None if none was judged.

    Args:
        epochs: those that have a snapshot, ascending.
        judgements: a metric in the row of each epoch.
        lag: see `lag_of`; by default a row judges the snapshot of the epoch before, whose policy collected the row's
            episodes.
    """
    judged = {epoch: judgements.get(epoch + lag, math.nan) for epoch in epochs}
    finite = [epoch for epoch in epochs if math.isfinite(judged[epoch])]
    return max(finite, key=lambda epoch: judged[epoch], default=None)


def retention_of(settings: Settings) -> Retention:
    """The retention that some settings ask for.

    Raises:
        ArgumentError: see `Retention`.
    """
    return Retention(
        settings.snapshot_mode,
        settings.snapshot_gap,
        seconds=settings.snapshot_seconds,
        keep_best=settings.keep_best,
    )
