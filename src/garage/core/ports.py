"""The ports: what a part must be able to do to take its place in an experiment.

Each has a contract suite in ``tests/contracts`` that every implementation runs.
"""

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self, cast, runtime_checkable

import numpy as np

from garage.core.streams import Streams
from garage.core.trust_region import V
from garage.core.types import Array, EnvSpec, EpisodeBatch, Infos, Metrics, State, Transition, Transitions
from garage.kernels.rollout import CompiledActing, CompiledWorld


@runtime_checkable
class Stateful(Protocol):
    """What has state can say it and take it back."""

    def state_dict(self) -> State:
        """The whole state: nested dicts of arrays and JSON scalars."""
        ...

    def load_state_dict(self, state: State) -> None:
        """Take the state back.

        Raises:
            MismatchError: a part is missing, or has another shape or type than expected.
        """
        ...


class Rung(enum.StrEnum):
    """How a world in mid-episode goes on exactly in another process, the cheapest way first."""

    ARRAYS = "arrays"
    """By the lanes' own arrays, which say all there is."""
    REPLAY = "replay"
    """By the seed and the actions since, taken again."""
    CUT = "cut"
    """Not at all: it can only be left when an episode ends."""


class Lanes(Protocol):
    """n independent running copies of a world, stepped together."""

    @property
    def n(self) -> int:
        """Number of lanes."""
        ...

    def reset(self, lanes: Array, seeds: Sequence[int]) -> Array:
        """Start an episode in each of ``lanes`` (``[k]`` int) and return their observations ``[k, ...]``."""
        ...

    def step(self, lanes: Array, actions: Array) -> Transition:
        """Take one action ``[k, ...]`` in each of ``lanes`` (``[k]`` int, ascending)."""
        ...

    @property
    def rung(self) -> Rung:
        """How lanes that are in mid-episode go on somewhere else."""
        ...

    def state_dict(self, lanes: Array) -> State:
        """Where each of ``lanes`` (``[k]`` int) is in its episode, sharing no memory with the lanes.

        Raises:
            OrderError: the rung is `Rung.CUT`.
        """
        ...

    def load_state_dict(self, lanes: Array, state: State) -> Array:
        """Bring ``lanes`` (``[k]`` int, any ones) to where ``state`` was, and return their observations ``[k, ...]``.

        Raises:
            MismatchError: the state is not one of such lanes.
        """
        ...

    def close(self) -> None:
        """Let go of what the lanes hold."""
        ...


@runtime_checkable
class Env(Protocol):
    """A kind of world; its settings never change."""

    @property
    def spec(self) -> EnvSpec:
        """What an agent may know of it."""
        ...

    @property
    def lane_width(self) -> int:
        """How many lanes are stepped together at best; 1 if the world cannot be copied."""
        ...

    def make_lanes(self, n: int) -> Lanes:
        """Make n running copies."""
        ...

    def with_task(self, task: object) -> "Env":
        """The same world with another task.

        Raises:
            MismatchError: the world has no tasks.
        """
        ...


class Policy(Protocol):
    """Acts. Acting is deterministic: whatever is random comes in as noise."""

    @property
    def name(self) -> str:
        """Prefixes the policy's rows in the table of metrics."""
        ...

    @property
    def spec(self) -> EnvSpec:
        """The world that it was built for."""
        ...

    @property
    def initialised(self) -> bool:
        """Whether it has parameters yet."""
        ...

    @property
    def theta(self) -> Array:
        """All parameters as one flat vector ``[P]``.

        Raises:
            OrderError: nothing has been initialised or loaded yet.
        """
        ...

    def initialise(self, generator: np.random.Generator) -> None:
        """Draw the first parameters."""
        ...

    def initial_memory(self, n: int) -> Array:
        """What n episodes remember before their first step, ``[n, ...]``."""
        ...

    def draw_noise(self, generator: np.random.Generator, n_steps: int) -> Array:
        """The noise of n steps of one episode, ``[n_steps, K]``."""
        ...

    def act(self, observations: Array, memory: Array, noise: Array | None) -> tuple[Array, Array, Infos]:
        """Choose actions.

        Args:
            observations: ``[n, ...]``.
            memory: ``[n, ...]``.
            noise: ``[n, K]``, one row of `draw_noise` an observation; None to act greedily.

        Returns:
            Actions ``[n, ...]``, memory after the step, and diagnostics each ``[n, ...]``.
        """
        ...


