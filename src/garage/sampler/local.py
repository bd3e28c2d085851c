"""Groups run one after the other in this process."""

from collections.abc import Sequence

from garage.core.ports import Env, Group, GroupResult, Lanes
from garage.sampler.rollout import run_group


class LocalSampler:
    """Runs groups one after the other in this process, on lanes that are kept from call to call."""

    def __init__(self) -> None:
        self._lanes: list[tuple[Env, int, Lanes]] = []

    def run(self, groups: Sequence[Group]) -> list[GroupResult]:
        """Run all groups and return their results in the same order."""
        try:
            return [run_group(group, self._lanes_of(group.env, group.n_lanes)) for group in groups]
        except BaseException:  # whatever stopped them, these lanes are in the middle of something
            self.close()
            raise

    def close(self) -> None:
        """Close the lanes."""
        while self._lanes:
            self._lanes.pop()[2].close()

    def _lanes_of(self, env: Env, n: int) -> Lanes:
        for owner, width, lanes in self._lanes:
            if owner is env and width == n:
                return lanes
        lanes = env.make_lanes(n)
        self._lanes.append((env, n, lanes))
        return lanes
