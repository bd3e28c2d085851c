"""Policies that learn in PyTorch: MLPs that act as those of every framework do, and users' own modules.

The MLPs act in NumPy on the host, so they draw the same episodes from the same theta as any other framework's.
"""

import copy
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from garage.core.mlp_actors import CategoricalMLPActor, GaussianMLPActor, MLPActor
from garage.core.recipe import Component
from garage.core.spaces import flatten_rows
from garage.core.state import flatten, rebuild, take
from garage.core.types import Array, EnvSpec, EpisodeBatch, Infos, State
from garage.errors import ArgumentError, MismatchError
from garage.torch.devices import device_checked
from garage.torch.families import Categorical, DiagonalGaussian, Family, TwoActions
from garage.torch.flat_module import FlatModule
from garage.torch.graphs import ModuleGraphs
from garage.torch.heads import FIRST_STD, LEAST_STD, head_of
from garage.torch.objective import FlatObjective
from garage.torch.one_output import OneOutput
from garage.torch.sweeps import MLPSweeps

_CHECKED_ROWS = 2


class CategoricalMLPPolicy(CategoricalMLPActor):
    """A `CategoricalMLPActor` that learns in PyTorch; its other arguments are there.

    Args:
        device: where it learns: ``"cpu"``, ``"cuda"``, ``"cuda:1"`` … It acts on the host all the same.

    Raises:
        ArgumentError: the device is not here.
    """

    def __init__(
        self,
        env_spec: EnvSpec,
        hidden_sizes: Sequence[int] = (32, 32),
        *,
        device: str = "cpu",
        name: str = "policy",
        dtype: str = "float32",
    ) -> None:
        super().__init__(env_spec, hidden_sizes, name=name, dtype=dtype)
        self.device = device_checked(device)

    def objective(self, batch: EpisodeBatch) -> FlatObjective:
        """The three questions about ``batch``; KL is measured from the present theta."""
        family = TwoActions() if self.n_outputs == TwoActions.n_actions else Categorical(self.n_outputs)
        return _mlp_objective(self, family, batch, self.device)


class GaussianMLPPolicy(GaussianMLPActor):
    """A `GaussianMLPActor` that learns in PyTorch; its other arguments are there.

    Args:
        device: where it learns: ``"cpu"``, ``"cuda"``, ``"cuda:1"`` … It acts on the host all the same.

    Raises:
        ArgumentError: the device is not here.
    """

    def __init__(  # noqa: PLR0913 - each is one independent choice with a default
        self,
        env_spec: EnvSpec,
        hidden_sizes: Sequence[int] = (32, 32),
        *,
        device: str = "cpu",
        init_std: float = 1.0,
        min_std: float = 1e-6,
        name: str = "policy",
        dtype: str = "float32",
    ) -> None:
        super().__init__(env_spec, hidden_sizes, init_std=init_std, min_std=min_std, name=name, dtype=dtype)
        self.device = device_checked(device)

    def objective(self, batch: EpisodeBatch) -> FlatObjective:
        """The three questions about ``batch``; KL is measured from the present theta."""
        return _mlp_objective(self, DiagonalGaussian(self.n_outputs, self.min_std), batch, self.device)


