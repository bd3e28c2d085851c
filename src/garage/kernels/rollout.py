"""A policy acting in the lanes of a world, both by kernels: see ``rollout.c``."""

import ctypes
import enum
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, final

import numpy as np
import numpy.typing as npt

from garage.errors import MismatchError
from garage.kernels import library
from garage.kernels.mlp import Forward
from garage.kernels.worlds import Starts, Steps

Array = npt.NDArray[Any]

_POINTER, _NUMBER = ctypes.c_void_p, ctypes.c_int64
_FLOAT64 = np.dtype(np.float64)
_RUNNING = 2  # End.CUT, until the episode ends
_LEAST_ROOM = 1024


class CompiledWorld(NamedTuple):
    """Lanes of a world whose kernels can be called by others."""

    steps: Steps
    start: Starts


class CompiledActing(NamedTuple):
    """How a policy acts, for kernels."""

    forward: Forward
    """Its network, for nobody else: a network that computes has scratch of its own."""
    stds: Array | None
    """``[K]``, of Gaussian noise around the outputs; None if the largest of outputs and noise is chosen."""
    outputs_are: str
    """What they are called among the policy's diagnostics."""

    def fits(self, world: CompiledWorld) -> bool:
        """Whether it can act there."""
        kernel, forward = world.steps.kernel, self.forward
        chooses = kernel.n_actions is not None
        n_outputs = kernel.n_actions if chooses else 1
        return (forward.n_inputs, forward.n_outputs, self.stds is None) == (kernel.n_seen, n_outputs, chooses)


class Quota(NamedTuple):
    """How long it runs; see `garage.core.ports.Group`."""

    n_steps: int | None
    n_episodes: int | None
    mean_length: float
    fragments: bool


class Need(enum.IntEnum):
    """What a run that has stopped waits for."""

    NOTHING = 0
    EPISODES = 1
    NOISE = 2
    ROOM = 3


class Happened(NamedTuple):
    """What happened, a row for each of N steps, and of each of M episodes what it came to."""

    observations: Array
    """``[N, n_seen]`` float32, before the step, like all columns episode after episode."""
    actions: Array
    """``[N]`` int64, or ``[N, K]`` in the network's type."""
    outputs: Array
    """``[N, K]``, the network's."""
    rewards: Array
    """``[N]`` float64."""
    lengths: Array
    """``[M]`` int64, steps of each episode in this run."""
    ends: Array
    """``[M]`` int8, values of `garage.core.types.End`; those in flight are cut."""
    last_observations: Array
    """``[M, n_seen]`` float32."""


class _Rollout(ctypes.Structure):
    """The mirror of ``struct rollout``."""

    _fields_ = (
        *((name, _POINTER) for name in ("lanes", "starts")),
        *(("n_seen", _NUMBER), ("is_double", _NUMBER), ("network", _POINTER), ("n_outputs", _NUMBER)),
        *((name, _POINTER) for name in ("stds", "wider_inputs", "single_actions")),
        *(
            ("most_steps", _NUMBER),
            ("most_episodes", _NUMBER),
            ("mean_length", ctypes.c_double),
            ("fragments", _NUMBER),
        ),
        *(("n_active", _NUMBER), ("active", _POINTER), ("n_free", _NUMBER)),
        *((name, _POINTER) for name in ("free", "episode", "noise", "n_noise", "observations")),
        *((name, _NUMBER) for name in ("n_carried", "n_started", "n_drawn", "n_wanted", "noise_steps")),
        *((name, _POINTER) for name in ("seeds", "first_noise", "lengths", "ends", "last_observations")),
        *(("n_rows", _NUMBER), ("room", _NUMBER)),
        *((name, _POINTER) for name in ("seen", "actions", "outputs", "rewards", "row_episode", "row_step")),
        *(("world_seconds", ctypes.c_double), ("policy_seconds", ctypes.c_double)),
    )


