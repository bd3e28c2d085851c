"""Lanes that are separate gymnasium environments, stepped one after another."""

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from garage.core.ports import Rung
from garage.core.state import take_array, take_as
from garage.core.types import Array, State, Transition
from garage.envs.protocol import is_number, not_a_reward
from garage.errors import GarageError, MismatchError, OrderError, WorldRaisedError

_NEXT_STEP = "Is it the same version of the world? `garage check-env` says whether a world can be replayed."


class GymLanes:
    """One gymnasium environment a lane; see `garage.core.ports.Lanes`.

    What an environment raises is passed on as it is.

    Args:
        name: the world's name, for messages.
        envs: the environments, lane by lane.
        info_keys: entries of gymnasium's ``info`` that become `Transition.infos`, each ``[k]`` float64; NaN where
            an entry is missing or no number.
        step_limit: steps after which an episode is truncated here, because no environment does it; or None.
        owned: whether `close` closes the environments.
        rung: how they go on in mid-episode.
        build: makes an environment for each episode, in the place of the lane's; None keeps those of ``envs``.
    """

    def __init__(  # noqa: PLR0913 - what is known of the world
        self,
        name: str,
        envs: Sequence[gymnasium.Env[Any, Any]],
        *,
        info_keys: Sequence[str],
        step_limit: int | None,
        owned: bool,
        rung: Rung = Rung.REPLAY,
        build: Callable[[], gymnasium.Env[Any, Any]] | None = None,
    ) -> None:
        self.rung = rung
        self._name = name
        self._envs = list(envs)
        self._build = build
        self._observation_space = envs[0].observation_space
        self._action_space = envs[0].action_space
        self._action_shape = envs[0].action_space.shape or ()
        self._info_keys = tuple(info_keys)
        self._step_limit = step_limit
        self._owned = owned
        self._elapsed = [0] * len(self._envs)
        self._seeds = [0] * len(self._envs)
        self._taken = [_Actions() for _ in self._envs]

    @property
    def n(self) -> int:
        """Number of lanes."""
        return len(self._envs)

    def reset(self, lanes: Array, seeds: Sequence[int]) -> Array:
        """See `garage.core.ports.Lanes`; observations in the dtype of the observation space.

        Raises:
            MismatchError: an observation has another shape than the observation space.
        """
        observations = self._blank(len(lanes))
        for row, (lane, seed) in enumerate(zip(lanes.tolist(), seeds, strict=True)):
            if self._build is not None:
                self._envs[lane].close()
                self._envs[lane] = self._build()
            observation, _ = self._envs[lane].reset(seed=int(seed))
            self._elapsed[lane], self._seeds[lane] = 0, int(seed)
            self._taken[lane].clear()
            observations[row] = self._fitting(observation, "reset")
        return observations

    def step(self, lanes: Array, actions: Array) -> Transition:
        """See `garage.core.ports.Lanes`.

        Args:
            lanes: ``[k]`` int, ascending.
            actions: ``[k, ...]``; clipped to the bounds of a Box, and counted from 0 for a Discrete space, whatever
                its ``start``.

        Raises:
            MismatchError: an observation has another shape than the observation space; or a reward is no number.
        """
        n_stepped = len(lanes)
        observations = self._blank(n_stepped)
        rewards = np.empty(n_stepped)
        terminated = np.empty(n_stepped, np.bool_)
        truncated = np.empty(n_stepped, np.bool_)
        infos = {key: np.full(n_stepped, np.nan) for key in self._info_keys}
        legal = legal_actions(self._action_space, actions)
        for row, lane in enumerate(lanes.tolist()):
            step = self._envs[lane].step(legal[row])
            observation, reward, terminated[row], truncated[row], info = step
            if not is_number(reward):
                raise MismatchError(not_a_reward(self._name, reward))
            rewards[row] = reward
            observations[row] = self._fitting(observation, "step")
            self._elapsed[lane] += 1
            self._taken[lane].append(actions[row])
            if self._step_limit is not None and self._elapsed[lane] >= self._step_limit:
                truncated[row] = True
            for key in self._info_keys:
                if key in info and is_number(info[key]):
                    infos[key][row] = info[key]
        return Transition(observations, rewards, terminated, truncated, infos)

    def state_dict(self, lanes: Array) -> State:
        """See `garage.core.ports.Lanes`: seeds ``[k]``, actions since each reset one after the other, and how many."""
        if self.rung is Rung.CUT:
            msg = f"{self._name} cannot be left in mid-episode. Finish its episodes: collect without fragments."
            raise OrderError(msg)
        chosen = lanes.tolist()
        taken = [self._taken[lane].rows() for lane in chosen if self._elapsed[lane]]
        return {
            "seeds": np.array([self._seeds[lane] for lane in chosen], np.int64),
            "lengths": np.array([self._elapsed[lane] for lane in chosen], np.int64),
            "actions": np.concatenate(taken) if taken else np.empty((0, *self._action_shape)),
        }

    def load_state_dict(self, lanes: Array, state: State) -> Array:
        """See `garage.core.ports.Lanes`: the episodes are taken again from their beginning.

        Raises:
            MismatchError: the state is not one of such lanes; or an episode ended before it was where it was.
            WorldRaisedError: an environment raised on the way.
        """
        seeds, lengths, actions = self._checked(lanes, state)
        observations = self._blank(len(lanes))
        ends = np.cumsum(lengths)
        for row, (lane, seed, start, end) in enumerate(
            zip(lanes.tolist(), seeds.tolist(), (ends - lengths).tolist(), ends.tolist(), strict=True)
        ):
            observations[row] = self._replayed(lane, seed, actions[start:end])
        return observations

    def _replayed(self, lane: int, seed: int, actions: Array) -> Array:
        """Take an episode again in a lane; returns its last observation."""
        alone, step = np.array([lane]), 0
        try:
            observation: Array = self.reset(alone, [seed])[0]
            for step, action in enumerate(actions, start=1):  # noqa: B007 - the message says it
                transition = self.step(alone, action[np.newaxis])
                observation = transition.observations[0]
                if transition.terminated[0] or transition.truncated[0]:
                    break
            else:
                return observation
        except GarageError:
            raise
        except Exception as error:
            msg = (
                f"{self._name} raised {type(error).__name__}: {error}, when the episode with the seed {seed} was "
                f"replayed in lane {lane}, at step {step} of {len(actions)}. {_NEXT_STEP}"
            )
            raise WorldRaisedError(msg) from error
        msg = (
            f"{self._name} ended the episode with the seed {seed} at step {step} when it was replayed in lane {lane}; "
            f"it had gone on after step {len(actions)}. {_NEXT_STEP}"
        )
        raise MismatchError(msg)

    def _checked(self, lanes: Array, state: State) -> tuple[Array, Array, Array]:
        owner = f"{len(lanes)} lanes of {self._name}"
        seeds = take_array(state, "seeds", owner, np.int64, (len(lanes),))
        lengths = take_array(state, "lengths", owner, np.int64, (len(lanes),))
        actions = take_as(state, "actions", owner, np.ndarray)
        if (seeds < 0).any() or (lengths < 0).any() or lengths.sum() != len(actions):
            msg = (
                f"Cannot load the state of {owner}: there are {len(actions)} `actions`, `seeds` {seeds.tolist()} and "
                f"`lengths` {lengths.tolist()}; expected as many actions as `lengths` in all, and both at least 0."
            )
            raise MismatchError(msg)
        if actions.shape[1:] != self._action_shape or actions.dtype.kind not in "biuf":
            msg = (
                f"Cannot load the state of {owner}: `actions` are {actions.dtype}{list(actions.shape)}, expected "
                f"numbers of the shape {[len(actions), *self._action_shape]} for {self._action_space}."
            )
            raise MismatchError(msg)
        return seeds, lengths, actions

    def close(self) -> None:
        """Close the environments that were made for these lanes."""
        if self._owned:
            for env in self._envs:
                env.close()

    def _blank(self, n: int) -> Array:
        shape = self._observation_space.shape
        return np.empty((n, *(shape or ())), self._observation_space.dtype)

    def _fitting(self, observation: object, call: str) -> Array:
        array = np.asarray(observation)
        if array.shape != self._observation_space.shape:
            msg = (
                f"`{call}` of {self._name} returned an observation of shape {array.shape}, but its observation space "
                f"{self._observation_space} says {self._observation_space.shape}. Correct one of them."
            )
            raise MismatchError(msg)
        space = self._observation_space
        if isinstance(space, spaces.Discrete) and not space.start <= array < space.start + space.n:
            msg = (
                f"`{call}` of {self._name} returned the observation {array}, which its observation space {space} does "
                "not have. Correct one of them."
            )
            raise MismatchError(msg)
        return array


class _Actions:
    """The actions of one episode, in an array that doubles."""

    def __init__(self) -> None:
        self._rows = np.empty(0)
        self._n = 0

    def clear(self) -> None:
        self._n = 0

    def append(self, action: Array) -> None:
        if self._n == len(self._rows) or self._rows.dtype != action.dtype:
            dtype = np.promote_types(self._rows.dtype, action.dtype) if self._n else action.dtype
            grown = np.empty((max(64, 2 * self._n), *action.shape), dtype)
            if self._n:
                grown[: self._n] = self._rows[: self._n]
            self._rows = grown
        self._rows[self._n] = action
        self._n += 1

    def rows(self) -> Array:
        return self._rows[: self._n]


def legal_actions(space: "spaces.Space[Any]", actions: Array) -> Array:
    """Actions ``[k, ...]`` as the space has them: inside a Box, from ``start`` on if Discrete, in its dtype."""
    if isinstance(space, spaces.Box):
        return np.asarray(np.clip(actions, space.low, space.high).astype(space.dtype))
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return np.asarray(actions + space.start).astype(space.dtype)
    return np.asarray(actions).astype(space.dtype)
