"""The baseline that predicts nothing."""

import numpy as np

from core.samples import TWO_ACTIONS, batch_of
from garage.baselines import ZeroBaseline


def test_it_predicts_zero_whatever_it_was_shown():
    baseline, batch = ZeroBaseline(TWO_ACTIONS), batch_of([3, 4])
    assert baseline.fit(batch, np.ones(7)) == {}
    assert baseline.predict(batch).tolist() == [0.0] * 7
    assert baseline.name == "ZeroBaseline"


def test_it_has_no_state():
    baseline = ZeroBaseline(TWO_ACTIONS, name="nothing")
    baseline.load_state_dict(baseline.state_dict())
    assert baseline.state_dict() == {}
