"""What is said when a run does not come back exactly as it was."""

import numpy as np

from experiment.parts import messages, opaque, trained
from garage.algos import PPO
from garage.envs import GymEnv
from garage.experiment import ExperimentContext, Trainer
from garage.experiment.restore_report import consequences, report
from garage.process import set_process_seed
from garage.storage.store import SnapshotStore


def said(capsys, path="run", trainer=None):
    capsys.readouterr()
    (trainer or Trainer()).restore(path)
    return [line for line in messages(capsys.readouterr().out) if " -- " not in line and "  " not in line]


def test_nothing_is_said_of_what_is_exact(capsys):
    trained("run", 2)
    assert said(capsys) == ["Restore from snapshot saved in run"]


def test_lanes_that_go_on_by_replay_are_counted(capsys):
    world = GymEnv("CartPole-v1", native_lanes=False)
    trained("run", 2, world=world, kind=PPO, fragments=True, setup={"n_lanes": 3, "n_groups": 1})
    exactly = "Restored exactly: algo, counters, env, process, sampler"
    assert f"{exactly}; by replay: 3 lanes in mid-episode" in said(capsys)


def test_lanes_that_go_on_by_their_arrays_are_exact(capsys):
    trained("run", 2, kind=PPO, fragments=True)
    assert said(capsys) == ["Restore from snapshot saved in run"]


def test_an_algorithm_that_was_pickled_is_made_anew(capsys):
    trainer = Trainer(ExperimentContext("run"))
    trainer.setup(*opaque())
    trainer.train(n_epochs=1, batch_size=60)
    set_process_seed(None)
    assert said(capsys)[1:] == ["Restored exactly: counters, env, process, sampler; re-created: `algo` from its pickle"]


def test_what_had_no_place_is_missing(tmp_path):
    trained("run", 1)
    snapshot = SnapshotStore(tmp_path / "run").read()
    lines = report(snapshot, snapshot.manifest.fingerprint, ["the hat", "the cane"])
    assert lines == ["Restored exactly: algo, counters, env, process, sampler; missing: the hat, the cane"]


def test_each_difference_is_said_with_its_meaning():
    names = ("garage", "numpy", "gymnasium", "python", "cloudpickle", "cpu", "threads")
    saved, now = (dict.fromkeys(names, n) | {"torch": {"version": n}} for n in (1, 2))

    def differ(*names):
        return "; ".join(f"{name}: 1 when saved, 2 now" for name in names)

    last_bits = differ("numpy", "cpu", "threads", "torch.version")
    assert consequences(saved, now) == [
        f"Another version of garage may compute other numbers: {differ('garage')}",
        f"The numbers may differ from the original's in their last bits: {last_bits}",
        f"Worlds of another version may step otherwise: {differ('gymnasium')}",
        f"No number of garage's depends on it: {differ('python', 'cloudpickle')}",
    ]
    assert consequences(now, now) == []


def test_a_snapshot_of_any_shape_is_reported_on(tmp_path):
    trained("run", 1)
    snapshot = SnapshotStore(tmp_path / "run").read()
    for carried in (
        None,
        {},
        {"train": 3},
        {"train": {"0": {"lanes": {"world": {"replay": {}}, "lanes": np.zeros(1)}}}},
    ):
        snapshot.state["sampler"]["carried"] = carried
        assert len(report(snapshot, snapshot.manifest.fingerprint, [])) <= 1
    del snapshot.state["sampler"]
    assert report(snapshot, snapshot.manifest.fingerprint, []) == []
