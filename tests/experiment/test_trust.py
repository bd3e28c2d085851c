"""Code of a run is unpickled only if this user's key signed it, or the user says so."""

import ast
import shutil
import stat
from pathlib import Path

import cloudpickle
import msgspec
import numpy as np
import pytest
from blake3 import blake3
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import garage
from experiment.parts import (
    Trap,
    digests,
    events,
    everything_below,
    kept,
    messages,
    new_trainer,
    opaque,
    run_script,
    tiny,
    trained,
)
from garage import load_policy
from garage.errors import (
    ArgumentError,
    DamagedError,
    MismatchError,
    RecipeError,
    SigningKeyError,
    StorageError,
    UntrustedError,
)
from garage.experiment import ExperimentContext, Trainer, recipes
from garage.experiment.deterministic import set_seed
from garage.storage import manifest as manifests
from garage.storage import signing
from garage.storage.disk import Disk
from garage.storage.linking import with_state
from garage.storage.run_directory import RunDirectory
from garage.storage.signing import Signer, SigningKey
from garage.storage.signing_key import VARIABLE, find_key
from garage.storage.store import SnapshotStore

SOMEBODY = SigningKey(b"somebody else's key, it is")


def signed(run, key, change=None):
    """Sign all manifests of a run as somebody else, perhaps after a change."""
    for path in RunDirectory(run).snapshots_path.glob("*.json"):
        manifest = manifests.read(path)
        path.write_bytes(signing.encode(manifest if change is None else change(manifest), key))
    return run


def trapped(run):
    """Let rebuilding the run's objects spring a trap, as somebody who may write to it could."""
    recipe = b'{"folder": "/", "modules": {}, "surroundings": "process"}\n' + cloudpickle.dumps(Trap())
    (run / "recipe").write_bytes(recipe)
    return signed(run, SOMEBODY, lambda manifest: msgspec.structs.replace(manifest, recipe=blake3(recipe).hexdigest()))


def altered(run):
    """With the signature that was right before, and a checksum that is."""
    (run / "recipe").write_bytes(b'{"folder": "/", "modules": {}}\n' + cloudpickle.dumps(Trap()))
    for path in RunDirectory(run).snapshots_path.glob("*.json"):
        recipe = blake3((run / "recipe").read_bytes()).hexdigest()
        path.write_bytes(manifests.encode(msgspec.structs.replace(manifests.read(path), recipe=recipe)))
    return run


def signers(run):
    store = SnapshotStore(Path(run), find_key())
    return {epoch: store.read(epoch).signer for epoch in store.epochs()}


def with_own_objects(run, which="last"):
    trainer = Trainer()
    trainer.setup(*tiny())
    trainer.restore(run, which)
    return trainer


