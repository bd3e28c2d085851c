"""The physics of n lanes in one of MuJoCo's batches, whose threads are its own."""

from typing import Any

from mujoco import mjtStage
from mujoco.batch import Batch

from garage.core.types import Array
from garage.envs.mujoco.world import Fields, World


class BatchedPhysics:
    """See `garage.envs.mujoco.physics.Physics`; not for a world that reads contact forces.

    Args:
        model: the ``MjModel``.
        kind: of the world.
        n: number of lanes.
        n_threads: of the batch, the caller's among them.
    """

    def __init__(self, model: Any, kind: type[World], n: int, n_threads: int) -> None:  # noqa: ANN401 - has no types
        self._frame_skip = kind.frame_skip
        self._batch: Any = Batch(model, n, n_threads)
        self._rows: dict[str, Array] = {name: self._batch.bind(name) for name in kind.fields}
        self._controls: Any = self._batch.bind("ctrl")

    @property
    def state_size(self) -> int:
        """See `Physics`."""
        return int(self._batch.nstate)

    def reset(self, lanes: Array, positions: Array, velocities: Array) -> None:
        """See `Physics`."""
        self._batch.reset(lanes, stage=mjtStage.mjSTAGE_NONE.value)
        self._rows["qpos"][lanes], self._rows["qvel"][lanes] = positions, velocities
        self._batch.forward(lanes)

    def step(self, lanes: Array, controls: Array) -> None:
        """See `Physics`."""
        if lanes.size == self._batch.nsim:
            self._controls[:] = controls
            self._batch.step(None, self._frame_skip)
        else:
            self._controls[lanes] = controls
            self._batch.step(lanes, self._frame_skip)

    def fields(self, lanes: Array) -> Fields:
        """See `Physics`."""
        if lanes.size == self._batch.nsim:
            return self._rows
        return {name: rows[lanes] for name, rows in self._rows.items()}

    def state(self, lanes: Array) -> Array:
        """See `Physics`."""
        rows: Array = self._batch.state[lanes]
        return rows

    def load_state(self, lanes: Array, rows: Array) -> None:
        """See `Physics`."""
        self._batch.state[lanes] = rows

    def close(self) -> None:
        """See `Physics`: the batch ends its threads when nothing holds it or its arrays."""
        self._batch = self._controls = None
        self._rows.clear()
