"""Who runs the groups of a run: whom the command line names, else the script, else this process."""

import contextlib
import logging
from collections.abc import Iterator
from contextvars import ContextVar

from garage.core.ports import Sampler
from garage.sampler.local import LocalSampler

logger = logging.getLogger(__name__)

_named_by_command: ContextVar[Sampler | None] = ContextVar("garage_sampler", default=None)


@contextlib.contextmanager
def sampling_by(sampler: Sampler | None) -> Iterator[None]:
    """While it lasts, ``sampler`` runs the groups of all runs, whatever their scripts say; None: whom they say."""
    token = _named_by_command.set(sampler)
    try:
        yield
    finally:
        _named_by_command.reset(token)


def sampler_for(*named: Sampler | None) -> Sampler:
    """Who runs the groups of a run.

    Args:
        *named: by the script, the first one that is not None counts.
    """
    of_command = _named_by_command.get()
    of_script = next((sampler for sampler in named if sampler is not None), None)
    if of_command is not None and of_script is not None:
        logger.info(
            "Sampling by a %s, as the command line says, instead of the script's %s",
            type(of_command).__name__,
            type(of_script).__name__,
        )
    return of_command or of_script or LocalSampler()
