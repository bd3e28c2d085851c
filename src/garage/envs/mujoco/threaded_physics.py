"""The physics of n lanes in one ``MjData`` each, stepped by threads of Python's."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mujoco
import numpy as np

from garage.core.types import Array
from garage.envs.mujoco.world import Fields, World

_STATE = mujoco.mjtState.mjSTATE_INTEGRATION.value


class ThreadedPhysics:
    """See `garage.envs.mujoco.physics.Physics`.

    A step of one lane is one call into MuJoCo, or two, which let go of the interpreter lock.

    Args:
        model: the ``MjModel``.
        kind: of the world.
        n: number of lanes.
        n_threads: the caller's among them.
    """

    def __init__(self, model: Any, kind: type[World], n: int, n_threads: int) -> None:  # noqa: ANN401 - has no types
        self._model, self._frame_skip, self._forces = model, kind.frame_skip, kind.reads_contact_forces
        self._data = [mujoco.MjData(model) for _ in range(n)]
        # Views of what MuJoCo writes to, flat, because joining those takes no time.
        self._shapes = {name: getattr(self._data[0], name).shape for name in kind.fields}
        self._views = {name: [getattr(data, name).reshape(-1) for data in self._data] for name in kind.fields}
        self._controls = [data.ctrl for data in self._data]
        self._n_others = n_threads - 1
        self._others = ThreadPoolExecutor(max(1, self._n_others), "garage-physics")

    @property
    def state_size(self) -> int:
        """See `Physics`."""
        return int(mujoco.mj_stateSize(self._model, _STATE))

    def reset(self, lanes: Array, positions: Array, velocities: Array) -> None:
        """See `Physics`."""
        for row, lane in enumerate(lanes.tolist()):
            data = self._data[lane]
            mujoco.mj_resetData(self._model, data)
            data.qpos[:], data.qvel[:] = positions[row], velocities[row]
            mujoco.mj_forward(self._model, data)

    def step(self, lanes: Array, controls: Array) -> None:
        """See `Physics`."""
        waiting = deque(enumerate(lanes.tolist()))
        n_others = min(self._n_others, len(waiting) - 1)
        others = [self._others.submit(self._work, waiting, controls) for _ in range(n_others)]
        try:
            self._work(waiting, controls)
        finally:
            waiting.clear()
            for other in others:
                other.result()

    def fields(self, lanes: Array) -> Fields:
        """See `Physics`."""
        chosen = lanes.tolist()
        return {
            name: np.concatenate([views[lane] for lane in chosen]).reshape(-1, *self._shapes[name])
            for name, views in self._views.items()
        }

    def state(self, lanes: Array) -> Array:
        """See `Physics`."""
        rows = np.empty((len(lanes), self.state_size))
        for row, lane in zip(rows, lanes.tolist(), strict=True):
            mujoco.mj_getState(self._model, self._data[lane], row, _STATE)
        return rows

    def load_state(self, lanes: Array, rows: Array) -> None:
        """See `Physics`."""
        for row, lane in zip(rows, lanes.tolist(), strict=True):
            mujoco.mj_setState(self._model, self._data[lane], row, _STATE)

    def close(self) -> None:
        """See `Physics`."""
        self._others.shutdown()

    def _work(self, waiting: "deque[tuple[int, int]]", controls: Array) -> None:
        """Step one lane after the other until none is left, beside others who do so."""
        while True:
            try:
                row, lane = waiting.popleft()  # each to one thread, in any build of Python
            except IndexError:
                return
            data = self._data[lane]
            self._controls[lane][:] = controls[row]
            mujoco.mj_step(self._model, data, self._frame_skip)
            if self._forces:
                mujoco.mj_rnePostConstraint(self._model, data)
