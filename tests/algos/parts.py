"""What algorithms are tested with: a batch, a world of which they see the spaces, a baseline that is known."""

import numpy as np

from core.samples import batch_of
from garage.baselines import ZeroBaseline
from garage.core.streams import Streams
from garage.core.types import End

BATCH = batch_of([40, 25, 60, 35], ends=[End.TERMINATED, End.TRUNCATED, End.CUT, End.TERMINATED])
V_LAST = np.array([0.0, 3.0, 3.0, 0.0])
"""What `Values` predicts after the segments of `BATCH`: bootstrapped where time ran out or the batch ended."""


class World:
    """As much of an environment as an algorithm looks at."""

    def __init__(self, spec):
        self.spec = spec


class Values(ZeroBaseline):
    """Predicts 3 everywhere and remembers what it was fitted to."""

    def predict(self, batch):
        return np.full(batch.n_steps, 3.0)

    def fit(self, batch, returns):
        self.fitted = batch, returns
        return {"Something": 1.5}


def one_epoch(algo, batch=BATCH, streams=None):
    """The metrics of an epoch in which ``batch`` is collected."""

    def collect(policy, *, fragments):
        assert fragments is algo.fragments
        return batch

    return algo.epoch(collect, streams or Streams(1))