class UniformNoise(NamedTuple):
    """Noise that is made of uniforms, row by row, so that the noise of many episodes can be made at once."""

    n_uniforms: int
    """Of each step."""
    noise_of: Callable[[Array], Array]
    """The noise ``[n, K]`` of n steps of any episodes, made of their uniforms ``[n, n_uniforms]`` float64, which may be
    written over: what `Policy.draw_noise` makes of the generator's first ones, bit for bit."""


@runtime_checkable
class DrawsUniforms(Protocol):
    """A policy whose noise may be made of uniforms; no policy has to be one."""

    def uniform_noise(self) -> UniformNoise | None:
        """How; None if `Policy.draw_noise` does anything else."""
        ...


def uniform_noise_of(policy: Policy) -> UniformNoise | None:
    """How a policy makes its noise of uniforms, or None if it does not."""
    # The class is asked, for a policy that hands on what it has not got to another one draws noise of its own.
    return cast("DrawsUniforms", policy).uniform_noise() if issubclass(type(policy), DrawsUniforms) else None


@runtime_checkable
class ActsCompiled(Protocol):
    """A policy that a kernel can run; no policy has to be one."""

    def compiled(self) -> CompiledActing | None:
        """How it acts by its present parameters, or None if `Policy.act` does anything else."""
        ...


@runtime_checkable
class StepsCompiled(Protocol):
    """Lanes that a kernel can run; no lanes have to be such."""

    def compiled(self) -> CompiledWorld:
        """These lanes, which stay where they are."""
        ...


def compiled_rollout_of(policy: Policy, lanes: Lanes) -> tuple[CompiledActing, CompiledWorld] | None:
    """How a kernel runs a policy in lanes, or None if none does."""
    # Classes are asked, for what hands on what it has not got to another one acts and steps in ways of its own.
    if not issubclass(type(policy), ActsCompiled) or not issubclass(type(lanes), StepsCompiled):
        return None
    acting, world = cast("ActsCompiled", policy).compiled(), cast("StepsCompiled", lanes).compiled()
    return (acting, world) if acting is not None and acting.fits(world) else None


class Evaluation(NamedTuple):
    """What a policy says of a batch."""

    log_likelihoods: Array
    """Of each action taken, ``[N]`` float64, nats."""
    kl: float
    """Mean KL divergence from the policy that the objective was made with, nats."""
    entropy: float
    """Mean entropy of the action distributions, nats."""


class Objective(Protocol[V]):
    """Three questions about one batch, asked at any theta.

    Parameters and answers are vectors ``[P]`` of the framework's own kind, wherever it computes, so that an
    algorithm moves nothing between devices from one question to the next.
    """

    @property
    def theta(self) -> V:
        """The parameters that KL is measured from, ``[P]``."""
        ...

    def to_array(self, theta: V) -> Array:
        """Parameters as a policy takes them, ``[P]`` in NumPy."""
        ...

    def evaluate(self, theta: V | Array) -> Evaluation:
        """Log-likelihoods, KL and entropy of the batch.

        Args:
            theta: ``[P]``, of the framework's own kind or NumPy's.
        """
        ...

    def score(self, theta: V, weights: Array, entropy_weight: float = 0.0) -> V:
        """Gradient of ``weights @ log_likelihoods + entropy_weight * entropy``, ``[P]`` float64.

        Args:
            theta: ``[P]``.
            weights: ``[N]``, one weight a step.
            entropy_weight: weight of the mean entropy.
        """
        ...

    def fisher_product(self, theta: V, vector: V) -> V:
        """The mean Fisher information at theta times ``vector``, ``[P]`` float64."""
        ...