class ModulePolicy(Component):
    """Acts and learns by any module of a user's.

    The policy has a copy of the module, in eval mode: dropout is off, and batch normalisation uses its running
    statistics and leaves them. What learns are the parameters that require a gradient, in the module's order; for a
    Box, one log-std per action dimension follows. The module's weights are the first parameters. Buffers and frozen
    parameters stay as they are and are part of the state. A module must compute the same from the same observations:
    one that draws random numbers or counts its calls cannot be continued exactly.

    For exactness and for its recipe the module must be picklable; give it on the CPU, so that the recipe can be
    unpickled where there is no other device.

    Args:
        env_spec: the world's; its actions must be Discrete, or a Box of a floating dtype.
        module: maps observations ``[n, ...]`` to unnormalised log-probabilities ``[n, n_actions]`` of a Discrete
            space's actions, or to means ``[n, ...]`` of a Box's. Observations are converted to the dtype of its
            parameters and not scaled, so pixels come as 0.0 to 255.0; Discrete ones come as one-hot rows.
        device: where it acts and learns: ``"cpu"``, ``"cuda"``, ``"cuda:1"`` …
        init_std: for a Box, standard deviation of each action dimension before anything is learned, in its units.
        min_std: for a Box, standard deviations never count as smaller, in the action's units.
        name: prefixes its rows in the table of metrics.

    Raises:
        ArgumentError: the module has nothing to learn, parameters of several dtypes, or outputs that are not finite;
            the device is not here; or stds are out of range, or given for actions that have none.
        MismatchError: the module's outputs do not fit the actions, or it cannot be given such observations.

    Attributes:
        spec: of the world that it was built for.
        name: see above.
        device: see above.
        dtype: of theta and of what the module is given.
    """

    initialised = True

    def __init__(  # noqa: PLR0913 - each is one independent choice, and all but two have defaults
        self,
        env_spec: EnvSpec,
        module: nn.Module,
        *,
        device: str = "cpu",
        init_std: float = FIRST_STD,
        min_std: float = LEAST_STD,
        name: str = "policy",
    ) -> None:
        self.spec, self.name = env_spec, name
        self.device = device_checked(device)
        self._head = head_of(env_spec, init_std, min_std)
        self._network = FlatModule.of(module, self.device, self._head.first_extra)
        self._first = self.theta
        self.dtype = self._first.dtype
        self._check_outputs(f"module {type(module).__name__}")

    @property
    def n_parameters(self) -> int:
        """P, the length of theta."""
        return len(self._network.flat)

    @property
    def theta(self) -> Array:
        """All parameters ``[P]``: the module's, one after the other, then the log-stds."""
        return self._network.array

    @theta.setter
    def theta(self, theta: Array) -> None:
        if theta.shape != (self.n_parameters,):
            msg = (
                f"Cannot set theta of `{self.name}`: got shape {theta.shape}, this policy has ({self.n_parameters},). "
                f"Its layers are {self._table()}."
            )
            raise MismatchError(msg)
        self._network = self._network.at(self._flat(theta))

    def initialise(self, generator: np.random.Generator) -> None:  # noqa: ARG002 - nothing is drawn
        """Put back the parameters that it was made with: the module's own weights, and the first stds."""
        self.theta = self._first

    def at(self, theta: Array) -> Self:
        """A light copy with other parameters ``[P]``."""
        other = copy.copy(self)
        other.theta = theta
        return other

    def initial_memory(self, n: int) -> Array:
        """``[n, 0]``: a module remembers nothing from one call to the next."""
        return np.zeros((n, 0), self.dtype)

    def draw_noise(self, generator: np.random.Generator, n_steps: int) -> Array:
        """Gumbel noise ``[n_steps, n_actions]``, or standard normal noise ``[n_steps, K]`` for a Box."""
        return self._head.draw_noise(generator, n_steps).astype(self.dtype)

    def act(self, observations: Array, memory: Array, noise: Array | None) -> tuple[Array, Array, Infos]:
        """Actions ``[n, ...]``; ``infos`` has ``"logits"`` ``[n, n_actions]``, or a Box's ``"mean"`` ``[n, ...]``."""
        with torch.no_grad():
            outputs = self._network.outputs(self._given(observations)).numpy(force=True)
        n_parameters = self._network.n_parameters
        return self._head.act(outputs, self.theta[n_parameters:], noise), memory, {self._head.info: outputs}

    def objective(self, batch: EpisodeBatch) -> FlatObjective:
        """The three questions about ``batch``; KL is measured from the present theta."""
        graphs = ModuleGraphs(self._network, self._given(batch.observations))
        return FlatObjective(graphs, self._head.family, batch.actions, self._network.flat)

    def state_dict(self) -> State:
        """Theta, the table of its layers, and under ``fixed`` the module's buffers and frozen parameters."""
        state: State = {"theta": self.theta, "layers": self._table()}
        fixed = {_path(name): np.array(value.numpy(force=True)) for name, value in self._network.fixed.items()}
        return state | {"fixed": rebuild(fixed)} if fixed else state

    def load_state_dict(self, state: State) -> None:
        """Take it back.

        Raises:
            MismatchError: a part is missing, or is of another module's shape or dtype.
        """
        owner = f"`{self.name}`"
        theta = take(state, "theta", owner)
        self._check_part("theta", theta, self.theta, state)
        ours = self._network.fixed
        theirs = flatten(take(state, "fixed", owner)) if ours else {}
        for name, tensor in ours.items():
            part = take(theirs, _path(name), f"{owner}/fixed")
            self._check_part(f"fixed/{_path(name)}", part, tensor.numpy(force=True), state)
        fixed = {name: torch.tensor(theirs[_path(name)], device=self.device) for name in ours}
        self._network = self._network.at(self._flat(theta), fixed)

    def _flat(self, theta: Array) -> Tensor:
        return torch.tensor(theta, dtype=self._network.dtype, device=self.device)

    def _given(self, observations: Array) -> Tensor:
        """Observations as the module is given them, but for their dtype."""
        space = self.spec.observation_space
        if isinstance(space, spaces.Discrete):
            observations = flatten_rows(space, observations, self.dtype)
        elif not isinstance(space, spaces.Box | spaces.MultiBinary | spaces.MultiDiscrete):
            msg = f"A ModulePolicy cannot read {space}: expected Box, Discrete, MultiBinary or MultiDiscrete."
            raise MismatchError(msg)
        elif observations.shape[1:] != space.shape:
            msg = f"Got observations of shape {observations.shape}, expected n rows of shape {space.shape} for {space}."
            raise MismatchError(msg)
        return torch.tensor(observations, device=self.device)

    def _check_part(self, path: str, part: object, ours: Array, state: State) -> None:
        if not isinstance(part, np.ndarray) or part.shape != ours.shape or part.dtype != ours.dtype:
            got = f"{part.dtype} of shape {part.shape}" if isinstance(part, np.ndarray) else repr(part)
            msg = (
                f"Cannot load `{self.name}/{path}`: the snapshot has {got}, this policy has {ours.dtype} of shape "
                f"{ours.shape}. The snapshot's layers are {state.get('layers', 'unknown')}; this policy's are "
                f"{self._table()}. Was it built with the same module?"
            )
            raise MismatchError(msg)

    def _check_outputs(self, module: str) -> None:
        space = self.spec.observation_space
        start = space.start if isinstance(space, spaces.Discrete) else 0
        observations = self._given(np.full((_CHECKED_ROWS, *(space.shape or ())), start, space.dtype))
        asked = f"{_CHECKED_ROWS} observations of zeros"
        try:
            with torch.enable_grad():
                outputs = self._network.outputs(observations)
        except Exception as error:
            msg = (
                f"The {module} cannot be given {asked} of shape {tuple(observations.shape)}, as {self._network.dtype}: "
                f"{type(error).__name__}: {error}"
            )
            raise MismatchError(msg) from error
        expected = (_CHECKED_ROWS, *self._head.output_shape)
        got = tuple(outputs.shape) if isinstance(outputs, Tensor) else f"a {type(outputs).__name__}"
        if got != expected:
            msg = (
                f"The {module} does not fit {self.spec.action_space}: for {asked} it gave {got}, expected a tensor of "
                f"shape {expected}: {self._head.meaning}."
            )
            raise MismatchError(msg)
        if outputs.dtype != self._network.dtype or not outputs.isfinite().all():
            msg = (
                f"The {module} gave {outputs.tolist()} of {outputs.dtype} for {asked}, expected finite numbers of "
                f"{self._network.dtype}, the dtype of its parameters."
            )
            raise ArgumentError(msg)
        if not outputs.requires_grad:
            msg = f"No parameter of the {module} changes its outputs. Does it detach them, or run under no_grad?"
            raise ArgumentError(msg)

    def _table(self) -> str:
        shapes = {_path(name): "x".join(map(str, shape)) or "1" for name, shape in self._network.shapes.items()}
        layers = [f"{path} {shape}" for path, shape in shapes.items()]
        n_extra = len(self._head.first_extra)
        return ", ".join(layers + [f"log_std {n_extra}"] * bool(n_extra))


def _mlp_objective(policy: MLPActor, family: Family, batch: EpisodeBatch, device: torch.device) -> FlatObjective:
    # Copied into memory of PyTorch's own, aligned as all of it is: products depend on that in their last bits.
    theta = torch.tensor(policy.theta, device=device)
    inputs = torch.tensor(policy.inputs(batch.observations), device=device)
    one = policy.n_outputs == 1 or isinstance(family, TwoActions)
    network = OneOutput(policy.shape, inputs) if one else MLPSweeps(policy.shape, inputs)
    return FlatObjective(network, family, batch.actions, theta)


def _path(name: str) -> str:
    """A parameter's name as a path of a state tree."""
    return name.replace(".", "/")
