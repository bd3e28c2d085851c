"""Pickling worlds and policies for workers, and naming what cannot be pickled."""

import copyreg
import io
import logging
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from types import FunctionType, MethodType
from typing import Any

import cloudpickle
import gymnasium

from garage.core.ports import Env, Policy, Stateful
from garage.core.recipe import Component
from garage.core.registrations import is_gymnasiums_own, standing_alone
from garage.core.types import State
from garage.errors import GarageError, UnsendableError, WorldError
from garage.sampler.actors import actor_call

logger = logging.getLogger(__name__)

PROTOCOL = 5
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type)


def pickled_env(env: Env) -> bytes:
    """A world as bytes: by its constructor call, and its state if it has one.

    Raises:
        UnsendableError: something in it cannot be pickled; the message names it by its path.
    """
    return _pickled("env", env, keeps_learned=False)


def pickled_policy(policy: Policy) -> bytes:
    """What of a policy acts, as bytes, with its present parameters.

    Raises:
        UnsendableError: something in it cannot be pickled; the message names it by its path.
        OrderError: it has no parameters yet.
    """
    return _pickled("policy", policy, keeps_learned=True)


def pickled_registrations() -> bytes:
    """The worlds that are registered in this process beside gymnasium's own; scripts register theirs when they run."""
    return _registrations(tuple((name, id(spec)) for name, spec in gymnasium.registry.items()))


def register_worlds(pickled: bytes) -> None:
    """Register those of another process that are not registered in this one yet."""
    for part in cloudpickle.loads(pickled):
        try:
            spec = unpickled("a registered world", part)
        except (
            UnsendableError
        ) as error:  # most likely no world of these groups; if it is, it is missed where it is made
            logger.debug("%s", error)
        else:
            gymnasium.registry.setdefault(spec.id, spec)


def unpickled(what: str, pickled: bytes) -> Any:  # noqa: ANN401 - users' own classes
    """The inverse, in a worker.

    Raises:
        UnsendableError: it cannot be rebuilt there.
        WorldError: the world cannot be made there.
    """
    try:
        return cloudpickle.loads(pickled)
    except WorldError:
        raise
    except Exception as error:
        msg = (
            f"Cannot rebuild {what} in a worker: {type(error).__name__}: {error}. A worker has the trainer's sys.path, "
            "working directory and environment variables, and none of what else a script does when it runs."
        )
        raise UnsendableError(msg) from error


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc] # cloudpickle has no types
    """A component goes by its constructor call and its state, an MLP policy of ours by what of it acts."""

    def __init__(self, file: io.BytesIO, *, keeps_learned: bool) -> None:
        super().__init__(file, protocol=PROTOCOL)
        self._keeps_learned = keeps_learned

    def reducer_override(self, obj: Any) -> Any:  # noqa: ANN401 - pickle's protocol
        if isinstance(obj, Component):
            actor = actor_call(obj)
            if actor is not None:
                return actor
            if isinstance(obj, Stateful):
                call, arguments = obj.__reduce__()
                return _with_state, (call, arguments, obj.state_dict())
            if self._keeps_learned:
                return copyreg.__newobj__, (type(obj),), vars(obj)  # type: ignore[attr-defined] # the stub lacks it
        return super().reducer_override(obj)


def _with_state(call: Callable[..., Any], arguments: tuple[Any, ...], state: State) -> Any:  # noqa: ANN401 - see above
    made = call(*arguments)
    made.load_state_dict(state)
    return made


def _pickled(path: str, thing: object, *, keeps_learned: bool) -> bytes:
    def dumps(part: object) -> bytes:
        file = io.BytesIO()
        _Pickler(file, keeps_learned=keeps_learned).dump(part)
        return file.getvalue()

    try:
        return dumps(thing)
    except GarageError:
        raise
    except Exception as error:
        place, reason = _culprit(path, thing, error, dumps)
        msg = (
            f"Cannot send {thing} to a worker: `{place}` cannot be pickled: {type(reason).__name__}: {reason}. Make it "
            "when it is first used, or pass what makes it, for example GymEnv(lambda: MyWorld()); or sample in this "
            "process, without workers."
        )
        raise UnsendableError(msg) from error


def _culprit(path: str, thing: object, error: Exception, dumps: Callable[[object], bytes]) -> tuple[str, Exception]:
    """The innermost part that cannot be pickled by itself, by its path."""
    seen = {id(thing)}
    while True:
        for child_path, child in _children(path, thing):
            if id(child) in seen or isinstance(child, _PLAIN):
                continue
            seen.add(id(child))
            try:
                dumps(child)
            except Exception as reason:  # noqa: BLE001 - whatever users' classes raise
                path, thing, error = child_path, child, reason
                break
        else:
            return path, error


def _children(path: str, thing: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - users' own classes
    if isinstance(thing, Component):
        _, (_, arguments, options) = thing.__reduce__()
        yield from ((f"{path}({index})", value) for index, value in enumerate(arguments))
        yield from ((f"{path}({name}=)", value) for name, value in options.items())
    if isinstance(thing, Mapping):
        yield from ((f"{path}[{key!r}]", value) for key, value in thing.items())
    elif isinstance(thing, list | tuple | set | frozenset):
        yield from ((f"{path}[{index}]", value) for index, value in enumerate(thing))
    elif isinstance(thing, MethodType):
        yield f"{path}.__self__", thing.__self__
    elif isinstance(thing, FunctionType):
        for name, cell in zip(thing.__code__.co_freevars, thing.__closure__ or (), strict=True):
            yield f"{path}'s {name}", cell.cell_contents
        used = (name for name in thing.__code__.co_names if name in thing.__globals__)
        yield from ((f"{path}'s {name}", thing.__globals__[name]) for name in used)
    else:
        yield from ((f"{path}.{name}", value) for name, value in getattr(thing, "__dict__", {}).items())


@lru_cache(maxsize=1)
def _registrations(names: tuple[tuple[str, int], ...]) -> bytes:
    pickles = []
    for name, _ in names:
        spec = gymnasium.registry[name]
        if not is_gymnasiums_own(spec):
            try:
                pickles.append(_pickled(f"gymnasium.registry[{name!r}]", standing_alone(spec), keeps_learned=False))
            except UnsendableError as error:  # see `register_worlds`
                logger.debug("%s", error)
    return bytes(cloudpickle.dumps(pickles, protocol=PROTOCOL))