@pytest.fixture(autouse=True)
def traps(monkeypatch):
    """None has been sprung."""
    monkeypatch.setattr(Trap, "n_sprung", 0)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A run whose policy is not described, so that the recipe is needed for it as well."""
    path = tmp_path_factory.mktemp("original") / "run"
    trained(path, 3, context={"snapshot_mode": "all"})
    return signed(path, find_key(), lambda manifest: msgspec.structs.replace(manifest, policies={}))


@pytest.fixture
def run(original):
    shutil.copytree(original, "run")
    return Path("run")


REFUSED = {
    "another key": (trapped, f"is signed by the key '{SOMEBODY.id}', and yours is '"),
    "nobody": (lambda run: signed(trapped(run), None), "is not signed"),
    "altered": (altered, "has been altered since your key"),
}


@pytest.mark.parametrize(("change", "reason"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("load", [lambda run: Trainer().restore(run), load_policy], ids=["restore", "load_policy"])
def test_what_this_key_has_not_signed_is_refused_before_anything_is_unpickled(run, change, reason, load):
    change(run)
    before = everything_below(".")
    with pytest.raises(UntrustedError) as raised:
        load(run)
    message = str(raised.value)
    assert f"The snapshot of epoch 2 of run {reason}" in message
    for advice in (
        "garage show run",
        "trainer.setup(algo, env), then trainer.restore('run')",
        "garage trust run",
        "restore(..., trust=True)",
        "load_policy(..., trust=True)",
        "garage resume --trust",
    ):
        assert advice in message
    assert Trap.n_sprung == 0
    assert everything_below(".") == before


def test_the_traps_would_go_off(run):
    load_policy(trapped(run), trust=True)
    Trainer().restore(run, trust=True)
    assert Trap.n_sprung == 2


def test_opaque_parts_are_code_too(tmp_path):
    set_seed(1)
    trainer = Trainer(ExperimentContext("run"))
    trainer.setup(*opaque())
    trainer.train(n_epochs=1, batch_size=60)
    signed(Path("run"), SOMEBODY)
    for load in (Trainer().restore, load_policy):
        with pytest.raises(UntrustedError, match="`algo`, pickled whole, cannot be loaded so"):
            load("run")
    fresh = Trainer()
    fresh.setup(*opaque())
    with pytest.raises(RecipeError, match="Cannot load `algo` into objects of your own"):
        fresh.restore("run")


def test_values_load_into_own_objects_without_a_trap_going_off_and_the_run_goes_on_as_ones_own(run, original):
    trapped(run)
    trainer = with_own_objects(run)
    np.testing.assert_array_equal(load_policy(original).theta, trainer.algo.policies()["policy"].theta)
    trainer.resume(n_epochs=5)
    assert Trap.n_sprung == 0
    assert trainer.snapshot_dir == run
    theirs, ours = Signer.ANOTHER_KEY, Signer.THIS_KEY
    assert signers(run) == {0: theirs, 1: theirs, 2: theirs, 3: ours, 4: ours}
    Trainer().restore(run)
    load_policy(run, 3)
    with pytest.raises(UntrustedError):
        Trainer().restore(run, 2)
    assert Trap.n_sprung == 0
    undisturbed = trained("undisturbed", 5)
    assert digests(run) == digests(undisturbed.snapshot_dir)


def test_values_of_somebody_elses_run_begin_a_run_of_ones_own(run):
    trapped(run)
    trainer = new_trainer("mine", seed=None)
    trainer.restore(run, 1)
    trainer.resume(n_epochs=3)
    assert set(signers("mine").values()) == {Signer.THIS_KEY}
    Trainer().restore("mine", "first")
    assert Trap.n_sprung == 0


def test_values_that_do_not_fit_are_refused_by_path(run):
    signed(run, SOMEBODY)
    trainer = Trainer()
    trainer.setup(*tiny(hidden_sizes=(8,)))
    with pytest.raises(MismatchError, match="theta"):
        trainer.restore(run)


WRONG = {
    "counters/epoch": 7,
    "counters/seed": "one",
    "counters/total_env_steps": 2.5,
    "counters/total_episodes": True,
    "counters/recent_returns": np.zeros((2, 3)),
    "sampler/n_lanes": -1,
    "sampler/n_groups": "two",
    "sampler/mean_lengths/train": None,
    "process/numpy/pos": 10**9,
    "process/numpy/key": np.zeros(3),
    "process/random/words": np.zeros(3),
    "algo/policy/theta": np.zeros(31, np.float32),
    "algo/policy/layers": 3,
    "algo/policy": "nothing",
}


@pytest.mark.parametrize("path", WRONG)
def test_every_value_of_somebody_elses_run_is_checked(run, path):
    directory = RunDirectory(run)
    wrong = with_state(manifests.read(directory.manifest_path(2)), {path: WRONG[path]}, directory, Disk())
    directory.manifest_path(2).write_bytes(signing.encode(wrong, SOMEBODY))
    with pytest.raises((MismatchError, ArgumentError)):
        with_own_objects(run)


def test_accepted_for_once(run):
    signed(run, SOMEBODY)
    before = everything_below(run)
    trainer = Trainer()
    trainer.restore(run, trust=True)
    assert load_policy(run, trust=True).theta.shape == (30,)
    assert everything_below(run) == before
    trainer.resume(n_epochs=4)
    assert signers(run) == {**dict.fromkeys(range(3), Signer.ANOTHER_KEY), 3: Signer.THIS_KEY}
    with pytest.raises(UntrustedError):
        Trainer().restore(run, 2)


def test_copies_moves_forks_and_continuations_stay_ones_own(run):
    shutil.copytree(run, "copy")
    run.rename("moved")
    for path in ("copy", "moved"):
        trainer = Trainer()
        trainer.restore(path)
        trainer.resume(n_epochs=4)
        load_policy(path)
    trainer = Trainer()
    trainer.restore("moved", 1)
    trainer.resume(n_epochs=3)
    assert set(signers(trainer.snapshot_dir).values()) == {Signer.THIS_KEY}
    Trainer().restore(trainer.snapshot_dir, "first")


def test_another_machine_trusts_them_with_the_same_key_only(run, monkeypatch, tmp_path):
    key = find_key()
    monkeypatch.setenv(VARIABLE, "ab" * 32)
    with pytest.raises(UntrustedError, match=key.id):
        Trainer().restore(run)
    (tmp_path / "key").touch(0o600)
    (tmp_path / "key").write_text(key.secret.hex())
    monkeypatch.setenv(VARIABLE, str(tmp_path / "key"))
    Trainer().restore(run)


def test_a_user_without_a_key_is_refused_and_gets_none_by_looking(run, monkeypatch, tmp_path):
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with pytest.raises(UntrustedError, match="and you have none yet"):
        Trainer().restore(run)
    with_own_objects(run)
    assert not (tmp_path / "config").exists()


def test_where_no_key_can_be_made_the_run_is_unsigned_and_that_is_said_once(monkeypatch, capsys, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    trainer = trained("unsigned", 2)
    trainer.resume(n_epochs=3)
    said = [line for line in messages(capsys.readouterr().out) if "not signed" in line]
    assert len(said) == 1
    assert "Snapshots are not signed: a key cannot be made" in said[0]
    assert set(signers("unsigned").values()) == {Signer.NOBODY}
    with pytest.raises(UntrustedError, match="is not signed"):
        Trainer().restore("unsigned")
    Trainer().restore("unsigned", trust=True)
    with_own_objects("unsigned")


def test_a_key_that_cannot_be_used_stops_a_training_before_it_begins(run, monkeypatch):
    trainer = new_trainer("new")
    monkeypatch.setenv(VARIABLE, "")
    with pytest.raises(SigningKeyError, match="is set, but empty"):
        trainer.train(n_epochs=1, batch_size=60)
    assert not Path("new").exists()
    for load in (Trainer().restore, load_policy):
        with pytest.raises(SigningKeyError):
            load(run)
    with_own_objects(run)


def test_the_key_is_in_no_file_of_the_run(run):
    secret = find_key().secret
    for path in run.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert secret not in data
            assert secret.hex().encode() not in data


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """A run with one snapshot, of an algorithm that is pickled whole."""
    path = tmp_path_factory.mktemp("single") / "run"
    set_seed(1)
    trainer = Trainer(ExperimentContext(str(path)))
    trainer.setup(*opaque())
    trainer.train(n_epochs=1, batch_size=60)
    garage.process.set_process_seed(None)
    return path


def places(run):
    """The files whose every byte counts for what is unpickled, and from where to where."""
    (path,) = RunDirectory(run).snapshots_path.glob("*.json")
    manifest = manifests.read(path)
    chunk = manifest.chunks[manifest.opaque[0].pieces[0].chunk]
    pack = RunDirectory(run).pack_path(chunk.pack)
    return {
        "manifest": (path, 0, path.stat().st_size),
        "recipe": (run / "recipe", 0, (run / "recipe").stat().st_size),
        "opaque part": (pack, chunk.offset, chunk.offset + chunk.stored),
    }


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    what=st.sampled_from(["manifest", "recipe", "opaque part"]),
    where=st.floats(0, 1, exclude_max=True),
    difference=st.integers(1, 255),
    mended=st.booleans(),
)
@example(what="manifest", where=0.999, difference=1, mended=True)
def test_any_changed_byte_is_refused_or_detected_and_nothing_unpickled(single, what, where, difference, mended):
    path, start, end = places(single)[what]
    data = path.read_bytes()
    position = start + int(where * (end - start))
    changed = data[:position] + bytes([data[position] ^ difference]) + data[position + 1 :]
    if mended and what == "manifest":
        changed = manifests.with_checksum(changed)
    unpickled = []
    try:
        path.write_bytes(changed)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cloudpickle, "loads", unpickled.append)
            patch.setattr(cloudpickle, "load", unpickled.append)
            patch.setattr(recipes, "unpickled", unpickled.append)
            if changed == data:  # a digit of the checksum, which was mended
                return
            for load in (Trainer().restore, load_policy):
                with pytest.raises(StorageError):
                    load(single)
        assert unpickled == []
    finally:
        path.write_bytes(data)


def test_a_damaged_snapshot_falls_back_to_one_that_is_signed(run):
    path = RunDirectory(run).manifest_path(2)
    path.write_bytes(path.read_bytes()[:-2])
    trainer = Trainer()
    trainer.restore(run)
    assert trainer.stats.total_epoch == 1


def test_an_untrusted_newest_snapshot_is_refused_and_not_passed_over(run):
    path = RunDirectory(run).manifest_path(2)
    path.write_bytes(signing.encode(manifests.read(path), SOMEBODY))
    with pytest.raises(UntrustedError):
        Trainer().restore(run)
    Trainer().restore(run, 1)
    assert kept(run) == [0, 1, 2]


def test_a_recipe_that_is_not_that_of_the_signed_manifest_is_damage(run):
    (run / "recipe").write_bytes(cloudpickle.dumps(Trap()))
    with pytest.raises(DamagedError, match="the recipe"):
        Trainer().restore(run)
    assert Trap.n_sprung == 0


FIRST = """
from experiment.parts import trained
trained("run", 2)
"""

SECOND = """
import sys
import garage
from garage.errors import UntrustedError
from garage.experiment import Trainer
try:
    garage.load_policy("run")
    trainer = Trainer()
    trainer.restore("run")
    trainer.resume(n_epochs=3)
