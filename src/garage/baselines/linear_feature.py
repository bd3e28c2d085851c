"""A linear function of observation and time, fitted anew each epoch.

Source: Duan, Chen, Houthooft, Schulman and Abbeel 2016, "Benchmarking deep reinforcement learning for
continuous control", section 4.
"""

import logging

import numpy as np

from garage.core import options
from garage.core.recipe import Component
from garage.core.returns import explained_variance
from garage.core.spaces import check_spec, flat_size, flatten_rows
from garage.core.state import take
from garage.core.types import Array, EnvSpec, EpisodeBatch, Metrics, State
from garage.errors import MismatchError

_logger = logging.getLogger(__name__)

_CLIP = 10.0
_RIDGE_TRIES = 5


class LinearFeatureBaseline(Component):
    """Ridge regression on observations o clipped to ±10, o², t/100, its square and cube, and 1.

    Args:
        env_spec: the world's.
        ridge: weight of the squared coefficients; tenfold, up to five times, while the solution is not finite.
        name: prefixes its rows in the table of metrics.
    """

    def __init__(self, env_spec: EnvSpec, *, ridge: float = 1e-5, name: str = "LinearFeatureBaseline") -> None:
        check_spec("LinearFeatureBaseline", env_spec)
        options.check("LinearFeatureBaseline", ridge=(ridge, options.POSITIVE))
        self.spec, self.name, self.ridge = env_spec, name, ridge
        self._coefficients: Array = np.zeros(2 * flat_size(env_spec.observation_space) + 4)

    def initialise(self, generator: np.random.Generator) -> None:
        """Nothing to draw: the coefficients are zeros before the first fit."""

    def predict(self, batch: EpisodeBatch) -> Array:
        """Expected discounted return from each observation, ``[N]`` float64; zeros before the first fit."""
        return np.asarray(self._coefficients @ self._features(batch))

    def fit(self, batch: EpisodeBatch, returns: Array) -> Metrics:
        """Learn ``returns`` (``[N]``); ``ExplainedVariance`` is that of the prediction made before."""
        features = self._features(batch)
        explained = explained_variance(self._coefficients @ features, returns)
        gram, moments = features @ features.T, features @ returns
        if not (np.isfinite(gram).all() and np.isfinite(moments).all()):  # lstsq need not come back from these
            _logger.warning("%s: observations or returns are not finite or too large; it is not fitted", self.name)
            return {"ExplainedVariance": explained}
        for attempt in range(_RIDGE_TRIES + 1):
            regularised = gram + self.ridge * 10.0**attempt * np.eye(len(gram))
            coefficients = np.linalg.lstsq(regularised, moments, rcond=None)[0]
            if np.isfinite(coefficients).all():
                self._coefficients = coefficients
                break
        return {"ExplainedVariance": explained}

    def state_dict(self) -> State:
        """The coefficients."""
        return {"coefficients": self._coefficients.copy()}

    def load_state_dict(self, state: State) -> None:
        """Take the coefficients back.

        Raises:
            MismatchError: they are missing, or those of other observations.
        """
        coefficients = take(state, "coefficients", f"`{self.name}`")
        if not isinstance(coefficients, np.ndarray) or coefficients.shape != self._coefficients.shape:
            msg = (
                f"Cannot load `{self.name}/coefficients`: the snapshot has shape {np.shape(coefficients)}, this "
                f"baseline has {self._coefficients.shape}. Was it built for another environment?"
            )
            raise MismatchError(msg)
        self._coefficients = coefficients.astype(np.float64)

    def _features(self, batch: EpisodeBatch) -> Array:
        """``[2 d + 4, N]``: one row a feature, so that each is made in one sweep."""
        rows = flatten_rows(self.spec.observation_space, batch.observations, np.dtype(np.float64))
        d = rows.shape[1]
        features = np.empty((2 * d + 4, batch.n_steps))
        np.clip(rows.T, -_CLIP, _CLIP, out=features[:d])
        np.square(features[:d], out=features[d : 2 * d])
        t = batch.steps / 100.0
        features[2 * d], features[2 * d + 1], features[2 * d + 2] = t, t * t, t * t * t
        features[-1] = 1.0
        return features
