import json
import re
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from garage.algos import TRPO
from garage.baselines import LinearFeatureBaseline
from garage.cli.main import garage
from garage.envs import GymEnv
from garage.experiment import ExperimentContext, Trainer
from garage.np.policies import CategoricalMLPPolicy

UNPICKLED = """
import pickle, sys
def refuse(*args, **kwargs):
    sys.exit("it unpickles")
pickle.loads = pickle.load = pickle._loads = pickle._load = refuse
from garage.cli.main import garage
garage(["show", sys.argv[1]], standalone_mode=False)
print("cloudpickle" in sys.modules, file=sys.stderr)
"""


def test_it_says_who_the_run_is_and_what_the_newest_snapshot_holds(trained):
    path = trained.run_path
    printed = trained("show", path.relative_to(trained.folder)).stdout
    for words in (
        "data/local/experiment/sample: finished",
        "target      sample:sample",
        "arguments   seed=1 n_epochs=4 batch_size=200 fails=False",
        "seed        1",
        "parent      none",
        "epochs 0-3 (snapshot_mode 'all', gap 1)",
        "Epoch 3, saved",
        f"digest      {trained.digests()[3]}",
        "n_epochs=4 batch_size=200",
        "progress    4 of 4 epochs, ",
        "code        ",
        "world       <GymEnv: CartPole-v1",
        "machine     ",
        "numpy ",
    ):
        assert words in printed
    assert printed.endswith("To continue: garage resume data/local/experiment/sample --n-epochs 8\n")
    assert re.search(r"Sample/Missing +NaN", printed)
    assert re.search(r"returns +[▁-█]{4} first [0-9.]+, best [0-9.]+ \(epoch \d\), last [0-9.]+\n", printed)
    assert re.search(r"started +20[0-9-]+ [0-9:]+ UTC on .*: garage run code/sample\.py", re.sub(r"\n +", " ", printed))


def test_it_is_one_screen(family):
    for run in ("sample", "sample_1", "tuned"):
        printed = family("show", family.run_path.with_name(run).relative_to(family.folder)).stdout.splitlines()
        assert 24 <= len(printed) <= 40
        assert max(map(len, printed)) <= 100


def test_what_a_life_was_like(family):
    printed = family("show", family.run_path).stdout
    assert "5 of 5 epochs" in printed
    assert ", 1 resume, 1 rewind\n" in printed
    assert re.search(r" went on +20.*--rewind", re.sub(r"\n +", " ", printed))


def test_all_leaves_when_asked_for(trained):
    printed = trained("show", trained.run_path, "--leaves").stdout
    assert re.search(r"algo/policy/theta +<f4 +\[58\] +232\n", printed)
    assert "\nLeaves: 20\n" in printed


@pytest.mark.parametrize("text", ["{", "[]", '{"git": 3, "earlier": {}}', '{"earlier": [3], "command": 7}'])
def test_a_provenance_that_says_little(trained, text):
    (trained.run_path / "provenance.json").write_text(text)
    assert "Epoch 3, saved" in trained("show", trained.run_path).stdout


def test_what_git_says_of_the_code(trained):
    path = trained.run_path / "provenance.json"
    found = json.loads(path.read_text())
    for git, words in (
        (
            {"commit": "c0ffee" * 6, "branch": "main", "diff": "ab"},
            "commit c0ffeec0ffee of main, with changes; no copy",
        ),
        ({"commit": "c0ffee" * 6, "branch": None, "diff": ""}, "commit c0ffeec0ffee, unchanged; no copy"),
        ({"problem": "git says: fatal"}, "git says: fatal; no copy"),
        (None, "in no git repository; no copy"),
    ):
        path.write_text(json.dumps(found | {"git": git}))
        assert f"code        {words}" in trained("show", trained.run_path).stdout


def test_the_command_that_it_names_continues_the_run(trained):
    command = json.loads(trained("show", trained.run_path, "--json").stdout)["continue"].split()
    assert command[0] == "garage"
    trained(*command[1:])
    assert max(trained.digests()) == 7


def test_an_older_epoch(trained):
    printed = trained("show", f"{trained.run_path}@1").stdout
    assert f"digest      {trained.digests()[1]}" in printed
    assert printed.endswith(f"To continue: garage resume {trained.run_path} --from 1\n")


