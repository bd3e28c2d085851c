"""Every test has a folder, a seed and generators of its own, and leaves nothing behind."""

import logging
import random

import numpy as np
import pytest

from experiment.parts import Fuse, Reporting, Walk
from garage import process


@pytest.fixture(autouse=True)
def own_process(tmp_path, monkeypatch):
    """As if each test were a process: its own folder, no seed; afterwards no handler, level or lock is left."""
    monkeypatch.chdir(tmp_path)
    states = random.getstate(), np.random.get_state(legacy=False)  # noqa: NPY002 - what trainings seed
    process.set_process_seed(None)
    yield
    process.set_process_seed(None)
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002 - as above
    Fuse.blows_at, Fuse.error, Reporting.extra, Walk.misbehaves = None, EOFError, {}, ""
    assert logging.getLogger("garage").handlers == []
    assert logging.getLogger("garage").level == logging.NOTSET
    assert not list(tmp_path.rglob("lock"))
