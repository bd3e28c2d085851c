"""CartPole-v1 for many lanes at once, in NumPy, with the same bits as gymnasium's.

Dynamics: Barto, Sutton and Anderson 1983, "Neuronlike adaptive elements that can solve difficult learning
control problems", as corrected by Florian 2007, "Correct equations for the dynamics of the cart-pole
system", eqs. 23 and 24 without friction; integrated by Euler's method. Everything is float64 until an
observation is rounded to float32, and every operation is one that gymnasium does on scalars, in its order
or in one that rounds alike; so the bits agree, whatever the number of lanes.
"""

from collections.abc import Sequence

import numpy as np

from garage.core.types import Array
from garage.envs.array_lanes import ArrayLanes, uniform

WORLD_ID = "CartPole-v1"
ENTRY_POINT = "gymnasium.envs.classic_control.cartpole:CartPoleEnv"

_MASS_CART = 1.0
_MASS_POLE = 0.1
_HALF_LENGTH = 0.5
_START = 0.05

# As arrays without dimensions, because a ufunc converts a Python float anew at each call.
_GRAVITY = np.array(9.8)
_TOTAL_MASS = np.array(_MASS_POLE + _MASS_CART)
_POLE_MASS_LENGTH = np.array(_MASS_POLE * _HALF_LENGTH)
_INERTIA = np.array(_HALF_LENGTH * (4.0 / 3.0))
_SECONDS = np.array(0.02)
_FORCES = np.array([-10.0, 10.0])
_BOUNDS = np.array([[2.4], [12 * 2 * np.pi / 360]])

_ROWS = [0, 2, 1, 3]
"""Where position, angle and their velocities stand in a start and in an observation."""


class CartPoleLanes(ArrayLanes):
    """n cart-poles as a structure of arrays; see `garage.core.ports.Lanes`.

    Actions ``[k]`` int in {0, 1}; observations ``[k, 4]`` float32. The state is position, angle and their velocities,
    ``[4, k]``.

    Args:
        n: number of lanes.
        max_episode_length: steps after which an episode is truncated, or None.
    """

    def __init__(self, n: int, max_episode_length: int | None) -> None:
        # Rows: position, angle, their velocities, their accelerations. The first four change at the rate of the
        # last four, so one product and one sum move them all. Cosine and sine rest in the rows of the accelerations
        # until those are known.
        motion = np.zeros((6, n))
        super().__init__(WORLD_ID, motion[:4], np.full(4, np.inf), np.float64, max_episode_length)
        self._rates, self._coordinates = motion[2:], motion[:2]
        self._cos_sin, self._speed_and_cos = motion[4:], motion[3:5]
        self._angle = motion[1]
        self._cos, self._sin = motion[4], motion[5]
        self._cart_acceleration, self._pole_acceleration = motion[4], motion[5]
        self._observed = motion[:4].reshape(2, 2, n).transpose(2, 1, 0)
        terms = np.empty((3, n))
        terms[2] = _GRAVITY
        self._squares, self._terms = terms[1::-1], terms[:2]
        self._inertia, self._thrust = terms[0], terms[1]
        self._thrust_gravity = terms[1:]
        self._products = np.empty((2, n))
        self._cos_thrust, self._sin_gravity = self._products
        self._change = np.empty((4, n))
        self._distances = self._change[:2]
        self._bounds = np.repeat(_BOUNDS, n, axis=1)
        self._outside = np.empty((2, n), np.bool_)
        self._off_track, self._tilted = self._outside
        self._rewards = np.ones(n)  # handed out again and again, so nobody may write to it
        self._rewards.flags.writeable = False

    def _starts(self, generators: Sequence[np.random.Generator]) -> Array:
        return uniform(generators, -_START, _START, 4).T[_ROWS]

    def _forces(self, actions: Array) -> Array:
        forces: Array = _FORCES[actions]
        return forces

    def _advance(self, forces: Array, *, chosen: Array | bool) -> tuple[Array, Array, Array]:
        self._move(forces, chosen=chosen)
        return self._seen(), self._rewards, self._fallen()

    def _observations(self, lanes: Array) -> Array:
        return self._seen().take(lanes, axis=0)

    def _move(self, force: Array, *, chosen: Array | bool) -> None:
        """Florian 2007, eqs. 23 and 24, then one Euler step of the chosen lanes."""
        np.cos(self._angle, self._cos)
        np.sin(self._angle, self._sin)
        # Pole mass times half length is also half the pole's mass, which is what cos² is multiplied with below.
        np.square(self._speed_and_cos, self._squares)
        np.multiply(self._terms, _POLE_MASS_LENGTH, self._terms)
        np.multiply(self._thrust, self._sin, self._thrust)
        np.add(self._thrust, force, self._thrust)
        np.divide(self._terms, _TOTAL_MASS, self._terms)
        # The half length is multiplied into both terms of the inertia beforehand: halving rounds nothing.
        np.subtract(_INERTIA, self._inertia, self._inertia)
        np.multiply(self._cos_sin, self._thrust_gravity, self._products)
        np.subtract(self._sin_gravity, self._cos_thrust, self._sin_gravity)
        np.divide(self._sin_gravity, self._inertia, self._pole_acceleration)
        reaction = self._cos_thrust
        np.multiply(self._pole_acceleration, _POLE_MASS_LENGTH, reaction)
        np.multiply(reaction, self._cos, reaction)
        np.divide(reaction, _TOTAL_MASS, reaction)
        np.subtract(self._thrust, reaction, self._cart_acceleration)
        np.multiply(self._rates, _SECONDS, self._change)
        np.add(self._state, self._change, self._state, where=chosen)

    def _seen(self) -> Array:
        return self._observed.astype(np.float32, order="C").reshape(self.n, 4)

    def _fallen(self) -> Array:
        np.abs(self._coordinates, self._distances)
        np.greater(self._distances, self._bounds, self._outside)
        fallen: Array = np.logical_or(self._off_track, self._tilted)
        return fallen
