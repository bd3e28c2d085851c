"""Groups in a form that travels to another process, machine or Ray actor, and their results on the way back.

::

    packed = packer.pack(groups)                           # the trainer's side: once a collect, a `Packer` a sampler
    outcome = bench.run(packed.groups[0], packed.parts)    # a worker's side: a `Workbench` a worker, kept
    result = outcome.result()                              # the trainer's side again; raises what was raised

World, policy and registered worlds are *parts*: pickled once a collect and named by the hash of their bytes. A
workbench keeps those it used last, so ``parts`` need hold only what it has not seen: a `Shelf` that is asked for the
same names in the same order knows what that is. To give it all of them every time is always right.

Everything here pickles with protocol 5, arrays beside the rest if the pickler has a ``buffer_callback``. A group is a
pure function of its fields, so it may be run again anywhere, any number of times, with the same bits; a bench that
gets back what it had handed out as ``carried`` goes on in its own lanes, any other brings lanes to where that says.

What decides over bits besides, a worker has to have from its start: the trainer's environment variables (portable
mode is made of them), versions and kind of CPU. Threads and settings of frameworks come with each group.
"""

import contextlib
import logging
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Generic, NoReturn, TypeAlias, TypeVar, final

import cloudpickle
from blake3 import blake3

from garage import process
from garage.core.ports import Env, Group, GroupResult, Lanes, Policy, Rung, Stateful
from garage.core.state import copied, differences
from garage.core.types import Array, EnvSpec, State, Transition
from garage.core.unpickling import unpickled as rebuilt
from garage.errors import GarageError, UnsendableError, WorkerRaisedError
from garage.sampler.in_flight import InFlight
from garage.sampler.local import LocalSampler
from garage.sampler.pickling import (
    PROTOCOL,
    pickled_env,
    pickled_policy,
    pickled_registrations,
    register_worlds,
    unpickled,
)

T = TypeVar("T")
Progress: TypeAlias = Callable[[int], None]

MOST_WORLDS = 8
MOST_POLICIES = 4
_MOST_SEEDS = 64
_PARTS = ("env", "policy")


@dataclass(frozen=True)
class PackedGroup:
    """A group whose world and policy are named.

    Attributes:
        env: name of the part.
        policy: likewise.
        registrations: likewise, of the worlds that are registered where the group comes from.
        n_threads: to compute with.
        values: the group's other fields, by name.
    """

    env: str
    policy: str
    registrations: str
    n_threads: int
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Packed:
    """The groups of a collect.

    Attributes:
        groups: in their order.
        parts: what they are made of, pickled, by name.
    """

    groups: Sequence[PackedGroup]
    parts: Mapping[str, bytes]


@final
class Packer:
    """Packs the groups of one collect after the other; a world is pickled again if it is another one, or has state."""

    def __init__(self) -> None:
        self._env: Env | None = None
        self._env_part = ("", b"")

    def pack(self, groups: Sequence[Group]) -> Packed:
        """Groups as they travel.

        Raises:
            UnsendableError: a world or a policy cannot be pickled; the message names what of it.
            OrderError: a policy has no parameters yet.
        """
        parts: dict[str, bytes] = {}
        policies: dict[int, str] = {}  # by identity: the groups of a collect have one

        def added(part: tuple[str, bytes]) -> str:
            parts[part[0]] = part[1]
            return part[0]

        def packed(group: Group) -> PackedGroup:
            if id(group.policy) not in policies:
                policies[id(group.policy)] = added(_as_part(pickled_policy(group.policy)))
            return PackedGroup(
                env=added(self._part_of(group.env)),
                policy=policies[id(group.policy)],
                registrations=registrations,
                n_threads=process.computing_threads() or 1,
                values={field.name: getattr(group, field.name) for field in fields(group) if field.name not in _PARTS},
            )

        registrations = added(_as_part(pickled_registrations()))
        return Packed([packed(group) for group in groups], parts)

    def _part_of(self, env: Env) -> tuple[str, bytes]:
        if env is not self._env or isinstance(env, Stateful):
            self._env_part, self._env = _as_part(pickled_env(env)), env
        return self._env_part


@final
class Shelf(Generic[T]):
    """The things that were asked for last, by name.

    Args:
        size: how many.
    """

    def __init__(self, size: int) -> None:
        self._size, self._things = size, dict[str, T]()

    def __contains__(self, name: str) -> bool:
        return name in self._things

    def ask(self, name: str, make: Callable[[], T]) -> T:
        """The thing of a name; made if it is not there."""
        thing = self._things.pop(name) if name in self._things else make()
        self._things[name] = thing
        return thing

    def overdue(self) -> list[T]:
        """Take out what was not asked for for the longest time, if there are more than ``size``."""
        names = list(self._things)[: -self._size]
        return [self._things.pop(name) for name in names]

    def empty(self) -> list[T]:
        """Take out everything."""
        things = list(self._things.values())
        self._things.clear()
        return things