@final
class Rollout:
    """Runs until it needs something, again and again. Episodes have numbers, carried ones first.

    Args:
        acting: of the policy, which must fit the world.
        world: its lanes.
        quota: how long.
    """

    def __init__(self, acting: CompiledActing, world: CompiledWorld, quota: Quota) -> None:
        if not acting.fits(world):
            msg = f"Cannot run {acting} in {world.steps.kernel}: they do not fit each other."
            raise MismatchError(msg)
        self._acting, self._world, steps, forward = acting, world, world.steps, acting.forward
        n, self._n_seen, self._dtype = steps.n, steps.kernel.n_seen, forward.dtype
        self._n_outputs = forward.n_outputs
        self._struct = _Rollout(
            lanes=steps.address,
            starts=world.start.address,
            n_seen=self._n_seen,
            is_double=self._dtype == _FLOAT64,
            network=forward.address,
            n_outputs=self._n_outputs,
            most_steps=-1 if quota.n_steps is None else quota.n_steps,
            most_episodes=quota.n_episodes or 0,
            mean_length=quota.mean_length,
            fragments=quota.fragments,
        )
        self._arrays: dict[str, Array] = {}
        if acting.stds is not None:
            self._hold("stds", acting.stds.astype(self._dtype))
        self._hold("wider_inputs", np.empty((n, self._n_seen), self._dtype))
        self._hold("single_actions", np.empty((n, self._n_outputs), np.float32))
        self._hold("active", np.zeros(n, np.int64))
        self._hold("free", np.arange(n))
        self._hold("episode", np.full(n, -1))
        self._hold("noise", np.zeros(n, np.int64))
        self._hold("n_noise", np.zeros(n, np.int64))
        self._hold("observations", np.zeros((n, self._n_seen), np.float32))
        self._hold_episodes(_LEAST_ROOM // 8)
        self._hold_rows(max(_LEAST_ROOM, n, 5 * (quota.n_steps or 0) // 4))
        self._struct.n_free = n
        self._first_noise: list[tuple[int, int, Array]] = []
        """Numbers of episodes, from and to, and what they begin with."""
        self._later_noise: dict[int, Array] = {}
        self._most_kept = n
        self._kernel = library.freeing().rollout_run
        self._kernel.argtypes, self._kernel.restype = (_POINTER,), ctypes.c_int

    @property
    def n_wanted(self) -> int:
        """How many episodes more it needs."""
        return int(self._struct.n_wanted)

    @property
    def n_steps(self) -> int:
        """Taken so far."""
        return int(self._struct.n_rows)

    @property
    def seconds(self) -> tuple[float, float]:
        """Spent in the world and in the policy."""
        return self._struct.world_seconds, self._struct.policy_seconds

    def take_up(self, lanes: Array, observations: Array) -> None:
        """Episodes are in flight: the first ones, to be called once and before all else.

        Args:
            lanes: ``[k]`` int64, where; the lanes are where they should be.
            observations: ``[k, n_seen]`` float32, of what they show.
        """
        k = len(lanes)
        self._room_for_episodes(k)
        self._arrays["episode"][lanes] = np.arange(k)
        self._arrays["observations"][lanes] = observations
        running = self._arrays["episode"] >= 0
        self._arrays["active"][:k] = np.flatnonzero(running)
        self._arrays["free"][: len(running) - k] = np.flatnonzero(~running)
        self._struct.n_active, self._struct.n_free = k, len(running) - k
        self._struct.n_carried = self._struct.n_started = self._struct.n_drawn = k

    def draw(self, seeds: Sequence[int], noise: Array) -> None:
        """Episodes that may start next.

        Args:
            seeds: ``[k]``, of the world.
            noise: ``[k, B, K]``, of their first B steps, the same B each time.
        """
        k, first = len(seeds), self._struct.n_drawn
        self._check_noise(noise, (k, *noise.shape[1:2], self._n_outputs))
        self._room_for_episodes(first + k)
        self._arrays["seeds"][first : first + k] = seeds
        address = noise.ctypes.data
        self._arrays["first_noise"][first : first + k] = np.arange(address, address + noise.nbytes, noise.nbytes // k)
        self._struct.n_drawn, self._struct.noise_steps = first + k, noise.shape[1]
        self._first_noise.append((first, first + k, noise))
        if len(self._first_noise) > self._most_kept:
            ends = self._arrays["ends"]
            self._first_noise = [kept for kept in self._first_noise if (ends[kept[0] : kept[1]] == _RUNNING).any()]
            self._most_kept = 2 * max(len(self._first_noise), self._most_kept // 2)

    def starved(self) -> Iterator[tuple[int, int, int]]:
        """Lanes whose noise has run out, the numbers of their episodes, and their steps in this run."""
        active = self._arrays["active"][: self._struct.n_active]
        for lane in active[self._arrays["n_noise"][active] == 0].tolist():
            number = int(self._arrays["episode"][lane])
            yield lane, number, int(self._arrays["lengths"][number])

    def lend(self, lane: int, noise: Array) -> None:
        """The noise ``[k, K]`` of the next steps in a lane."""
        self._check_noise(noise, (len(noise), self._n_outputs))
        self._later_noise[lane] = noise
        self._arrays["noise"][lane], self._arrays["n_noise"][lane] = noise.ctypes.data, len(noise)

    def run(self) -> Need:
        """Go on until something is needed, or nothing is left to be done."""
        while (need := self._kernel(ctypes.addressof(self._struct))) == Need.ROOM:
            self._hold_rows(2 * self._struct.room)
        return Need(need)

    def in_flight(self) -> tuple[Array, Array, Array]:
        """Lanes ``[k]`` with an episode, in the order of their numbers ``[k]``, and what they show ``[k, n_seen]``."""
        active = self._arrays["active"][: self._struct.n_active]
        numbers = self._arrays["episode"][active]
        order = numbers.argsort()
        return active[order], numbers[order], self._arrays["observations"][active[order]]

    def happened(self) -> Happened:
        """Everything, episode after episode."""
        n, m = self._struct.n_rows, self._struct.n_started
        lengths, ends, last_observations = (self._arrays[name][:m] for name in ("lengths", "ends", "last_observations"))
        _, numbers, observations = self.in_flight()
        last_observations[numbers] = observations
        episode, step = (self._arrays[name][:n] for name in ("row_episode", "row_step"))
        rows = np.empty(n, np.int64)
        rows[(np.cumsum(lengths) - lengths).take(episode) + step] = np.arange(n)
        seen, actions, outputs, rewards = (
            self._arrays[name].take(rows, axis=0) for name in ("seen", "actions", "outputs", "rewards")
        )
        return Happened(seen, actions, outputs, rewards, lengths.copy(), ends.copy(), last_observations.copy())

    def _hold(self, name: str, array: Array) -> None:
        """Have the kernel find an array."""
        self._arrays[name] = array
        setattr(self._struct, name, array.ctypes.data)

    def _grow(self, name: str, n: int, like: Array) -> None:
        """Have room for n rows of the kind of ``like``, and keep those that there are."""
        kept = self._arrays.get(name, like)
        grown = np.empty((n, *like.shape[1:]), like.dtype)
        grown[: len(kept)] = kept
        self._hold(name, grown)

    def _hold_rows(self, n: int) -> None:
        self._struct.room = n
        self._grow("seen", n, np.empty((0, self._n_seen), np.float32))
        self._grow("outputs", n, np.empty((0, self._n_outputs), self._dtype))
        chooses = self._acting.stds is None
        self._grow("actions", n, np.empty(0, np.int64) if chooses else np.empty((0, self._n_outputs), self._dtype))
        self._grow("rewards", n, np.empty(0))
        self._grow("row_episode", n, np.empty(0, np.int64))
        self._grow("row_step", n, np.empty(0, np.int64))

    def _hold_episodes(self, m: int) -> None:
        known = self._struct.n_drawn
        self._grow("seeds", m, np.empty(0, np.uint64))
        self._grow("first_noise", m, np.empty(0, np.int64))
        self._grow("lengths", m, np.empty(0, np.int64))
        self._grow("ends", m, np.empty(0, np.int8))
        self._grow("last_observations", m, np.empty((0, self._n_seen), np.float32))
        self._arrays["lengths"][known:] = 0
        self._arrays["ends"][known:] = _RUNNING

    def _room_for_episodes(self, m: int) -> None:
        if m > len(self._arrays["seeds"]):
            self._hold_episodes(2 * m)

    def _check_noise(self, noise: Array, shape: tuple[int, ...]) -> None:
        if noise.shape != shape or noise.dtype != self._dtype or not noise.flags.c_contiguous:
            msg = (
                f"Cannot act with noise of shape {noise.shape} in {noise.dtype}: expected {shape} in {self._dtype}, in "
                "one piece."
            )
            raise MismatchError(msg)
