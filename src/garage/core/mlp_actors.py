"""How MLP policies act, whatever framework they learn in: by compiled kernels, over a flat theta on the host.

So all frameworks draw the same episodes from the same parameters, bit for bit. What a framework adds is
`objective`: the three questions that learning asks.
"""

import abc
import copy
import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from gymnasium import spaces

from garage.core import acting
from garage.core.mlp import MLPShape, hidden_sizes_checked
from garage.core.ports import Objective, UniformNoise
from garage.core.recipe import Component
from garage.core.spaces import check_spec, flat_size, flatten_rows
from garage.core.state import take
from garage.core.types import Array, EnvSpec, EpisodeBatch, Infos, State
from garage.errors import ArgumentError, MismatchError, OrderError
from garage.kernels.mlp import Forward
from garage.kernels.rollout import CompiledActing

_ACTING = ("act", "draw_noise", "initial_memory", "inputs", "_outputs")
"""What a kernel does in their place."""


class MLPActor(Component, abc.ABC):
    """What the MLP policies have in common: theta, its state, and the network's outputs.

    Attributes:
        spec: of the world that it was built for.
        name: prefixes its rows in the table of metrics.
        shape: of the network.
        n_outputs: K, the network's outputs.
        n_extra: X, parameters after the network's, which no observation changes.
        dtype: of theta.
    """

    def __init__(  # noqa: PLR0913 - what the two kinds say of themselves
        self, env_spec: EnvSpec, hidden_sizes: Sequence[int], name: str, dtype: str, *, n_outputs: int, n_extra: int
    ) -> None:
        if dtype not in {"float32", "float64"}:
            msg = f"dtype must be 'float32' or 'float64', got {dtype!r}."
            raise ArgumentError(msg)
        self.spec = env_spec
        self.name = name
        self.hidden_sizes = hidden_sizes_checked(hidden_sizes)
        self.dtype = np.dtype(dtype)
        self.n_outputs, self.n_extra = n_outputs, n_extra
        self.shape = MLPShape((flat_size(env_spec.observation_space), *self.hidden_sizes, n_outputs))
        self._theta: Array | None = None

    @abc.abstractmethod
    def draw_noise(self, generator: np.random.Generator, n_steps: int) -> Array:
        """See `Policy.draw_noise`."""

    @abc.abstractmethod
    def act(self, observations: Array, memory: Array, noise: Array | None) -> tuple[Array, Array, Infos]:
        """See `Policy.act`."""

    @abc.abstractmethod
    def objective(self, batch: EpisodeBatch) -> Objective[Any]:
        """The three questions about ``batch``; KL is measured from the present theta."""

    @abc.abstractmethod
    def _initial_extra(self) -> Array:
        """Parameters after the network's, before anything is learned, ``[X]``."""

    @property
    def initialised(self) -> bool:
        """Whether it has parameters yet."""
        return self._theta is not None

    @property
    def n_parameters(self) -> int:
        """P, the length of theta."""
        return self.shape.n_parameters + self.n_extra

    @property
    def theta(self) -> Array:
        """All parameters ``[P]``: the network's layer by layer, then those that no observation changes.

        Raises:
            OrderError: nothing has been initialised or loaded yet.
        """
        if self._theta is None:
            msg = (
                f"The policy `{self.name}` has no parameters yet. Call policy.initialise(generator), for example "
                "with numpy.random.default_rng(1), or trainer.setup(algo, env), which does it from the run's seed."
            )
            raise OrderError(msg)
        return self._theta

    @theta.setter
    def theta(self, theta: Array) -> None:
        if theta.shape != (self.n_parameters,):
            msg = (
                f"Cannot set theta of `{self.name}`: got shape {theta.shape}, this policy has "
                f"({self.n_parameters},). Was it built with hidden_sizes={self.hidden_sizes}?"
            )
            raise MismatchError(msg)
        self._theta = theta.astype(self.dtype)  # a copy of our own, so that nobody else can change it
        self._theta.flags.writeable = False
        self._forward = Forward(self.shape.sizes, self._theta[: self.shape.n_parameters])

    def initialise(self, generator: np.random.Generator) -> None:
        """Draw the network's first parameters; see `MLPShape.draw`."""
        self.theta = np.concatenate([self.shape.draw(generator), self._initial_extra()])

    def at(self, theta: Array) -> Self:
        """A light copy with other parameters ``[P]``."""
        other = copy.copy(self)
        other.theta = theta
        return other

    def initial_memory(self, n: int) -> Array:
        """``[n, 0]``: an MLP remembers nothing."""
        return np.zeros((n, 0), self.dtype)

    def inputs(self, observations: Array) -> Array:
        """Observations ``[n, ...]`` as the network reads them, ``[n, shape.sizes[0]]``."""
        return flatten_rows(self.spec.observation_space, observations, self.dtype)

    def state_dict(self) -> State:
        """Theta, and the table of its layers."""
        return {"theta": self.theta, "layers": self._table()}

    def load_state_dict(self, state: State) -> None:
        """Take theta back.

        Raises:
            MismatchError: it is missing, or of a policy of another shape or dtype.
        """
        theta = take(state, "theta", f"`{self.name}`")
        if not isinstance(theta, np.ndarray) or theta.shape != (self.n_parameters,) or theta.dtype != self.dtype:
            got = f"{theta.dtype} of shape {theta.shape}" if isinstance(theta, np.ndarray) else repr(theta)
            msg = (
                f"Cannot load `{self.name}/theta`: the snapshot has {got}, this policy has {self.dtype} of shape "
                f"({self.n_parameters},). The snapshot's layers are {state.get('layers', 'unknown')}; this policy was "
                f"built with hidden_sizes={self.hidden_sizes}."
            )
            raise MismatchError(msg)
        self.theta = theta

    def _compiled(self, kind: type[Any], stds: Array | None, outputs_are: str) -> CompiledActing | None:
        """How it acts, for kernels; None if a class or an attribute of the user's own acts otherwise than ``kind``."""
        if any(name in vars(self) or getattr(type(self), name) is not getattr(kind, name) for name in _ACTING):
            return None
        if not isinstance(self.spec.observation_space, spaces.Box):
            return None
        return CompiledActing(Forward(self.shape.sizes, self.theta[: self.shape.n_parameters]), stds, outputs_are)

    def _outputs(self, observations: Array) -> Array:
        """``[n, K]``."""
        if self._theta is None:
            return self.theta  # raises
        return self._forward(self.inputs(observations))

    def _table(self) -> str:
        return self.shape.table()