def test_json_is_everything(trained):
    shown = json.loads(trained("show", f"{trained.run_path}@2", "--json").stdout)
    assert shown["epochs"] == [0, 1, 2, 3]
    assert shown["provenance"]["fingerprint"]["python"]
    assert shown["returns"]["best_epoch"] <= 2
    assert shown["counts"] == {"resumes": 0, "rewinds": 0, "preemptions": 0}
    assert shown["run"]["arguments"]["batch_size"] == 200
    snapshot = shown["snapshot"]
    assert (snapshot["epoch"], snapshot["digest"]) == (2, trained.digests()[2])
    assert snapshot["metrics"]["Sample/Missing"] == "NaN"
    theta = next(leaf for leaf in snapshot["leaves"] if leaf["path"] == "algo/policy/theta")
    assert (theta["dtype"], theta["shape"], theta["bytes"]) == ("<f4", [58], 232)


def test_a_child_names_its_parent(trained):
    trained("resume", trained.run_path, "--from", 1, "--n-epochs", 3)
    printed = trained("show", trained.run_path.with_name("sample_1")).stdout
    assert f"parent      epoch 1 of {json.loads((trained.run_path / 'run.json').read_text())['id']}" in printed


def test_it_never_unpickles(trained):
    done = subprocess.run(
        [sys.executable, "-c", UNPICKLED, trained.run_path], capture_output=True, text=True, check=True
    )
    assert done.stderr == "False\n"


def test_a_run_without_snapshots(trained):
    shutil.rmtree(trained.run_path / "snapshots")
    printed = trained("show", trained.run_path).stdout
    assert "snapshots   epochs none" in printed
    assert printed.endswith("To continue: there is no snapshot to continue from; run its experiment again\n")


def test_damage_is_named_and_the_rest_is_shown(trained):
    (trained.run_path / "snapshots" / "000003.json").write_text("{}")
    (trained.run_path / "run.json").write_text("{}")
    printed = trained("show", trained.run_path).stdout
    assert ": damaged, " in printed
    assert printed.count("  problem: ") == 2
    assert "Epoch 2, saved" in printed
    assert "checksum" in trained("show", f"{trained.run_path}@3", code=3).stderr


@pytest.mark.parametrize(("epoch", "code", "message"), [("7", 3, "it has: 0-3."), ("x", 2, "comes an epoch")])
def test_an_epoch_that_is_not_there(trained, epoch, code, message):
    assert message in trained("show", f"{trained.run_path}@{epoch}", code=code).stderr


def test_a_run_without_a_recipe_says_why_and_how_to_go_on(garage):
    text = garage.file.read_text().replace('"""Of a class', 'handle = None\n    """Of a class')
    text = text.replace("trainer.setup(algo, env)", "algo.handle = (each for each in ())\n    trainer.setup(algo, env)")
    garage.file.write_text(text)
    garage("run", "code/sample.py", "--n-epochs", 1)
    printed = garage("show", garage.run_path).stdout
    assert "recipe      none: " in printed
    assert f"trainer.setup(algo, env); trainer.restore('{garage.run_path}'); trainer.resume(n_epochs=2)" in printed


@pytest.mark.parametrize(("native", "rung"), [(True, "arrays"), (False, "replay")])
def test_it_says_how_episodes_in_flight_go_on(tmp_path, native, rung):
    env = GymEnv("CartPole-v1", native_lanes=native)
    policy = CategoricalMLPPolicy(env.spec, hidden_sizes=(8,))
    algo = TRPO(env=env, policy=policy, baseline=LinearFeatureBaseline(env.spec), fragments=True)
    trainer = Trainer(ExperimentContext(str(tmp_path / "run")))
    trainer.setup(algo, env, n_lanes=4, n_groups=2)
    trainer.train(n_epochs=1, batch_size=40)
    shown = CliRunner().invoke(garage, ["show", str(tmp_path / "run")])
    assert f"mid-episode 8 lanes go on by {rung}\n" in shown.stdout


@pytest.mark.parametrize(("which", "epoch"), [("first", 0), ("last", 3)])
def test_a_snapshot_by_its_name(trained, which, epoch):
    assert (
        trained("show", f"{trained.run_path}@{which}").stdout == trained("show", f"{trained.run_path}@{epoch}").stdout
    )
