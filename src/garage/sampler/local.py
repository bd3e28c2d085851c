"""Groups run one after the other in this process."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from garage.core.ports import Env, Group, GroupResult, Lanes
from garage.core.types import State
from garage.sampler.in_flight import InFlight
from garage.sampler.rollout import run_group


class LocalSampler:
    """Runs groups one after the other in this process, on lanes that are kept from call to call.

    Lanes in mid-episode are kept together with what was handed out as ``carried``: a group that comes back with that
    very object finds them as they were left, any other one has them brought to where it says.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[Any, ...], _Kept] = {}

    def run(self, groups: Sequence[Group]) -> list[GroupResult]:
        """Run all groups and return their results in the same order."""
        try:
            return [self._run(group) for group in groups]
        except BaseException:  # whatever stopped them, these lanes are in the middle of something
            self.close()
            raise

    def close(self) -> None:
        """Close the lanes."""
        while self._kept:
            self._kept.popitem()[1].lanes.close()

    def _run(self, group: Group) -> GroupResult:
        place: tuple[Any, ...] = (id(group.env), group.n_lanes)
        if group.fragments and group.env.lane_width > 1:  # a world that cannot be copied has but one place
            place = (*place, *group.streams.path, group.index)
        kept = self._kept.get(place) or _Kept(group.env, group.env.make_lanes(group.n_lanes), {})
        self._kept[place] = kept._replace(carried={})
        if group.carried and kept.carried is not group.carried:
            InFlight.from_state(group.carried).put_into(kept.lanes, str(group.env))
        result = run_group(group, kept.lanes)
        self._kept[place] = kept._replace(carried=result.carried)
        return result


class _Kept(NamedTuple):
    """Lanes, and the episodes that they are in the middle of."""

    env: Env
    """Held, so that no other one gets its id."""
    lanes: Lanes
    carried: State