class CategoricalMLPActor(MLPActor, abc.ABC):
    """Chooses one of a Discrete space's actions; an MLP gives their unnormalised log-probabilities.

    Args:
        env_spec: the world's; its actions must be Discrete.
        hidden_sizes: units of each hidden layer, all tanh.
        name: prefixes its rows in the table of metrics.
        dtype: ``"float32"`` or ``"float64"``.

    Raises:
        MismatchError: the world's actions are not Discrete, or its observations are no rows of numbers.
    """

    def __init__(
        self, env_spec: EnvSpec, hidden_sizes: Sequence[int] = (32, 32), *, name: str = "policy", dtype: str = "float32"
    ) -> None:
        check_spec("CategoricalMLPPolicy", env_spec)
        space = env_spec.action_space
        if not isinstance(space, spaces.Discrete):
            msg = (
                f"A CategoricalMLPPolicy cannot act in {space}: expected Discrete actions. "
                "For Box actions use GaussianMLPPolicy."
            )
            raise MismatchError(msg)
        super().__init__(env_spec, hidden_sizes, name, dtype, n_outputs=int(space.n), n_extra=0)

    def draw_noise(self, generator: np.random.Generator, n_steps: int) -> Array:
        """Gumbel noise ``[n_steps, n_actions]``."""
        return acting.categorical_noise(generator, n_steps, self.n_outputs).astype(self.dtype)

    def uniform_noise(self) -> UniformNoise | None:
        """See `DrawsUniforms`."""
        if type(self).draw_noise is not CategoricalMLPActor.draw_noise:  # a class of the user's own
            return None
        return UniformNoise(self.n_outputs, lambda uniforms: acting.gumbel(uniforms).astype(self.dtype))

    def compiled(self) -> CompiledActing | None:
        """See `ActsCompiled`."""
        return self._compiled(CategoricalMLPActor, None, "logits")

    def act(self, observations: Array, memory: Array, noise: Array | None) -> tuple[Array, Array, Infos]:
        """Action indices ``[n]``; ``infos["logits"]`` is ``[n, n_actions]``."""
        logits = self._outputs(observations)
        return acting.categorical_act(logits, noise), memory, {"logits": logits}

    def _initial_extra(self) -> Array:
        return np.empty(0)


