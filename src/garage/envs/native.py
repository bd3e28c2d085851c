"""Which worlds have lanes of ours, and whether those may stand in for the installed gymnasium's."""

import logging
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from garage.core.ports import Lanes
from garage.envs import mujoco
from garage.envs.array_lanes import WORLDS, ArrayLanes
from garage.envs.protocol import is_number
from garage.envs.rehearsal import Moment, rehearse

_WIDTH = 64
_MUJOCO_WIDTH = 16


class NativeLanes(NamedTuple):
    """Lanes of ours for one world of gymnasium's."""

    entry_point: str
    """What the world's id has to be registered to."""
    make: Callable[[int, int | None], Lanes]
    """Makes n of them, with that max_episode_length or None."""
    width: int
    """How many are stepped together at best.

    64 where a step costs next to nothing. MuJoCo's would gain a tenth by being 64 too, but then a first collect of
    whole episodes, which starts one in each lane, takes four times as many steps.
    """


_NATIVE: Mapping[str, NativeLanes] = {
    **{world.world_id: NativeLanes(world.entry_point, partial(ArrayLanes, world), _WIDTH) for world in WORLDS},
    **{
        world_id: NativeLanes(entry_point, partial(mujoco.make_lanes, world_id), _MUJOCO_WIDTH)
        for world_id, entry_point in mujoco.ENTRY_POINTS.items()
    },
}
_N_TRIAL_STEPS = 30

_logger = logging.getLogger("garage.envs")


def native_lanes_of(env: "gymnasium.Env[Any, Any]") -> NativeLanes | None:
    """Native lanes that give the same bits as environments made like ``env``, or None.

    None for a world that has none, for one with arguments or wrappers of its own, for an id that is registered
    to something else than what the lanes mirror, and, with a warning, if a short trial finds other bits.
    """
    spec = env.spec
    if spec is None or spec.id not in _NATIVE:
        return None
    native = _NATIVE[spec.id]
    if spec.entry_point != native.entry_point or spec.kwargs or spec.additional_wrappers:
        return None
    with closing(native.make(1, None)) as lanes:
        same = _same_bits(lanes, rehearse(env, _N_TRIAL_STEPS))
    if not same:
        _logger.warning(
            "%s: gymnasium %s gives other bits than the native lanes, so its own environments are used, which is "
            "slower and exact. Please report it with the versions of gymnasium, numpy and what else the world needs.",
            spec.id,
            gymnasium.__version__,
        )
        return None
    return native


def _same_bits(lanes: Lanes, moments: list[Moment]) -> bool:
    first = np.array([0])
    for moment in moments:
        if moment.step == 0:
            if lanes.reset(first, [moment.seed])[0].tobytes() != moment.observation.tobytes():
                return False
            continue
        numbers = {key: float(value) for key, value in moment.info.items() if is_number(value)}
        transition = lanes.step(first, np.asarray(moment.action)[np.newaxis])
        if (
            transition.observations[0].tobytes() != moment.observation.tobytes()
            or transition.rewards[0] != moment.reward
            or transition.terminated[0] != moment.terminated
            or {key: values[0] for key, values in transition.infos.items()} != numbers
        ):
            return False
    return True
