"""When to kill: moments spread over a run's life, found again by its progress rather than by a clock."""

import random
from collections.abc import Sequence
from typing import NamedTuple

_BEFORE = -1
_KINDS = ("computing", "saving", "line")


class Line(NamedTuple):
    """A sign of progress: an epoch begins (line 0 of it), or a line of its log."""

    at: float
    """Seconds, of the system's monotonic clock."""
    epoch: int
    """-1 before the first epoch of a process."""
    number: int
    """In its epoch."""
    text: str

    @property
    def place(self) -> tuple[int, int]:
        """Where in the run it is, whatever the clock says."""
        return self.epoch, self.number


class Moment(NamedTuple):
    """So many seconds after the first line that is at a place or beyond it."""

    place: tuple[int, int]
    delay: float


def n_epochs(lines: Sequence[Line]) -> int:
    """How many epochs a run had, by its lines."""
    return len({line.epoch for line in lines if line.epoch >= 0 and line.number > 0})


def moments(lines: Sequence[Line], n: int, rng: random.Random) -> list[Moment]:
    """So many moments of a run, in order: in its beginning, while it computes, at a line of its log, while it saves.

    Args:
        lines: those of the whole run, which has at least two epochs; the last line is its end.
        n: how many, at least 1. One of them is after the first epoch and, where there are three, before the last, so
            that there is a snapshot to go on from and something left to do.
        rng: draws them.
    """
    total = n_epochs(lines)
    kinds = [_KINDS[index % len(_KINDS)] for index in range(n)]
    rng.shuffle(kinds)
    drawn = []
    for index, kind in enumerate(kinds):
        epoch = min(total - 1, int((index + rng.random()) / n * total))
        if index == (n - 1) // 2:
            epoch = min(max(1, epoch), max(1, total - 2))
        if n > len(_KINDS) and index == n // 2 + 1:  # once, a process that has not come to its first epoch
            drawn.append(Moment((_BEFORE, 0), rng.uniform(0.0, _seconds_before(lines))))
        else:
            drawn.append(_within(lines, first_epoch(lines) + epoch, kind, rng))
    return drawn


def first_epoch(lines: Sequence[Line]) -> int:
    """The first epoch that these lines tell of."""
    return min((line.epoch for line in lines if line.epoch >= 0), default=0)


def _within(lines: Sequence[Line], epoch: int, kind: str, rng: random.Random) -> Moment:
    """A moment of an epoch."""
    begin = next(index for index, line in enumerate(lines) if line.epoch == epoch)
    end = next((index for index, line in enumerate(lines) if line.epoch > epoch), len(lines) - 1)
    saving = next((index for index in range(begin, end) if lines[index].text.startswith("Saving")), end - 1)
    if kind == "computing":
        start, stop = begin, saving
    elif kind == "saving":  # which goes on in the background
        start, stop = saving, end
    else:
        start = rng.randrange(begin, end)
        stop = start + 1
    return Moment(lines[start].place, rng.uniform(0.0, lines[stop].at - lines[start].at))


def _seconds_before(lines: Sequence[Line]) -> float:
    """From the start of a process to its first epoch."""
    return next((line.at for line in lines if line.epoch >= 0), lines[-1].at) - lines[0].at
