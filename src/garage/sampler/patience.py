"""Saying why a collect goes on for long beyond what was asked for."""

import logging
from typing import final

from garage.core.ports import Group

logger = logging.getLogger(__name__)

_UNKNOWN_LENGTHS = 4
_NO_TIME_LIMIT = 10
_FEW_STEPS = 4096
_EPISODE_STEPS = 1_000_000
_NEVER = 1 << 62


@final
class Patience:
    """Watches a group's steps; at most two lines.

    Args:
        group: what runs.
    """

    def __init__(self, group: Group) -> None:
        self._group = group
        asked = group.n_steps
        limits = []
        if asked is not None and group.mean_length <= 0 and group.index == 0:
            limits.append((max(_UNKNOWN_LENGTHS * asked, _FEW_STEPS), self._say_why))
        if group.env.spec.max_episode_length is None:
            most = _EPISODE_STEPS * group.n_lanes
            patient = most if asked is None else min(most, max(_NO_TIME_LIMIT * asked, 2 * _FEW_STEPS))
            limits.append((patient, self._say_endless))
        self._limits = sorted(limits, key=lambda limit: limit[0])

    @property
    def ends_at(self) -> int:
        """How many steps are taken in silence; then `lose` is to be called."""
        return self._limits[0][0] if self._limits else _NEVER

    def lose(self, n_steps: int) -> None:
        """So many steps have been taken: say why, and wait for the next reason."""
        _, say = self._limits.pop(0)
        say(n_steps)

    def _say_why(self, n_steps: int) -> None:
        logger.warning(
            "%s steps so far, for %s that were asked for: %d lanes play a whole episode each, since nothing is known "
            "of their lengths yet. From the next epoch on, only as many start as are needed. "
            "trainer.setup(algo, env, n_lanes=...) makes fewer lanes, and an algorithm with fragments=True cuts "
            "episodes",
            f"{n_steps:,}",
            f"{self._group.n_steps:,}",
            self._group.n_lanes,
        )

    def _say_endless(self, n_steps: int) -> None:
        asked = "" if self._group.n_steps is None else f", for {self._group.n_steps:,} that were asked for"
        logger.warning(
            "%s steps so far%s, and episodes of %s still go on. It has no time limit: if they never end, neither does "
            "this. GymEnv(world, max_episode_length=1000) truncates them",
            f"{n_steps:,}",
            asked,
            self._group.env,
        )
