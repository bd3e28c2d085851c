"""A run to forge, what to put into it, and every public way of reading it without running its code."""

import contextlib
import json
import os
import pickle
import shutil

import numpy as np
from blake3 import blake3
from click.testing import CliRunner
from hypothesis import strategies as st

from garage import load_policy, process
from garage.algos import TRPO
from garage.baselines import LinearFeatureBaseline
from garage.cli.main import garage
from garage.envs import GymEnv
from garage.errors import GarageError
from garage.experiment import ExperimentContext, Trainer
from garage.experiment.deterministic import set_seed
from garage.np.policies import CategoricalMLPPolicy
from garage.storage.run_directory import RunDirectory
from garage.storage.store import SnapshotStore

EXIT_CODES = {0, 1, 2, 3, 5}
RAW = {
    "@deep list@": "[" * 100_000 + "]" * 100_000,
    "@deep object@": '{"a":' * 100_000 + "0" + "}" * 100_000,
    "@many digits@": "9" * 5000,
    "@400 digits@": "9" * 400,
    "@overflow@": "1e999",
    "@NaN@": "NaN",
    "@half a pair@": r'"\ud800"',
    "@escape@": r'"\u001b[2J\u0000\u202e"',
}
"""JSON that Python's own values do not give, by the string that stands for it."""
WORDS = ["NaN", "Infinity", "../../../../etc/passwd", "/etc/passwd", "..", ".", "a/b", "a//b", "\t\n", "é", "null"]
NUMBERS = [0, -1, 1, 2**31, 2**53, 2**62, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 0.5, -0.0, 1e308]
DTYPES = ["O", "<f8,", ",", "(", "|V8", "<f4,<f4", "float", "str", "empty", "M8[s]", ">f4", "<U-1", "<f16", "opaque"]

ATOMS = (
    st.none()
    | st.booleans()
    | st.sampled_from(NUMBERS)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([*WORDS, *DTYPES, *RAW])
    | st.text(st.characters(codec="utf-8"), max_size=6)
)
ANYTHING = st.recursive(
    ATOMS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


class Trap:
    """Whoever unpickles it leaves a folder behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def experiment():
    """The algorithm and its world that the run is of."""
    env = GymEnv("CartPole-v1")
    policy = CategoricalMLPPolicy(env.spec, hidden_sizes=(3,))
    return TRPO(env=env, policy=policy, baseline=LinearFeatureBaseline(env.spec)), env


def train(path):
    """Three epochs, all saved, with episodes; and its recipe is a trap."""
    seed_before = process.get_seed()
    set_seed(1)
    trainer = Trainer(ExperimentContext(str(path), snapshot_mode="all"))
    trainer.setup(*experiment(), n_lanes=2)
    trainer.train(n_epochs=3, batch_size=60, store_episodes=True)
    process.set_process_seed(seed_before)
    header = (path / "recipe").read_bytes().partition(b"\n")[0]
    recipe = header + b"\n" + pickle.dumps(Trap(path / "unpickled"))
    (path / "recipe").write_bytes(recipe)
    for manifest in (path / "snapshots").iterdir():
        document = json.loads(manifest.read_bytes())
        manifest.write_bytes(forged(document | {"recipe": blake3(recipe).hexdigest()}))


def raw_json(value):
    """JSON text, with what stands in `RAW` put in."""
    text = json.dumps(value)
    for name, raw in RAW.items():
        text = text.replace(json.dumps(name), raw)
    return text


def forged(document):
    """The bytes of a manifest whose checksum is right, whatever else is wrong."""
    text = raw_json({**document, "checksum": "0" * 64}).encode()
    start = text.rindex(b'"checksum": "') + len(b'"checksum": "')
    return text[:start] + blake3(text).hexdigest().encode() + text[start + 64 :]


def changed(document, draw, value=ANYTHING):
    """Change one node of a JSON document: replaced, removed, repeated or swapped with a neighbour."""
    node, keys = document, []
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = draw(st.sampled_from(keys))
        inner = node[key]
        if not isinstance(inner, dict | list) or not inner or draw(st.integers(0, 3)) == 0:
            break
        node = inner
    how = draw(st.sampled_from(["replace", "replace", "replace", "remove", "repeat", "swap", "add"]))
    if how == "replace":
        node[key] = draw(value)
    elif how == "remove":
        del node[key]
    elif how == "swap":
        other = draw(st.sampled_from(keys))
        node[key], node[other] = node[other], node[key]
    elif isinstance(node, list):
        node.insert(key, inner if how == "repeat" else draw(value))
    else:
        node[draw(st.text(max_size=3))] = draw(value)


class Copy:
    """One run that is forged again and again: put back before each time."""

    def __init__(self, original, path):
        self.original, self.path = original, path
        self.directory = RunDirectory(path)
        shutil.copytree(original, path)
        self._files = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}

    def put_back(self):
        for file, data in self._files.items():
            file.write_bytes(data)

    def manifest(self, epoch=2):
        return json.loads(self._files[self.directory.manifest_path(epoch)])

    def forge(self, document, epoch=2):
        self.directory.manifest_path(epoch).write_bytes(forged(document))


def command(*words):
    """The exit code of a ``garage`` command that ends in order, whatever it reads."""
    result = CliRunner().invoke(garage, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code in EXIT_CODES, result.output
    assert result.exit_code in {0, 3} or "Error" in result.output, result.output
    return result.exit_code


def read_in_every_way(path):
    """Read a run; errors of ours are answers, all others go through. Nothing is unpickled."""
    store = SnapshotStore(path)
    for which in ("last", "first", "best", 2):
        with contextlib.suppress(GarageError):
            snapshot = store.read(which)
            store.read_episodes(snapshot.manifest)
    with contextlib.suppress(GarageError):
        store.epochs()
    for problem in store.verify():
        assert problem
    for epoch in ("last", 2):
        with contextlib.suppress(GarageError):
            act(load_policy(path, epoch))
    command("ls", path)
    command("show", path)
    command("show", f"{path}@2")
    command("show", "--json", path)
    command("verify", path)
    assert not list(path.glob("unpickled"))


def act(policy):
    """Let a policy act for two observations of its own space."""
    observations = np.zeros((2, *policy.spec.observation_space.shape), policy.spec.observation_space.dtype)
    policy.act(observations, policy.initial_memory(2), policy.draw_noise(np.random.default_rng(1), 2))


def restore_values(path, from_epoch="last"):
    """Load a run's values into objects built here, as a script that has called setup does."""
    trainer = Trainer()
    trainer.setup(*experiment(), n_lanes=2)
    trainer.restore(path, from_epoch)
    assert not list(path.glob("unpickled"))
    return trainer
