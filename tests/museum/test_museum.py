"""What released formats wrote loads for ever, to the same values."""

import contextlib
import json
import shutil

import numpy as np
import pytest

from examples.scripts import EXAMPLES, module_of
from garage import load_policy, process
from garage.core import state as state_trees
from garage.errors import RecipeError, UntrustedError
from garage.experiment import TFTrainer
from garage.storage.signing import Signer, key_of
from garage.storage.store import SnapshotStore
from museum.exhibits import EXHIBITS
from museum.make import EXPECTED, KEY, RUNS, actions_of, make, values_of

expected = json.loads(EXPECTED.read_text())
reader = module_of(EXAMPLES / "read_a_snapshot.py")
LOADABLE = [name for name in EXHIBITS if name != "opaque"]


@pytest.fixture(autouse=True)
def no_seed():
    """As if each test were a process, and no run had a seed."""
    seed = process.get_seed()
    process.set_process_seed(None)
    yield
    process.set_process_seed(seed)


def loaded(name, path):
    """The values of an exhibit's newest snapshot, in objects built now; to be used within the block."""
    trainer = EXHIBITS[name].trainer()
    stack = contextlib.ExitStack()
    if isinstance(trainer, TFTrainer):
        stack.enter_context(trainer)
    trainer.setup(*EXHIBITS[name].build())
    trainer.restore(path)
    return stack, trainer


def same_actions(actions, name):
    np.testing.assert_allclose(actions, expected[name]["actions"], rtol=1e-5, atol=1e-6)


def test_there_is_one_of_each():
    assert set(EXHIBITS) == set(expected) == {path.name for path in RUNS.iterdir()}


def test_they_are_small():
    assert sum(file.stat().st_size for file in RUNS.rglob("*") if file.is_file()) < 400_000


@pytest.mark.parametrize("name", EXHIBITS)
def test_it_verifies_and_has_the_values_that_it_had(name):
    store = SnapshotStore(RUNS / name)
    assert store.verify() == []
    assert {str(epoch) for epoch in store.epochs()} == set(expected[name]["epochs"])
    for epoch, wanted in expected[name]["epochs"].items():
        snapshot = store.read(int(epoch))
        assert snapshot.manifest.digest == wanted["digest"]
        state = {key: value for key, value in snapshot.state.items() if key != "process"}
        assert values_of(state) == wanted["values"]


@pytest.mark.parametrize("name", EXHIBITS)
def test_the_program_without_garage_reads_the_same(name):
    snapshots, problems = reader.read_run(RUNS / name)
    assert problems == []
    store = SnapshotStore(RUNS / name)
    assert [manifest["epoch"] for manifest, _ in snapshots] == store.epochs()
    for manifest, values in snapshots:
        ours = state_trees.flatten(store.read(manifest["epoch"]).state)
        for path in ours.keys() & values.keys():
            np.testing.assert_array_equal(values[path], ours[path])
        assert len(values) >= len(ours)


@pytest.mark.parametrize("name", LOADABLE)
def test_its_values_load_into_objects_built_now(name):
    stack, trainer = loaded(name, RUNS / name)
    with stack:
        saved = SnapshotStore(RUNS / name).read().state
        assert state_trees.differences(saved["algo"], trainer.algo.state_dict()) == []
        assert trainer.total_env_steps == saved["counters"]["total_env_steps"]
        same_actions(actions_of(trainer.algo.policies()["policy"]), name)


def test_an_opaque_part_has_no_values_to_load():
    with pytest.raises(RecipeError, match="pickled whole"):
        loaded("opaque", RUNS / "opaque")


def test_users_variables_come_back():
    stack, trainer = loaded("tf-variables", RUNS / "tf-variables")
    with stack:
        counter = trainer.algo.counter
        count, total = trainer.sess.run([counter.count, counter.total])
    assert (count, total.tolist()) == (1, [1.0, 1.0, 1.0])


@pytest.mark.parametrize("name", EXHIBITS)
def test_it_is_rebuilt_from_its_recipe_and_acts_as_it_did(name):
    if SnapshotStore(RUNS / name).read().manifest.policies:  # described in values, which needs no trust
        same_actions(actions_of(load_policy(RUNS / name)), name)
    else:
        with pytest.raises(UntrustedError):
            load_policy(RUNS / name)
    same_actions(actions_of(load_policy(RUNS / name, trust=True)), name)


@pytest.mark.parametrize("name", EXHIBITS)
def test_signatures_are_still_understood(name):
    signer = SnapshotStore(RUNS / name, key_of(KEY)).read().signer
    assert signer is (Signer.THIS_KEY if EXHIBITS[name].signed else Signer.NOBODY)


def test_a_rewound_run_is_at_the_epoch_that_it_was_rewound_to():
    run = RUNS / "rewound"
    assert SnapshotStore(run).epochs() == [0]
    assert len(list((run / "snapshots").glob("*.json"))) == 2


def test_episodes_in_flight_go_on(tmp_path, monkeypatch):
    """The lanes say themselves whether they are at the observation that they were left with."""
    monkeypatch.setenv("GARAGE_SIGNING_KEY", KEY)
    copy = shutil.copytree(RUNS / "in-flight", tmp_path / "copy")
    in_flight = SnapshotStore(copy).read().state["sampler"]
    assert any(path.endswith("world/arrays/state") for path in state_trees.flatten(in_flight))
    stack, trainer = loaded("in-flight", copy)
    with stack:
        trainer.resume(n_epochs=2, batch_size=30)
        assert trainer.total_env_steps == 50


@pytest.mark.parametrize("name", ["np-categorical-float64", "fork"])
def test_an_exhibit_made_now_has_the_same_values(name, tmp_path, monkeypatch):
    """The script still makes what is kept; on machines with other last bits only the shapes need be the same."""
    monkeypatch.setenv("GARAGE_SIGNING_KEY", KEY)
    made = SnapshotStore(make(name, tmp_path)).read()
    kept = SnapshotStore(RUNS / name).read()
    assert [(leaf.path, leaf.dtype, leaf.shape) for leaf in made.manifest.leaves] == [
        (leaf.path, leaf.dtype, leaf.shape) for leaf in kept.manifest.leaves
    ]
    if made.manifest.fingerprint == kept.manifest.fingerprint:
        assert made.manifest.digest == kept.manifest.digest


def test_nothing_tells_of_the_machine_that_made_them():
    words = [b"/home/", b"/tmp/", b"/root/", b"site-packages"]
    for file in RUNS.rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            assert not [word for word in words if word in data], file
