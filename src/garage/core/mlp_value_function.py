"""How MLP value functions predict and learn, whatever framework computes their gradient.

They predict by compiled kernels, over a flat theta on the host, as policies act (see `garage.core.mlp_actors`), so all
frameworks predict the same values from the same parameters, bit for bit. Targets, minibatches and Adam are the
same for all too. What a framework adds is one answer: the gradient of a minibatch's error.
"""

import abc
import math
from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from garage.core import options
from garage.core.adam import Adam, Moments
from garage.core.mlp import MLPShape, hidden_sizes_checked
from garage.core.recipe import Component
from garage.core.returns import explained_variance
from garage.core.spaces import check_spec, flat_size, flatten_rows
from garage.core.state import take
from garage.core.types import Array, EnvSpec, EpisodeBatch, Metrics, State
from garage.errors import ArgumentError, MismatchError, OrderError
from garage.kernels.mlp import Forward

_GOLDEN_RATIO = (math.sqrt(5.0) - 1.0) / 2.0
_LEAST_RATIO = 1e-3
_ROUNDING = 1e-12


class MLPCriticOptions(TypedDict, total=False):
    """The keyword-only options of `MLPCritic`, for constructors that pass them on."""

    learning_rate: float
    n_passes: int
    minibatch_size: int
    time_input: bool
    name: str
    dtype: str


