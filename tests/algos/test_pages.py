"""The pages on algorithms list every option with its default, and every row of the table of metrics."""

import inspect
import math
import re
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces

from algos.parts import BATCH, World, one_epoch
from core.samples import PLANE, TWO_ACTIONS, batch_of
from garage.algos import NPG, PPO, TRPO, VPG
from garage.baselines import ZeroBaseline
from garage.core.streams import Streams
from garage.core.types import EnvSpec
from garage.np.policies import CategoricalMLPPolicy, GaussianMLPPolicy

PAGES = Path(__file__).parents[2] / "docs" / "algorithms"
NAMES = {"True": True, "False": False, "None": None, "math.inf": math.inf}


def value_of(text):
    text = text.strip("`")
    return NAMES[text] if text in NAMES else float(text)


@pytest.mark.parametrize("kind", [TRPO, NPG, VPG, PPO])
def test_options_and_defaults_are_those_of_the_page(kind):
    page = (PAGES / f"{kind.__name__.lower()}.md").read_text(encoding="utf-8")
    told = {name: value_of(default) for name, default in re.findall(r"^\| `(\w+)` \| (\S+) \|", page, re.MULTILINE)}
    parameters = inspect.signature(kind).parameters.values()
    defaults = {each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty}
    assert told == defaults
    assert list(told) == list(defaults)


@pytest.mark.parametrize("kind", [TRPO, NPG, VPG, PPO])
def test_rows_are_those_of_the_page(kind):
    algo = kind(env=World(TWO_ACTIONS), policy=CategoricalMLPPolicy(TWO_ACTIONS), baseline=ZeroBaseline(TWO_ACTIONS))
    algo.initialise(Streams(1))
    metrics = one_epoch(algo, BATCH)
    assert np.isfinite(list(metrics.values())).all()
    text = (PAGES / "README.md").read_text(encoding="utf-8").partition("**Rows**")[2]
    rows = re.findall(r"^\| (`.*?) \| (PPO: )?", text, re.MULTILINE)
    told = {name for names, ppo in rows for name in re.findall(r"`(\w+)`", names) if kind is PPO or not ppo}
    assert {f"policy/{name}" for name in told} == set(metrics)


def test_a_perplexity_beyond_all_floats_is_infinite():
    spec = EnvSpec(PLANE, spaces.Box(-1, 1, (512,), np.float32), 500)
    algo = VPG(env=World(spec), policy=GaussianMLPPolicy(spec, (4,)), baseline=ZeroBaseline(spec))
    algo.initialise(Streams(1))
    metrics = one_epoch(algo, batch_of([20, 30], spec=spec))
    assert metrics["policy/Entropy"] > 710
    assert metrics["policy/Perplexity"] == math.inf
