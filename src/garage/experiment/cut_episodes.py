"""Episodes that a collect of fragments has cut: their lanes, and what they have returned so far."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from garage.core.ports import Group, GroupResult
from garage.core.state import take, take_array, take_as
from garage.core.types import Array, State
from garage.errors import MismatchError

_OWNER = "the episodes that were cut"


@dataclass(frozen=True)
class _Cut:
    """Of one group: k episodes in the order in which they were cut."""

    lanes: State
    returns: Array
    discounted_returns: Array


class CutEpisodes:
    """What groups hand to their next calls, by purpose and group.

    Args:
        discount: of discounted returns.
    """

    def __init__(self, discount: float) -> None:
        self._discount = discount
        self._cuts: dict[str, dict[int, _Cut]] = {}

    def lanes(self, purpose: str, index: int) -> State:
        """What a group of that purpose goes on with."""
        cut = self._cuts.get(purpose, {}).get(index)
        return {} if cut is None else cut.lanes

    @property
    def rung(self) -> str | None:
        """How they go on in another process; None if there are none."""
        worlds = (cut.lanes["world"] for cuts in self._cuts.values() for cut in cuts.values())
        return next((rung for world in worlds if isinstance(world, dict) for rung in world), None)

    def go_on(self, groups: Sequence[Group], results: Sequence[GroupResult], sums: Array, discounted: Array) -> None:
        """Add to the sums of each segment what its episode had returned before, and keep those that were cut.

        Args:
            groups: of one collect of fragments; their streams say the purpose.
            results: theirs.
            sums: ``[E]``, of the rewards of all their segments; changed in place.
            discounted: ``[E]``, likewise.
        """
        first = 0
        for group, result in zip(groups, results, strict=True):
            batch, cuts = result.batch, self._cuts.setdefault(_purpose(group), {})
            of_group = slice(first, first + batch.n_segments)
            first += batch.n_segments
            before = cuts.pop(group.index, None)
            if before is not None:
                goes_on = slice(of_group.start, of_group.start + len(before.returns))
                sums[goes_on] += before.returns
                steps = batch.first_steps[: len(before.returns)]
                discounted[goes_on] = before.discounted_returns + self._discount**steps * discounted[goes_on]
            if result.carried:
                is_cut = ~batch.episode_ended
                cuts[group.index] = _Cut(result.carried, sums[of_group][is_cut], discounted[of_group][is_cut])

    def state_dict(self) -> State:
        """See `garage.core.ports.Stateful`; empty if there are none."""
        return {
            purpose: {
                str(index): {
                    "lanes": cut.lanes,
                    "returns": cut.returns,
                    "discounted_returns": cut.discounted_returns,
                }
                for index, cut in cuts.items()
            }
            for purpose, cuts in self._cuts.items()
            if cuts
        }

    def load_state_dict(self, state: State) -> None:
        """See `garage.core.ports.Stateful`."""
        cuts: dict[str, dict[int, _Cut]] = {}
        for purpose in state:
            of_purpose = take_as(state, purpose, _OWNER, dict)
            for index in of_purpose:
                if not index.isdecimal():
                    msg = f"Cannot load the state of {_OWNER}: `{purpose}/{index}` is no index of a group."
                    raise MismatchError(msg)
                cut = take_as(of_purpose, index, _OWNER, dict)
                lanes = take_as(cut, "lanes", _OWNER, dict)
                shape = (len(take_as(lanes, "lanes", _OWNER, np.ndarray)),)
                take(lanes, "world", _OWNER)
                cuts.setdefault(purpose, {})[int(index)] = _Cut(
                    lanes,
                    take_array(cut, "returns", _OWNER, np.float64, shape),
                    take_array(cut, "discounted_returns", _OWNER, np.float64, shape),
                )
        self._cuts = cuts


def _purpose(group: Group) -> str:
    return str(group.streams.path[-1])