@dataclass(frozen=True)
class Failure:
    """What was raised in a worker.

    Attributes:
        errors: an error of ours and its cause, each pickled; None for what cannot be.
        message: the error's.
        traceback: the worker's, as text.
    """

    errors: tuple[bytes | None, bytes | None]
    message: str
    traceback: str

    @classmethod
    def of(cls, error: GarageError) -> "Failure":
        """What was caught."""
        pickles = (_pickled_error(error), _pickled_error(error.__cause__))
        return cls(pickles, str(error), "".join(traceback.format_exception(error)))

    def reraise(self) -> NoReturn:
        """Raise it in this process.

        Raises:
            GarageError: the error, with its cause and the worker's traceback.
        """
        ours, cause = (None if pickled is None else rebuilt(pickled) for pickled in self.errors)
        error: GarageError = WorkerRaisedError(self.message) if ours is None else ours
        error.__cause__ = WorkerTraceback(self.traceback) if cause is None else cause
        if cause is not None:
            cause.__cause__ = WorkerTraceback(self.traceback)
        raise error


class WorkerTraceback(Exception):  # noqa: N818 - it is never raised
    """The cause of an error that comes from a worker: where it was raised there."""

    def __str__(self) -> str:
        return f"\n\nIn the worker:\n{self.args[0]}"


@dataclass(frozen=True)
class Outcome:
    """What became of a group.

    Attributes:
        value: its result, or what was raised.
        lines: what the worker logged meanwhile: logger, level and message.
    """

    value: GroupResult | Failure
    lines: Sequence[tuple[str, int, str]] = ()

    def result(self) -> GroupResult:
        """The result.

        Raises:
            GarageError: what the group raised in the worker.
        """
        if isinstance(self.value, Failure):
            self.value.reraise()
        return self.value


@final
class Workbench:
    """Where a worker runs groups, one after the other; it keeps lanes, worlds and policies for the next ones.

    Args:
        progress: called before each call of a lane's `reset` or `step` with the number of episodes that the group has
            started so far.
    """

    def __init__(self, progress: Progress = lambda n_started: None) -> None:  # noqa: ARG005 - the default looks at nothing
        self._progress = progress
        self._worlds: Shelf[_World] = Shelf(MOST_WORLDS)
        self._policies: Shelf[Policy] = Shelf(MOST_POLICIES)
        self._settings = contextlib.ExitStack()
        self._computes_with: tuple[int, int] | None = None
        self._registrations = ""

    def run(self, packed: PackedGroup, parts: Mapping[str, bytes]) -> Outcome:
        """Run a group; whatever it raises is in the outcome.

        Args:
            packed: the group.
            parts: at least those of its parts that this bench has not got.
        """
        with _heard() as lines:
            try:
                value: GroupResult | Failure = self._run(packed, parts)
            except GarageError as error:
                value = Failure.of(error)
        return Outcome(value, tuple(lines))

    def close(self) -> None:
        """Close all lanes, and compute as before."""
        for world in self._worlds.empty():
            world.close()
        self._policies.empty()
        self._settings.close()
        self._computes_with = None

    def _run(self, packed: PackedGroup, parts: Mapping[str, bytes]) -> GroupResult:
        if packed.registrations != self._registrations:
            register_worlds(_part(packed.registrations, parts))
            self._registrations = packed.registrations
        world = self._worlds.ask(packed.env, lambda: self._world(_part(packed.env, parts)))
        policy: Policy = self._policies.ask(packed.policy, lambda: unpickled("the policy", _part(packed.policy, parts)))
        for old in self._worlds.overdue():
            old.close()
        self._policies.overdue()
        self._compute_with(packed.n_threads)
        group = Group(env=world.env, policy=policy, **packed.values)
        try:
            return world.run(group)
        except GarageError:
            raise
        except BaseException as error:  # a world that exits or interrupts itself must not take its worker along
            raise WorkerRaisedError(raised(group, error, world.env.n_started)) from error

    def _world(self, pickled: bytes) -> "_World":
        return _World(_WatchedEnv(unpickled("the environment", pickled), self._progress))

    def _compute_with(self, n_threads: int) -> None:
        """As the trainer's process computes, also with frameworks that world or policy have just imported."""
        process.import_loaded_frameworks()
        wanted = (n_threads, len(process.frameworks()))
        if wanted != self._computes_with:
            self._settings.close()
            self._settings.enter_context(process.computing(n_threads))
            self._computes_with = wanted


