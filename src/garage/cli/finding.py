"""What ``garage doctor`` finds."""

from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    """How bad it is."""

    FINE = "fine"
    NOTE = "note"
    """Good to know, or missing where nothing may need it."""
    PROBLEM = "problem"
    """Something of garage does not work, or not as it should."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    about: str
    verdict: Verdict
    found: str
    next_step: str | None = None
    """What to do about it."""


def fine(about: str, found: str) -> Finding:
    """Nothing to do."""
    return Finding(about=about, verdict=Verdict.FINE, found=found)


def note(about: str, found: str, next_step: str | None = None) -> Finding:
    """Nothing that has to be done."""
    return Finding(about=about, verdict=Verdict.NOTE, found=found, next_step=next_step)


def problem(about: str, found: str, next_step: str) -> Finding:
    """To be mended."""
    return Finding(about=about, verdict=Verdict.PROBLEM, found=found, next_step=next_step)