class DifferentiablePolicy(Policy, Protocol):
    """A policy that learns by likelihood."""

    def objective(self, batch: EpisodeBatch) -> Objective[Any]:
        """The three questions about ``batch``; KL is measured from the present theta."""
        ...

    @property
    def theta(self) -> Array:
        """See `Policy.theta`; assigning it replaces all parameters."""
        ...

    @theta.setter
    def theta(self, theta: Array) -> None: ...

    def at(self, theta: Array) -> Self:
        """A light copy with other parameters ``[P]``."""
        ...

    def state_dict(self) -> State:
        """See `Stateful`."""
        ...

    def load_state_dict(self, state: State) -> None:
        """See `Stateful`."""
        ...


@runtime_checkable
class Baseline(Protocol):
    """Predicts returns and learns from them."""

    @property
    def name(self) -> str:
        """Prefixes the baseline's rows in the table of metrics."""
        ...

    def initialise(self, generator: np.random.Generator) -> None:
        """Draw the first parameters, if there are any to draw."""
        ...

    def predict(self, batch: EpisodeBatch) -> Array:
        """Expected return from each observation of the batch, ``[N]`` float64."""
        ...

    def fit(self, batch: EpisodeBatch, returns: Array) -> Metrics:
        """Learn the returns (``[N]``) that followed the observations of the batch."""
        ...

    def state_dict(self) -> State:
        """See `Stateful`."""
        ...

    def load_state_dict(self, state: State) -> None:
        """See `Stateful`."""
        ...


class Collect(Protocol):
    """How an algorithm asks for data; without a size it gets the trainer's ``batch_size`` steps."""

    def __call__(  # noqa: PLR0913 - each is one independent choice, and all but the policy have defaults
        self,
        policy: Policy,
        *,
        n_steps: int | None = None,
        n_episodes: int | None = None,
        env: Env | None = None,
        fragments: bool = False,
        purpose: str = "train",
    ) -> EpisodeBatch:
        """Run the policy and return what happened.

        Args:
            policy: who acts.
            n_steps: about how many steps; started episodes are finished, unless ``fragments``.
            n_episodes: exactly how many episodes, instead of ``n_steps``.
            env: another world than the experiment's.
            fragments: whether the batch ends in the middle of episodes, which the next such call of this purpose
                goes on with.
            purpose: keeps the random numbers of, say, training and evaluation apart; only ``"train"``
                counts towards ``Evaluation/*`` and ``TotalEnvSteps``.
        """
        ...


class Algorithm(Protocol):
    """One epoch of one paper."""

    @property
    def discount(self) -> float:
        """The discount of ``Evaluation/AverageDiscountedReturn``."""
        ...

    def initialise(self, streams: Streams) -> None:
        """Draw first parameters, each component from the stream of its place; called once, on a fresh run."""
        ...

    def epoch(self, collect: Collect, streams: Streams) -> Metrics:
        """Learn for one epoch and return its metrics."""
        ...

    def policies(self) -> Mapping[str, Policy]:
        """The policies by name; ``"policy"`` is the one to show and to load."""
        ...

    def state_dict(self) -> State:
        """See `Stateful`."""
        ...

    def load_state_dict(self, state: State) -> None:
        """See `Stateful`."""
        ...


@dataclass(frozen=True)
class Group:
    """One unit of a collect's work: a pure function of these fields, whoever executes it.

    Attributes:
        env: the world.
        policy: who acts, with the parameters to act by.
        streams: those of ("episode", purpose).
        epoch: of the collect.
        call: its index among the epoch's collects of this purpose.
        index: of the group among the collect's.
        n_lanes: width at which the policy acts.
        n_steps: start episodes until about so many steps will have been taken, or None.
        n_episodes: start exactly so many episodes, or None.
        mean_length: mean length of the last epoch's episodes, in steps; 0 if unknown.
        fragments: whether to stop in mid-episode, as soon as ``n_steps`` are taken.
        carried: lanes in flight from the call before, for fragments; empty if there are none.
    """

    env: Env
    policy: Policy
    streams: Streams
    epoch: int
    call: int
    index: int
    n_lanes: int
    n_steps: int | None
    n_episodes: int | None
    mean_length: float
    fragments: bool
    carried: State


