"""Makes the exhibits that are not there yet: PYTHONPATH=tests python -m museum.make. The others it never touches."""

import contextlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import msgspec
import numpy as np
from blake3 import blake3

from garage import load_policy, process
from garage.core import state as state_trees
from garage.core.tracked import TrackedGroup
from garage.experiment import ExperimentContext, TFTrainer
from garage.experiment.deterministic import set_seed
from garage.storage import manifest as manifests
from garage.storage import signing
from garage.storage.fork import fork
from garage.storage.run_directory import RunDirectory
from garage.storage.store import SnapshotStore
from garage.storage.writer import rewind
from museum.exhibits import EXHIBITS

MUSEUM = Path(__file__).resolve().parent
RUNS, EXPECTED = MUSEUM / "runs", MUSEUM / "expected.json"
KEY = "6d757365756d" * 8
"""What signs the exhibits. It vouches for nothing: everybody has it."""

_SOMEWHERE = "/museum"
_FOR_PEOPLE = ("provenance.json", "debug.log", "progress.csv")
_FIRST_VALUES = 4


def train(exhibit, path):
    """As a user would, with the seed 1."""
    set_seed(1)
    trainer = exhibit.trainer(ExperimentContext(str(path), **exhibit.context))
    with trainer if isinstance(trainer, TFTrainer) else contextlib.nullcontext():
        trainer.setup(*exhibit.build(), n_lanes=1)
        trainer.train(n_epochs=exhibit.n_epochs, **{"batch_size": 20, **exhibit.options})
    process.set_process_seed(None)


def make(name, folder):
    """One exhibit, in ``folder``; a fork is made of the one that is kept."""
    exhibit, path = EXHIBITS[name], folder / name
    key = signing.key_of(KEY)
    if exhibit.forks is None:
        train(exhibit, path)
    else:
        source, epoch = exhibit.forks
        fork(RUNS / source, epoch, path, key=key)
    if exhibit.rewinds_to is not None:
        rewind(RunDirectory(path), exhibit.rewinds_to)
    make_anonymous(path, key if exhibit.signed else None)
    return path


def make_anonymous(path, key):
    """Leave no folder of this machine in it, and none of the files that are for people alone."""
    for left in (*(path / name for name in _FOR_PEOPLE), *path.rglob(".unfinished-*")):
        left.unlink(missing_ok=True)
    directory = RunDirectory(path)
    line, _, pickled = (path / "recipe").read_bytes().partition(b"\n")
    header = json.loads(line)
    header |= {"folder": _SOMEWHERE, "modules": {name: f"{_SOMEWHERE}/{name}.py" for name in header["modules"]}}
    recipe = json.dumps(header).encode() + b"\n" + pickled
    (path / "recipe").unlink()  # a fork's is another name of its parent's
    (path / "recipe").write_bytes(recipe)
    files = [directory.info_path, directory.events_path]
    texts = [file.read_text() for file in files]
    for file in sorted((path / "snapshots").rglob("*.json")):
        before = manifests.read(file)
        parent = before.parent
        if parent is not None:
            anonymous = f"{_SOMEWHERE}/{Path(parent.path).name}"
            texts = [text.replace(json.dumps(parent.path), json.dumps(anonymous)) for text in texts]
            parent = msgspec.structs.replace(parent, path=anonymous)
        after = msgspec.structs.replace(before, recipe=blake3(recipe).hexdigest(), parent=parent)
        file.write_bytes(signing.encode(after, key))
        texts = [text.replace(before.checksum, manifests.read(file).checksum) for text in texts]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)


def expected_of(path):
    """What every version of garage must find in an exhibit: digests and values by epoch, and what its policy does."""
    store = SnapshotStore(path)
    assert store.verify() == []
    snapshots = [store.read(epoch) for epoch in store.epochs()]
    return {
        "epochs": {
            str(snapshot.manifest.epoch): {
                "digest": snapshot.manifest.digest,
                "values": values_of({key: value for key, value in snapshot.state.items() if key != "process"}),
            }
            for snapshot in snapshots
        },
        "actions": actions_of(load_policy(path, trust=True)),
    }


def values_of(state):
    """Values by path, as JSON: scalars as they are, arrays by dtype, shape and their first numbers."""
    return {path: _described(leaf) for path, leaf in state_trees.flatten(state).items()}


def _described(leaf):
    if isinstance(leaf, TrackedGroup):
        return {"rows": len(leaf), "columns": {name: _described(column) for name, column in leaf.views().items()}}
    if isinstance(leaf, np.ndarray):
        return {"dtype": leaf.dtype.str, "shape": list(leaf.shape), "first": leaf.reshape(-1)[:_FIRST_VALUES].tolist()}
    return state_trees.json_scalar(leaf) if leaf != {} else {}


def actions_of(policy):
    """What a policy does without noise, for five observations."""
    shape = policy.spec.observation_space.shape
    observations = np.linspace(-1, 1, 5 * int(np.prod(shape))).astype(np.float32).reshape(5, *shape)
    actions, _, _ = policy.act(observations, policy.initial_memory(len(observations)), None)
    return actions.tolist()


def main():
    os.environ["GARAGE_SIGNING_KEY"] = KEY
    RUNS.mkdir(exist_ok=True)
    expected = json.loads(EXPECTED.read_text()) if EXPECTED.is_file() else {}
    for name in EXHIBITS:
        if (RUNS / name).exists() or name in expected:
            continue
        with tempfile.TemporaryDirectory() as folder:
            made = make(name, Path(folder))
            expected[name] = expected_of(made)
            shutil.copytree(made, RUNS / name)
        EXPECTED.write_text(json.dumps(expected, indent=1) + "\n")
        print(f"{name}: {sum(file.stat().st_size for file in (RUNS / name).rglob('*') if file.is_file()):,} bytes")


if __name__ == "__main__":
    main()
