"""What gymnasium's registry says of a world, for processes that have not registered it."""

import importlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import gymnasium
from gymnasium.envs import registration

_OWN = "gymnasium."


def is_gymnasiums_own(spec: registration.EnvSpec) -> bool:
    """Whether every process has it, since gymnasium registers it by itself."""
    return _module_of(spec.entry_point).startswith(_OWN)


def registration_of(env: "gymnasium.Env[Any, Any]", kwargs: Mapping[str, Any]) -> registration.EnvSpec | None:
    """What makes an environment again that was made by its id, or None if the id does everywhere.

    Args:
        env: the environment.
        kwargs: what it was made with beside its id.
    """
    made_by = env.unwrapped.spec
    spec = None if made_by is None else gymnasium.registry.get(made_by.id)
    if spec is None or is_gymnasiums_own(spec):
        return None
    return standing_alone(replace(spec, kwargs={**spec.kwargs, **kwargs}))


def standing_alone(spec: registration.EnvSpec) -> registration.EnvSpec:
    """A spec that needs no ``__main__``, which is another module in another process."""
    if not isinstance(spec.entry_point, str) or not spec.entry_point.startswith("__main__:"):
        return spec
    name = spec.entry_point.partition(":")[2]
    return replace(spec, entry_point=getattr(importlib.import_module("__main__"), name))


def _module_of(entry_point: object) -> str:
    if isinstance(entry_point, str):
        return entry_point.partition(":")[0]
    return str(getattr(entry_point, "__module__", "")) or "None"