@dataclass(frozen=True)
class GroupResult:
    """What a group brought back.

    Attributes:
        batch: its segments in the order in which their episodes started, so that the segments that go on with carried
            ones stand first, in the order in which those were cut.
        carried: lanes in flight for the next call, sharing no memory with anything; empty for whole episodes.
        seconds: wall-clock seconds spent in ``"env"``, ``"policy"`` and ``"process"``.
    """

    batch: EpisodeBatch
    carried: State
    seconds: Mapping[str, float]


class ReplayBuffer(Protocol):
    """Remembers transitions; `Stateful`, its columns a `garage.core.tracked.TrackedGroup`."""

    def __len__(self) -> int:
        """Transitions that it holds."""
        ...

    def add(self, batch: EpisodeBatch) -> None:
        """Remember the steps of a batch, in its order."""
        ...

    def sample(self, generator: np.random.Generator, n: int) -> Transitions:
        """Draw n transitions; a function of what is remembered and of the generator.

        Raises:
            OrderError: nothing has been added yet.
        """
        ...

    def state_dict(self) -> State:
        """What is remembered."""
        ...

    def load_state_dict(self, state: State) -> None:
        """Remember that instead."""
        ...


class Sampler(Protocol):
    """Executes groups; which one, and with how many workers, never changes a result."""

    def run(self, groups: Sequence[Group]) -> list[GroupResult]:
        """Run all groups and return their results in the same order."""
        ...

    def close(self) -> None:
        """Let go of lanes and workers."""
        ...


GRAPH_VARIABLES = "tf"
"""Folder of the state tree for variables that users made in a TensorFlow graph."""


class Surroundings(Protocol):
    """What an experiment's objects live in besides the process, such as a graph and its session."""

    @property
    def name(self) -> str:
        """In a recipe, it says where the objects can be rebuilt."""
        ...

    def check(self, parts: Iterable[tuple[str, object]]) -> None:
        """Check that the parts of an experiment, by path, live here.

        Raises:
            MismatchError: one lives somewhere else.
            OrderError: the surroundings are not there yet, or not any more.
        """
        ...

    def elsewhere(self) -> AbstractContextManager[None]:
        """While it lasts, objects can be built without a trace here."""
        ...

    def renew(self) -> None:
        """Make room for objects that are about to be rebuilt from a recipe."""
        ...

    def prepare(self) -> None:
        """Give first values to what has none yet."""
        ...

    def state_dict(self) -> State:
        """What is kept here and belongs to no part of the experiment; it joins the state tree at its root."""
        ...

    def load_state_dict(self, state: State) -> list[str]:
        """Take it back from a run's state tree, and return what there was no place for, one line each."""
        ...


class Framework(Protocol):
    """What a framework keeps in the process, outside of any object: generators, threads, settings."""

    @property
    def name(self) -> str:
        """Of the folder that is named for it."""
        ...

    def seed(self, seed: int) -> None:
        """Seed its generators."""
        ...

    def generators_state(self) -> State:
        """The state of its generators; drawing nothing, and starting no device."""
        ...

    def load_generators_state(self, state: State) -> None:
        """Put its generators back.

        Raises:
            MismatchError: a part of their state is missing.
        """
        ...

    def computing(self, n_threads: int) -> AbstractContextManager[None]:
        """While it lasts: that many threads, and the same bits each time."""
        ...

    def fingerprint(self) -> Mapping[str, Any]:
        """What decides over last bits: version, devices, settings; JSON."""
        ...


class Recorder(Protocol):
    """Where metrics go."""

    def record(self, epoch: int, metrics: Mapping[str, Any]) -> None:
        """Take the metrics of one epoch."""
        ...
