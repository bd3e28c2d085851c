"""Which worlds have NumPy lanes, and whether those may stand in for the installed gymnasium's."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import gymnasium
import numpy as np

from garage.core.ports import Lanes
from garage.envs import acrobot_lanes, cartpole_lanes, mountain_car_lanes, pendulum_lanes
from garage.envs.rehearsal import Moment, rehearse

NativeLanes: TypeAlias = Callable[[int, int | None], Lanes]

_NATIVE: Mapping[str, tuple[str, NativeLanes]] = {
    cartpole_lanes.WORLD_ID: (cartpole_lanes.ENTRY_POINT, cartpole_lanes.CartPoleLanes),
    pendulum_lanes.WORLD_ID: (pendulum_lanes.ENTRY_POINT, pendulum_lanes.PendulumLanes),
    acrobot_lanes.WORLD_ID: (acrobot_lanes.ENTRY_POINT, acrobot_lanes.AcrobotLanes),
    mountain_car_lanes.WORLD_ID: (mountain_car_lanes.ENTRY_POINT, mountain_car_lanes.MountainCarLanes),
    mountain_car_lanes.CONTINUOUS_WORLD_ID: (
        mountain_car_lanes.CONTINUOUS_ENTRY_POINT,
        mountain_car_lanes.MountainCarContinuousLanes,
    ),
}
_N_TRIAL_STEPS = 30

_logger = logging.getLogger("garage.envs")


def native_lanes_of(env: "gymnasium.Env[Any, Any]") -> NativeLanes | None:
    """NumPy lanes of (n, max_episode_length) that give the same bits as environments made like ``env``, or None.

    None for a world that has none, for one with arguments or wrappers of its own, for an id that is registered
    to something else than what the lanes mirror, and, with a warning, if a short trial finds other bits.
    """
    spec = env.spec
    if spec is None or spec.id not in _NATIVE:
        return None
    entry_point, native_lanes = _NATIVE[spec.id]
    if spec.entry_point != entry_point or spec.kwargs or spec.additional_wrappers:
        return None
    if not _same_bits(native_lanes(1, None), rehearse(env, _N_TRIAL_STEPS)):
        _logger.warning(
            "%s: gymnasium %s gives other bits than the NumPy lanes, so its own environments are used, which is slower "
            "and exact. Please report it with the versions of gymnasium and numpy.",
            spec.id,
            gymnasium.__version__,
        )
        return None
    return native_lanes


def _same_bits(lanes: Lanes, moments: list[Moment]) -> bool:
    first = np.array([0])
    for moment in moments:
        if moment.step == 0:
            if lanes.reset(first, [moment.seed])[0].tobytes() != moment.observation.tobytes():
                return False
            continue
        transition = lanes.step(first, np.asarray(moment.action)[np.newaxis])
        if (
            transition.observations[0].tobytes() != moment.observation.tobytes()
            or transition.rewards[0] != moment.reward
            or transition.terminated[0] != moment.terminated
        ):
            return False
    return True
