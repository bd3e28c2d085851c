"""How action distributions act: noise drawn beforehand, actions a deterministic function of it.

Every framework's policies act through these, so the same outputs and noise give the same actions everywhere.
"""

import numpy as np

from garage.core import options
from garage.core.streams import uniforms
from garage.core.types import Array
from garage.errors import ArgumentError

_SMALLEST = 2.0**-54


def categorical_noise(generator: np.random.Generator, n_steps: int, n_actions: int) -> Array:
    """Gumbel noise ``[n_steps, n_actions]``, float64: `gumbel` of as many uniforms."""
    return gumbel(uniforms(generator, n_steps * n_actions).reshape(n_steps, n_actions))


def gumbel(uniforms: Array) -> Array:
    """Gumbel noise of uniforms ``[...]`` float64, in their place.

    The largest of logits plus Gumbel noise is distributed as their softmax: Gumbel 1954, "Statistical
    theory of extreme values and some practical applications"; Maddison et al. 2014, "A* sampling".
    """
    # A uniform may be exactly 0, whose logarithm is not finite; half a step above it is as good a draw.
    np.maximum(uniforms, _SMALLEST, out=uniforms)
    for _ in range(2):
        np.log(uniforms, out=uniforms)
        np.negative(uniforms, out=uniforms)
    return uniforms


def categorical_act(logits: Array, noise: Array | None) -> Array:
    """Action indices ``[n]`` int64 for logits ``[n, n_actions]``; the most likely ones without noise."""
    return np.asarray((logits if noise is None else logits + noise).argmax(axis=1))


def gaussian_noise(generator: np.random.Generator, n_steps: int, n_dimensions: int) -> Array:
    """Standard normal noise ``[n_steps, n_dimensions]``, float64."""
    return generator.standard_normal((n_steps, n_dimensions))


def gaussian_act(means: Array, stds: Array, noise: Array | None) -> Array:
    """Actions ``[n, n_dimensions]``; the means ``[n, n_dimensions]`` without noise. Stds are ``[n_dimensions]``."""
    return means if noise is None else means + stds * noise


def check_stds(owner: str, init_std: float, min_std: float) -> None:
    """Check that these can be the first and the least standard deviation of a policy.

    Raises:
        ArgumentError: they cannot, naming ``owner``, whose options they are.
    """
    options.check(owner, init_std=(init_std, options.POSITIVE), min_std=(min_std, options.POSITIVE))
    if min_std > init_std:
        msg = f"{owner}'s min_std must be at most init_std, got min_std={min_std} and init_std={init_std}."
        raise ArgumentError(msg)
