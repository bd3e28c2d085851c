"""Somebody who looks at a run's objects between its epochs; as a rule, nobody does."""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TypeAlias

from garage.experiment.run_state import Run

Watcher: TypeAlias = Callable[[int, Run], None]
"""Is called with the epoch that comes next and the run's objects, which it must not change."""

_watcher: ContextVar[Watcher | None] = ContextVar("garage_watcher", default=None)


@contextlib.contextmanager
def watched_by(watcher: Watcher) -> Iterator[None]:
    """While it lasts, ``watcher`` sees the objects of a training before each epoch and after the last one."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def show(epoch: int, run: Run) -> None:
    """Let the watcher see the objects, before ``epoch`` begins."""
    watcher = _watcher.get()
    if watcher is not None:
        watcher(epoch, run)