class GaussianMLPActor(MLPActor, abc.ABC):
    """Chooses a point of a Box: an MLP gives the means; the stds are learned and the same everywhere.

    Args:
        env_spec: the world's; its actions must be a Box.
        hidden_sizes: units of each hidden layer, all tanh.
        init_std: standard deviation of each action dimension before anything is learned, in the action's units.
        min_std: standard deviations never count as smaller, in the action's units.
        name: prefixes its rows in the table of metrics.
        dtype: ``"float32"`` or ``"float64"``.

    Raises:
        MismatchError: the world's actions are not a Box, or its observations are no rows of numbers.
    """

    def __init__(  # noqa: PLR0913 - each is one independent choice with a default
        self,
        env_spec: EnvSpec,
        hidden_sizes: Sequence[int] = (32, 32),
        *,
        init_std: float = 1.0,
        min_std: float = 1e-6,
        name: str = "policy",
        dtype: str = "float32",
    ) -> None:
        check_spec("GaussianMLPPolicy", env_spec)
        space = env_spec.action_space
        if not isinstance(space, spaces.Box) or not np.issubdtype(space.dtype, np.floating):
            msg = (
                f"A GaussianMLPPolicy cannot act in {space}: expected Box actions of a floating dtype. "
                "For Discrete actions use CategoricalMLPPolicy."
            )
            raise MismatchError(msg)
        acting.check_stds("GaussianMLPPolicy", init_std, min_std)
        n = math.prod(space.shape)
        super().__init__(env_spec, hidden_sizes, name, dtype, n_outputs=n, n_extra=n)
        self.init_std, self.min_std = init_std, min_std

    def draw_noise(self, generator: np.random.Generator, n_steps: int) -> Array:
        """Standard normal noise ``[n_steps, K]``."""
        return acting.gaussian_noise(generator, n_steps, self.n_outputs).astype(self.dtype)

    def compiled(self) -> CompiledActing | None:
        """See `ActsCompiled`."""
        return self._compiled(GaussianMLPActor, self._stds(), "mean")

    def act(self, observations: Array, memory: Array, noise: Array | None) -> tuple[Array, Array, Infos]:
        """Actions ``[n, ...]``, not clipped to the space; ``infos["mean"]`` is ``[n, ...]``."""
        means = self._outputs(observations)
        shape = (len(observations), *self.spec.action_space.shape)  # type: ignore[misc] # a Box has a shape
        return acting.gaussian_act(means, self._stds(), noise).reshape(shape), memory, {"mean": means.reshape(shape)}

    def _stds(self) -> Array:
        """``[K]``, of the actions."""
        log_stds = self.theta[self.shape.n_parameters :]
        return np.asarray(np.exp(np.maximum(log_stds, self.dtype.type(np.log(self.min_std)))))

    def _initial_extra(self) -> Array:
        return np.full(self.n_extra, np.log(self.init_std))

    def _table(self) -> str:
        return f"{self.shape.table()}, log_std {self.n_extra}"