class MLPCritic(Component, abc.ABC):
    """Least squares by Adam: an MLP of observation and time learns returns.

    One fit::

        mean, std <- of this fit's returns; the output layer is changed so that no prediction changes
        y <- (returns - mean) / std
        n_passes times, for each minibatch (x, y), in the same order every time:
            theta <- Adam's step down the gradient of mean (f_theta(x) - y)^2

    A prediction is ``mean + std * f_theta(x)``; it is 0 before the first fit. Theta and Adam's moments stay from one
    fit to the next. The inputs are the flattened observation, not scaled, and t/100 with t the step in its episode.
    Where a batch is a few steps of each of a few lanes, t tells the lanes apart, and the network learns them by heart;
    leave it out there.

    Source: van Hasselt, Guez, Hessel, Mnih and Silver 2016, "Learning values across many orders of magnitude",
    proposition 1, for the change of the output layer. Deviations: mean and std are those of one batch, and an std
    below a thousandth of the last, or within the rounding of the mean, leaves the last, for the weights would grow
    by what it shrinks. Until returns differ from each other, their mean is the prediction.

    Args:
        env_spec: the world's.
        hidden_sizes: units of each hidden layer, all tanh.
        learning_rate: Adam's, about how far a parameter moves in one step.
        n_passes: how often each row of a batch is learned from in one fit.
        minibatch_size: rows a gradient at most; a batch is divided evenly into as few minibatches as that allows.
        time_input: whether t/100 is an input.
        name: prefixes its rows in the table of metrics.
        dtype: ``"float32"`` or ``"float64"``, of theta; returns and moments are float64.

    Attributes:
        shape: of the network.

    Raises:
        ArgumentError: an option is out of range.
        MismatchError: the world's observations are no rows of numbers.
    """

    def __init__(  # noqa: PLR0913 - each is one independent choice with a default
        self,
        env_spec: EnvSpec,
        hidden_sizes: Sequence[int] = (64, 64),
        *,
        learning_rate: float = 1e-3,
        n_passes: int = 10,
        minibatch_size: int = 128,
        time_input: bool = True,
        name: str = "MLPValueFunction",
        dtype: str = "float32",
    ) -> None:
        check_spec("MLPValueFunction", env_spec)
        if dtype not in {"float32", "float64"}:
            msg = f"dtype must be 'float32' or 'float64', got {dtype!r}."
            raise ArgumentError(msg)
        options.check(
            "MLPValueFunction",
            n_passes=(n_passes, options.COUNT),
            minibatch_size=(minibatch_size, options.COUNT),
            time_input=(time_input, options.SWITCH),
        )
        self.spec, self.name, self.time_input = env_spec, name, time_input
        self.hidden_sizes = hidden_sizes_checked(hidden_sizes)
        self.dtype = np.dtype(dtype)
        self.n_passes, self.minibatch_size = int(n_passes), int(minibatch_size)
        self.shape = MLPShape((flat_size(env_spec.observation_space) + int(time_input), *self.hidden_sizes, 1))
        self._adam = Adam(learning_rate)
        self._theta: Array | None = None
        self._moments = Moments.zeros(self.shape.n_parameters)
        self._mean = self._std = 0.0

    @abc.abstractmethod
    def _gradient(self, theta: Array, inputs: Array, targets: Array) -> Array:
        """Of the mean of ``(f_theta(inputs) - targets)²``, by theta: ``[P]`` float64.

        Args:
            theta: ``[P]`` of `dtype`.
            inputs: ``[n, shape.sizes[0]]`` of `dtype`.
            targets: ``[n]`` of `dtype`.
        """

    @abc.abstractmethod
    def _warn(self, message: str) -> None:
        """Log a warning; the core has no log of its own."""

    @property
    def theta(self) -> Array:
        """The network's parameters ``[P]``, read-only.

        Raises:
            OrderError: nothing has been initialised or loaded yet.
        """
        if self._theta is None:
            msg = (
                f"The value function `{self.name}` has no parameters yet. Call value_function.initialise(generator), "
                "for example with numpy.random.default_rng(1), or trainer.setup(algo, env), which does it from the "
                "run's seed."
            )
            raise OrderError(msg)
        return self._theta

    def initialise(self, generator: np.random.Generator) -> None:
        """Draw the network's first parameters (see `MLPShape.draw`), and forget what was learned."""
        self._keep(self.shape.draw(generator), Moments.zeros(self.shape.n_parameters), 0.0, 0.0)

    def predict(self, batch: EpisodeBatch) -> Array:
        """Expected return from each observation, ``[N]`` float64; zeros before the first fit.

        Raises:
            OrderError: nothing has been initialised or loaded yet.
        """
        return self._mean + self._std * self._outputs(self.theta, self._inputs(batch))

    def fit(self, batch: EpisodeBatch, returns: Array) -> Metrics:
        """Learn ``returns`` (``[N]``).

        What is not finite is not learned, and a warning says so.

        Returns:
            ``ExplainedVariance`` of the prediction made before, and ``Loss``, the mean squared error after, in
            units of ``std²``. Both are NaN if nothing was learned.

        Raises:
            MismatchError: there is not one return a step.
            OrderError: nothing has been initialised or loaded yet.
        """
        if returns.shape != (batch.n_steps,):
            msg = f"Cannot fit `{self.name}` to returns of shape {returns.shape}: expected ({batch.n_steps},)."
            raise MismatchError(msg)
        theta, moments = self.theta, self._moments
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is found below
            inputs, mean, std = self._inputs(batch), float(np.mean(returns)), float(np.std(returns))
            if not (np.isfinite(inputs).all() and math.isfinite(mean) and math.isfinite(std)):
                self._warn(f"{self.name}: observations or returns are not finite or too large; it is not fitted")
                return {"ExplainedVariance": math.nan, "Loss": math.nan}
            explained = explained_variance(self._mean + self._std * self._outputs(theta, inputs), returns)
            if std < max(_LEAST_RATIO * self._std, _ROUNDING * abs(mean)):
                std = self._std
            theta = self._rescaled(mean, std)
            targets = (returns - mean) / (std or 1.0)
            minibatches = self._minibatches(inputs, targets.astype(self.dtype))
            for _ in range(self.n_passes):
                for minibatch in minibatches:
                    theta, moments = self._adam.step(theta, self._gradient(theta, *minibatch), moments)
                    theta = theta.astype(self.dtype)
            errors = self._outputs(theta, inputs) - targets
        if not all(np.isfinite(vector).all() for vector in (theta, moments.first, moments.second, errors)):
            self._warn(
                f"{self.name}: learning led to parameters or predictions that are not finite; it is not fitted. "
                "Scale the observations, or lower learning_rate"
            )
            return {"ExplainedVariance": math.nan, "Loss": math.nan}
        self._keep(theta, moments, mean, std)
        return {"ExplainedVariance": explained, "Loss": float(np.mean(errors * errors))}

    def state_dict(self) -> State:
        """Theta, the table of its layers, Adam's moments, and the mean and deviation of the returns last learned."""
        return {
            "theta": self.theta,
            "layers": self.shape.table(),
            "moments": self._moments.state_dict(),
            "returns": {"mean": self._mean, "std": self._std},
        }

    def load_state_dict(self, state: State) -> None:
        """Take everything back.

        Raises:
            MismatchError: a part is missing, or of a value function of another shape or dtype.
        """
        theta = take(state, "theta", f"`{self.name}`")
        n = self.shape.n_parameters
        if not isinstance(theta, np.ndarray) or theta.shape != (n,) or theta.dtype != self.dtype:
            got = f"{theta.dtype} of shape {theta.shape}" if isinstance(theta, np.ndarray) else repr(theta)
            msg = (
                f"Cannot load `{self.name}/theta`: the snapshot has {got}, this value function has {self.dtype} of "
                f"shape ({n},). The snapshot's layers are {state.get('layers', 'unknown')}; this value function was "
                f"built with hidden_sizes={self.hidden_sizes}."
            )
            raise MismatchError(msg)
        moments = Moments.of_state(take(state, "moments", f"`{self.name}`"), n, f"`{self.name}/moments`")
        scale = []
        for key in ("mean", "std"):
            value = take(take(state, "returns", f"`{self.name}`"), key, f"`{self.name}/returns`")
            if not isinstance(value, float):
                msg = f"Cannot load `{self.name}/returns/{key}`: got {value!r}, expected a float."
                raise MismatchError(msg)
            scale.append(value)
        self._keep(theta, moments, *scale)

    def _keep(self, theta: Array, moments: Moments, mean: float, std: float) -> None:
        self._theta = theta.astype(self.dtype)  # a copy of our own, so that nobody else can change it
        self._theta.flags.writeable = False
        self._moments, self._mean, self._std = moments, mean, std

    def _rescaled(self, mean: float, std: float) -> Array:
        """Theta with an output layer that predicts the same with another mean and std."""
        if not self._std:  # every prediction is the mean, whatever the network says
            return self.theta
        theta = self.theta.copy()
        weights, biases = self.shape.layers(theta)[-1]
        weights *= self._std / std
        biases[...] = (self._std * biases.astype(np.float64) + (self._mean - mean)) / std
        return theta

    def _inputs(self, batch: EpisodeBatch) -> Array:
        rows = flatten_rows(self.spec.observation_space, batch.observations, self.dtype)
        if not self.time_input:
            return rows
        time = (batch.steps / 100.0).astype(self.dtype)
        return np.concatenate([rows, time[:, np.newaxis]], axis=1)

    def _outputs(self, theta: Array, inputs: Array) -> Array:
        """``[N]`` float64, in standard deviations from the mean."""
        return Forward(self.shape.sizes, theta)(inputs)[:, 0].astype(np.float64)

    def _minibatches(self, inputs: Array, targets: Array) -> list[tuple[Array, Array]]:
        """All rows, dealt out so that each minibatch has rows of the whole batch.

        Neighbours are a golden section of the batch apart: no period of episodes or of time meets that of the
        minibatches, and nothing is drawn.
        """
        n = len(targets)
        stride = round(_GOLDEN_RATIO * n)
        while math.gcd(stride, n) > 1:
            stride += 1
        order = np.arange(n) * stride % n
        return [(inputs[rows], targets[rows]) for rows in np.array_split(order, math.ceil(n / self.minibatch_size))]