def describe(group: Group, n_started: int) -> str:
    """A group in words, with the seeds of the episodes that it had in its lanes so far, the last one first.

    Args:
        group: which.
        n_started: how many episodes it has started, carried ones not counted.
    """
    addresses = [(group.epoch, group.call, ordinal) for ordinal in range(n_started)]
    if group.carried:
        cut = InFlight.from_state(group.carried)
        addresses[:0] = zip(cut.epochs.tolist(), cut.calls.tolist(), cut.episodes.tolist(), strict=True)
    last = [group.streams.at(epoch, call, group.index).world_seed(n) for epoch, call, n in addresses[-_MOST_SEEDS:]]
    said = ", ".join(map(str, last[::-1])) + (", …" if len(addresses) > _MOST_SEEDS else "")
    episodes = f"in one of the episodes with the seeds {said}" if last else "before its first episode"
    return f"group {group.index} of epoch {group.epoch} ({group.streams.path[-1]}), {episodes}"


def raised(group: Group, error: BaseException, n_started: int) -> str:
    """What to say of an exception that is none of ours."""
    return (
        f"A worker raised {type(error).__name__}: {error}, in {describe(group, n_started)}. Nothing of this batch is "
        "used and every snapshot is intact: mend it and continue the run."
    )


class _World:
    """A world on a bench, its lanes, and what was handed out as carried."""

    def __init__(self, env: "_WatchedEnv") -> None:
        self.env = env
        self._sampler = LocalSampler()
        self._handed_out: dict[tuple[Any, ...], State] = {}

    def run(self, group: Group) -> GroupResult:
        self.env.n_started = 0
        place = (*group.streams.path, group.index)
        own = self._handed_out.pop(place, {})
        if group.carried:
            # The very object by which the lanes here are known; or a copy, for what has travelled may be read-only.
            is_own = bool(own) and not differences(own, group.carried)
            group = replace(group, carried=own if is_own else copied(group.carried))
        result = self._sampler.run([group])[0]
        if result.carried:
            self._handed_out[place] = result.carried
        return result

    def close(self) -> None:
        self._sampler.close()


class _WatchedEnv:
    """A world whose lanes say that they go on; see `garage.core.ports.Env`."""

    def __init__(self, env: Env, progress: Progress) -> None:
        self._env, self.progress = env, progress
        self.n_started = 0

    @property
    def spec(self) -> EnvSpec:
        return self._env.spec

    @property
    def lane_width(self) -> int:
        return self._env.lane_width

    def make_lanes(self, n: int) -> Lanes:
        return _WatchedLanes(self, self._env.make_lanes(n))

    def with_task(self, task: object) -> Env:
        return _WatchedEnv(self._env.with_task(task), self.progress)

    def __str__(self) -> str:
        return str(self._env)


class _WatchedLanes:
    """See `garage.core.ports.Lanes`."""

    def __init__(self, env: _WatchedEnv, lanes: Lanes) -> None:
        self._env, self._lanes = env, lanes
        self.n = lanes.n

    def reset(self, lanes: Array, seeds: Sequence[int]) -> Array:
        self._env.n_started += len(seeds)
        self._env.progress(self._env.n_started)
        return self._lanes.reset(lanes, seeds)

    def step(self, lanes: Array, actions: Array) -> Transition:
        self._env.progress(self._env.n_started)
        return self._lanes.step(lanes, actions)

    @property
    def rung(self) -> Rung:
        return self._lanes.rung

    def state_dict(self, lanes: Array) -> State:
        return self._lanes.state_dict(lanes)

    def load_state_dict(self, lanes: Array, state: State) -> Array:
        return self._lanes.load_state_dict(lanes, state)

    def close(self) -> None:
        self._lanes.close()


class _Lines(logging.Handler):
    """Remembers what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[tuple[str, int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.name, record.levelno, record.getMessage()))


@contextlib.contextmanager
def _heard() -> Iterator[list[tuple[str, int, str]]]:
    """While it lasts, what garage logs is for the trainer to say."""
    logger, handler = logging.getLogger("garage"), _Lines()
    level, propagates = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield handler.lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagates


def _as_part(pickled: bytes) -> tuple[str, bytes]:
    return blake3(pickled).hexdigest(), pickled


def _part(name: str, parts: Mapping[str, bytes]) -> bytes:
    if name not in parts:
        msg = f"A worker was not sent the part {name[:12]} of a group. Please report it."
        raise UnsendableError(msg)
    return parts[name]


def _pickled_error(error: BaseException | None) -> bytes | None:
    """An exception as bytes; None if it cannot be rebuilt from them."""
    if error is None:
        return None
    try:
        pickled: bytes = cloudpickle.dumps(error, protocol=PROTOCOL)
        cloudpickle.loads(pickled)
    except Exception:  # noqa: BLE001 - users' exceptions may raise anything here; their traceback goes as text
        return None
    return pickled