except UntrustedError:
    sys.exit(6)
"""


def test_a_new_user_does_not_notice_anything(tmp_path, monkeypatch):
    """Real processes, a home of their own, and nothing set."""
    monkeypatch.delenv(VARIABLE)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    tests = str(Path(__file__).parents[1])
    home = {"HOME": str(tmp_path / "home"), "PYTHONPATH": f"{tests}:{Path(garage.__file__).parents[1]}"}
    said = run_script(tmp_path / "first.py", FIRST, **home)
    assert "sign" not in said
    key_path = tmp_path / "home" / ".config" / "garage" / "signing-key"
    assert stat.S_IMODE(key_path.stat().st_mode) == 0o600
    assert "sign" not in run_script(tmp_path / "second.py", SECOND, **home)
    assert events("run").count("finished") == 2
    run_script(tmp_path / "second.py", None, code=6, **home | {"HOME": str(tmp_path / "other")})


def test_recipes_alone_are_unpickled():
    """But for what processes of one user hand to each other: `check-env` a world, a sampler and its workers groups.

    And nothing reads arrays by unpickling.
    """
    found = set()
    package = Path(garage.__file__).parent
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names = {node.module}
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                names = {f"{node.value.id}.{node.attr}"}
            else:
                continue
            if names & {"pickle", "cloudpickle", "dill", "shelve", "marshal", "joblib", "np.load", "torch.load"}:
                found.add(str(path.relative_to(package)))
    samplers = {f"sampler/{name}.py" for name in ("channel", "packed", "pickling", "worker_process")}
    assert found == {"core/unpickling.py", "experiment/recipes.py", "envs/trials.py"} | samplers


def test_recipes_are_loaded_in_few_places():
    """Each of them asks for trust first, but for `make`, which has just pickled what it loads."""
    package = Path(garage.__file__).parent
    callers = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if any(call in path.read_text(encoding="utf-8") for call in ("recipes.load(", "recipes.load_opaque("))
    }
    names = {"load_env", "load_policy", "restoring", "run_state"}
    assert callers == {f"experiment/{name}.py" for name in names}
