"""Seeds and the process's generators: what is set, saved and put back, and what is left alone."""

import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment.parts import digests, messages, new_trainer, rows, run_script, trained
from garage.core import state as state_trees
from garage.errors import MismatchError
from garage.experiment.deterministic import set_seed
from garage.process import (
    draw_seed,
    generators_state,
    get_seed,
    load_generators_state,
    set_process_seed,
)

DRAWS = {
    "gauss": lambda: random.gauss(0, 1),
    "random": random.random,
    "bits": lambda: random.getrandbits(5),
    "normal": np.random.normal,
    "uniform": np.random.random,
    "integers": lambda: np.random.randint(3, size=5).tolist(),  # noqa: NPY002 - as above
}


def as_stored():
    """The generators' state after the way through bytes that a snapshot takes."""
    leaves = state_trees.flatten(generators_state())
    codes = {path: state_trees.encode(path, leaf) for path, leaf in leaves.items()}
    decoded = {path: state_trees.decode(path, code.dtype, code.shape, code.data) for path, code in codes.items()}
    return state_trees.rebuild(decoded)


def equal(one, other):
    return state_trees.differences(one, other) == []


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**40), st.lists(st.sampled_from(sorted(DRAWS)), max_size=12), st.sampled_from(sorted(DRAWS)))
def test_generators_come_back_exactly_and_nothing_is_drawn(seed, before, following):
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - users' code may use it
    for name in before:
        DRAWS[name]()
    state, saved = generators_state(), as_stored()
    assert equal(state, generators_state())  # reading it draws nothing
    expected = [DRAWS[name]() for name in (following, *DRAWS)]
    load_generators_state(saved)
    assert equal(state, generators_state())
    assert [DRAWS[name]() for name in (following, *DRAWS)] == expected


def test_cached_normals_are_part_of_the_state():
    set_seed(1)
    first = random.gauss(0, 1), np.random.normal()  # noqa: NPY002 - users' code may use it
    saved = as_stored()
    assert saved["random"]["gauss"] is not None
    assert saved["numpy"]["has_gauss"] == 1
    second = random.gauss(0, 1), np.random.normal()  # noqa: NPY002 - as above
    load_generators_state(saved)
    assert (random.gauss(0, 1), np.random.normal()) == second != first  # noqa: NPY002 - as above


@pytest.mark.parametrize(("kind", "part"), [("random", None), ("numpy", None), ("random", "words"), ("numpy", "pos")])
def test_a_missing_part_is_an_error(kind, part):
    state = generators_state()
    node, key = (state, kind) if part is None else (state[kind], part)
    del node[key]
    with pytest.raises(MismatchError, match=f"state of the process's generators: `{key}` is missing"):
        load_generators_state(state)


def test_set_seed_says_so_and_seeds_users_generators(capsys):
    draws = []
    for seed in (1, 1, 2):
        set_seed(seed)
        assert get_seed() == seed
        draws.append([draw() for draw in DRAWS.values()])
    assert draws[0] == draws[1] != draws[2]
    assert messages(capsys.readouterr().out) == ["Setting seed to 1", "Setting seed to 1", "Setting seed to 2"]


def test_numpys_integers_are_seeds_too():
    set_seed(np.int64(3))
    assert get_seed() == 3
    assert type(get_seed()) is int


def test_drawn_seeds_differ_whatever_users_generators_were_seeded_with():
    drawn = set()
    for _ in range(4):
        set_seed(1)
        drawn.add(draw_seed())
    assert len(drawn) == 4
    set_process_seed(None)


def test_the_same_seed_gives_the_same_run_and_another_one_another():
    trained("a", 3, seed=1)
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002 - what users did before must not matter
    trained("b", 3, seed=1)
    trained("c", 3, seed=2)
    assert digests("a") == digests("b")
    assert not set(digests("a")) & set(digests("c"))


def test_episodes_differ_from_lane_to_lane_and_from_epoch_to_epoch():
    trainer = new_trainer("run", setup={"n_lanes": 4, "n_groups": 2})
    first_observations = []
    for n_epochs in (1, 2):
        call = trainer.train if n_epochs == 1 else trainer.resume
        call(n_epochs=n_epochs, batch_size=200, store_episodes=True)
        batch = trainer.stats.last_episode
        first_observations += [tuple(batch.observations[start]) for start in batch.starts]
    assert len(first_observations) > 12
    assert len(set(first_observations)) == len(first_observations)
    assert len({tuple(batch.actions[rows_of][:8]) for rows_of in batch.segments()}) > 3


EXPERIMENT = """
import json
import sys

from garage.algos import TRPO
from garage.baselines import LinearFeatureBaseline
from garage.envs import GymEnv
from garage.experiment import ExperimentContext, Trainer
from garage.experiment.deterministic import set_seed
from garage.np.policies import CategoricalMLPPolicy, GaussianMLPPolicy

cases = [("cart", "CartPole-v1", CategoricalMLPPolicy), ("pendulum", "Pendulum-v1", GaussianMLPPolicy)]
for name, world, kind in cases:
    set_seed(5)
    env = GymEnv(world)
    policy = kind(env.spec, hidden_sizes=(4,))
    trainer = Trainer(ExperimentContext(f"{sys.argv[1]}-{name}"))
    trainer.setup(TRPO(env=env, policy=policy, baseline=LinearFeatureBaseline(env.spec)), env, n_lanes=3, n_groups=2)
    trainer.train(n_epochs=3, batch_size=60)
"""


def without_clock(path):
    return [{key: value for key, value in row.items() if not key.endswith("ExecTime")} for row in rows(path)]


def test_two_processes_give_the_same_numbers(tmp_path):
    for name, hash_seed in (("a", "1"), ("b", "2")):
        run_script(tmp_path / "experiment.py", EXPERIMENT, name, PYTHONHASHSEED=hash_seed)
    for world in ("cart", "pendulum"):
        assert without_clock(f"a-{world}") == without_clock(f"b-{world}")
        assert len(rows(f"a-{world}")) == 3


IMPORTING = """
import json
import random

import numpy as np

random.seed(3)
np.random.seed(3)
random.gauss(0, 1), np.random.normal()
before = random.getstate(), repr(np.random.get_state())
import garage
import garage.algos, garage.baselines, garage.cli.main, garage.envs, garage.experiment, garage.np.policies
garage.Trainer, garage.wrap_experiment, garage.load_policy
from garage.process import get_seed
env = garage.envs.GymEnv("CartPole-v1")
env.make_lanes(2)
garage.np.policies.CategoricalMLPPolicy(env.spec)
garage.Trainer()
print(json.dumps([before == (random.getstate(), repr(np.random.get_state())), get_seed()]))
"""


def test_importing_and_constructing_disturb_nobodys_generators(tmp_path):
    assert json.loads(run_script(tmp_path / "importing.py", IMPORTING)) == [True, None]
