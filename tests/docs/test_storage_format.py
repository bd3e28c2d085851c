"""The format document is complete: a program written from it alone reads what garage writes."""

import ast
import json
import math
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3

from examples import scripts
from examples.scripts import EXAMPLES, module_of
from garage import process
from garage.algos import TRPO
from garage.baselines import LinearFeatureBaseline
from garage.core import state as state_trees
from garage.core.tracked import TrackedGroup
from garage.envs import GymEnv
from garage.experiment import ExperimentContext, Trainer, deterministic
from garage.np.policies import CategoricalMLPPolicy
from garage.storage.retention import Retention
from garage.storage.run_directory import RunDirectory, RunInfo
from garage.storage.writer import Capture, RunWriter, rewind

EXAMPLE = EXAMPLES / "read_a_snapshot.py"
reader = module_of(EXAMPLE)


def newest(path):
    """The newest snapshot of a run in which all is well."""
    snapshots, problems = reader.read_run(path)
    assert problems == []
    return snapshots[-1]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of four epochs, its episodes stored."""
    path = tmp_path_factory.mktemp("run") / "trpo_cartpole"
    seed_before = process.get_seed()
    deterministic.set_seed(1)
    env = GymEnv("CartPole-v1")
    policy = CategoricalMLPPolicy(env_spec=env.spec)
    trainer = Trainer(ExperimentContext(str(path)))
    trainer.setup(TRPO(env=env, policy=policy, baseline=LinearFeatureBaseline(env_spec=env.spec)), env)
    trainer.train(n_epochs=4, batch_size=400, store_episodes=True)
    process.set_process_seed(seed_before)
    return path, trainer


def written(path, state, opaque=None, recipe=None):
    """A run whose one snapshot holds ``state``."""
    info = RunInfo(id="0" * 16, name="run", created_at="", target=None, arguments={}, seed=1)
    writer = RunWriter(info, path, retention=Retention("all"), recipe=recipe, recipe_problem="none was made")
    for epoch in (0, 1):
        writer.commit(Capture(epoch, state, opaque or {}, {"x": math.nan}, {}, {}, {}))
    writer.close()
    return path


def test_the_reader_is_written_without_garage():
    tree = ast.parse(EXAMPLE.read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == {"contextlib", "json", "math", "pathlib", "re", "sys", "numpy", "zstandard", "blake3"}


def test_it_reads_the_newest_snapshot_of_a_training(run):
    path, trainer = run
    manifest, values = newest(path)
    assert manifest["epoch"] == 3
    assert values["counters/seed"] == 1
    assert values["counters/total_env_steps"] == trainer.total_env_steps == manifest["stats"]["total_env_steps"]
    np.testing.assert_array_equal(values["algo/policy/theta"], trainer.algo.policies()["policy"].theta)
    np.testing.assert_array_equal(values["episodes/observations"], trainer.stats.last_episode.observations)


def test_rows_and_recipe_are_those_that_the_manifest_names(run):
    path, _ = run
    manifest, _ = newest(path)
    log = (path / "metrics.jsonl").read_bytes()[: manifest["log"]["bytes"]]
    rows = [json.loads(line) for line in log.splitlines()]
    assert blake3(log).hexdigest() == manifest["log"]["hash"]
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    assert len(rows) == manifest["log"]["rows"]
    assert rows[-1]["digest"] == manifest["digest"]
    recipe = (path / "recipe").read_bytes()
    assert blake3(recipe).hexdigest() == manifest["recipe"]
    assert set(json.loads(recipe.partition(b"\n")[0])) == {"folder", "modules", "surroundings"}


def test_fields_are_those_of_the_document(run):
    path, _ = run
    manifest, _ = newest(path)
    page = (Path(__file__).parents[2] / "docs" / "storage-format.md").read_text(encoding="utf-8")
    info = json.loads((path / "run.json").read_bytes())
    events = [json.loads(line) for line in (path / "events.jsonl").read_bytes().splitlines()]
    parts = [manifest, info, manifest["leaves"][0], manifest["chunks"][0], manifest["log"], *events]
    parts += [manifest["train_args"], manifest["stats"], manifest["fingerprint"]]
    for name in {name for part in parts for name in part} | {event["event"] for event in events}:
        assert f"`{name}`" in page, name
    for file in path.iterdir():
        assert f"`{file.name}" in page or file.name.startswith(".unfinished-") or file.is_dir(), file


def test_it_reads_tracked_groups(tmp_path):
    group = TrackedGroup(5000, {"x": ((3,), np.float32), "done": ((), np.bool_), "word": ((2,), "U3")})
    generator = np.random.default_rng(1)
    group.write(0, {"x": generator.standard_normal((2500, 3)).astype(np.float32), "done": generator.random(2500) < 0.5})
    group.write(slice(0, 1), {"word": [["ä", "b"]]})
    empty = TrackedGroup(5, {"y": ((), np.int8)})
    path = written(tmp_path, state_trees.copied({"algo": {"replay": group, "none": empty}}))
    manifest, values = newest(path)
    assert [len(each["blocks"]) for each in manifest["groups"]] == [0, 3]
    for name, column in group.views().items():
        np.testing.assert_array_equal(values[f"algo/replay/{name}"], column, strict=True)
    assert values["algo/none/y"].dtype == np.int8


def test_it_reads_every_kind_of_leaf(tmp_path):
    long = np.random.default_rng(1).standard_normal(400_000)
    arrays = {
        "long": long,
        "big_endian": np.arange(6, dtype=">i4").reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "no_dimensions": np.array(2.5, np.float32),
        "no_elements": np.zeros((0, 3)),
        "flags": np.array([True, False]),
        "words": np.array(["a", "Größe"]),
        "bytes": np.array([b"a", b"bcd"]),
        "complex": np.array([1j]),
    }
    scalars = {"int": 3**100, "float": 1e-5, "whole": 1.0, "str": 'Größe "NaN"', "null": None, "bool": True, "none": {}}
    floats = {"nan": math.nan, "infinity": math.inf, "below": -math.inf, "text": "NaN"}
    state = {"algo": {**arrays, **scalars, **floats}, "process": {"x": 1}, "episodes": {"x": long}}
    manifest, values = newest(written(tmp_path / "run", state, {"algo/part": b"pickle"}))
    for name, array in arrays.items():
        np.testing.assert_array_equal(values[f"algo/{name}"], array)
        assert values[f"algo/{name}"].shape == array.shape
    assert {name: values[f"algo/{name}"] for name in scalars} == scalars
    assert math.isnan(values["algo/nan"])
    assert (values["algo/infinity"], values["algo/below"], values["algo/text"]) == (math.inf, -math.inf, "NaN")
    assert values["algo/part"] == b"pickle"
    assert manifest["metrics"] == {"x": "NaN"}
    codes = [
        (path, state_trees.encode(path, leaf)) for path, leaf in state_trees.flatten({"algo": state["algo"]}).items()
    ]
    expected = state_trees.digest((path, code.dtype, code.shape, code.hash) for path, code in codes)
    assert manifest["digest"] == expected


def test_it_ignores_what_a_rewind_abandoned(tmp_path):
    path = written(tmp_path / "run", {"algo": {"x": 1}})
    assert newest(path)[0]["epoch"] == 1
    with (path / "events.jsonl").open("ab") as file:
        file.write(b"a damaged line\n")
    assert rewind(RunDirectory(path), 0) == [1]
    assert newest(path)[0]["epoch"] == 0


def test_it_prints_the_values_of_a_run(run):
    path, trainer = run
    lines = scripts.run([EXAMPLE, path], path.parent).splitlines()
    assert f"counters/total_env_steps = {trainer.total_env_steps}" in lines
    assert f"algo/policy/theta = float32{list(trainer.algo.policies()['policy'].theta.shape)}" in lines


@pytest.mark.parametrize("kind", ["snapshots/000001.json", "packs/*/*", "metrics.jsonl", "recipe"])
def test_it_finds_a_flipped_bit_and_falls_back(tmp_path, kind):
    path = written(tmp_path / "run", {"algo": {"x": np.random.default_rng(1).standard_normal(100)}}, recipe=b"a recipe")
    (file,) = path.glob(kind)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    snapshots, problems = reader.read_run(path)
    assert problems[-1].startswith("000001.json: ")
    assert [manifest["epoch"] for manifest, _ in snapshots] == {
        "snapshots/000001.json": [0],
        "packs/*/*": [],
        "metrics.jsonl": [0, 1],
        "recipe": [],
    }[kind]
