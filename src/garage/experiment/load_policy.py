"""A run's policy, to act with, without a trainer."""

import importlib.util
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from garage.core.ports import Algorithm, Policy, Stateful
from garage.core.state import differences, take
from garage.core.streams import Streams
from garage.errors import DamagedError, DependencyError, RecipeError
from garage.experiment import policy_descriptions, recipes
from garage.experiment.arguments import loading
from garage.experiment.tf_trainer import rebuilding
from garage.experiment.trust import need_trust
from garage.recording.console import console
from garage.storage.manifest import Manifest
from garage.storage.signing import signer_of
from garage.storage.signing_key import find_key
from garage.storage.store import SnapshotStore, StoredSnapshot

logger = logging.getLogger(__name__)

_FRAMEWORKS = {"garage.torch": ("PyTorch", "torch", "torch"), "garage.tf": ("TensorFlow", "tensorflow", "tf")}
"""By the folder of a policy's class: the framework, its package, and garage's extra."""


def load_policy(
    run: str | Path, from_epoch: int | str = "last", *, name: str = "policy", trust: bool = False
) -> Policy:
    """The policy of a snapshot.

    An MLP policy of garage's, in `Normalised` or not, is built from what the snapshot says of it: no code of the run is
    unpickled, no key is asked for, and neither its framework nor its environment's package is needed. What comes back
    is NumPy's, which acts with the same bits whatever framework it was trained in. Of the snapshot only its own values
    are read.

    Any other policy, such as a `ModulePolicy`, or one of a run that garage wrote before it described policies, is
    rebuilt from the run's recipe. That runs the code that the recipe names, so the snapshot has to be signed by the
    user's key.

    Args:
        run: a run's directory.
        from_epoch: ``"last"``, ``"first"``, ``"best"`` or an epoch.
        name: which of the algorithm's policies.
        trust: rebuild it from the recipe, where that is needed, whoever signed the snapshot.

    Raises:
        NoSnapshotError: there is no such directory, or no such snapshot in it.
        DamagedError: there is, but none that verifies.
        MismatchError: its values are not those of such a policy.
        RecipeError: there is no policy of that name, or it needs a recipe and there is none that can be rebuilt.
        DependencyError: it needs a framework that is not installed.
        UntrustedError: it needs the recipe, and this user's key has not signed the snapshot.
        SigningKeyError: that key cannot be used.
    """
    path = Path(run).expanduser()
    store = SnapshotStore(path)

    def needed(manifest: Manifest) -> list[str]:
        description = policy_descriptions.read(manifest.policies, name)
        return [f"algo/{name}"] if description is None else policy_descriptions.places(description)

    snapshot = store.read(from_epoch, with_recipe=False, only=needed)
    manifest = snapshot.manifest
    with console():
        for problem in snapshot.problems:
            logger.warning("Passed over a damaged snapshot, fell back to epoch %d: %s", manifest.epoch, problem)
    kinds = manifest.fingerprint.get("policies")
    if manifest.policies and isinstance(kinds, dict) and name not in kinds:
        raise RecipeError(_not_there(path, name, kinds))
    description = policy_descriptions.read(manifest.policies, name)
    if description is None:
        return _rebuilt(store, snapshot, name, trust=trust)
    with loading(f"epoch {manifest.epoch} of {path}"):
        return policy_descriptions.built(description, snapshot.state)


def _rebuilt(store: SnapshotStore, snapshot: StoredSnapshot, name: str, *, trust: bool) -> Policy:
    """The policy by the recipe, or by the algorithm that was pickled whole."""
    path, manifest = store.directory.path, snapshot.manifest
    _need_framework(path, manifest.fingerprint, name)
    try:
        recipe, opaque = store.code(manifest)
    except DamagedError as error:
        msg = f"Cannot load a policy from epoch {manifest.epoch} of {path}: {error}."
        raise DamagedError(msg) from error
    if recipe is None:
        msg = (
            f"Cannot load a policy from {path}: the run has no recipe ({manifest.recipe_problem}). "
            "Build the experiment's objects yourself, call trainer.setup(algo, env) and then trainer.restore(run)."
        )
        raise RecipeError(msg)
    if not trust:
        key = find_key()
        signer = signer_of(manifest, store.directory.manifest_path(manifest.epoch), key)
        need_trust(replace(snapshot, signer=signer), path, key)
    with rebuilding(recipes.surroundings_of(recipe)):
        if "algo" in opaque:
            algo = recipes.load_opaque(opaque["algo"])
        else:
            algo, _ = recipes.load(recipe)
            fresh: dict[str, Policy] = dict(algo.policies())
            policy = fresh.get(name)
            if isinstance(policy, Stateful) and _says_all(algo, name, policy):
                policy.load_state_dict(take(take(snapshot.state, "algo", "the run"), name, "the algorithm"))
                return fresh[name]
            whole = store.read(manifest.epoch, with_recipe=False)
            algo.load_state_dict(take(whole.state, "algo", "the run"))
    policies: dict[str, Policy] = dict(algo.policies())
    if name not in policies:
        raise RecipeError(_not_there(path, name, policies))
    return policies[name]


def _need_framework(path: Path, fingerprint: Mapping[str, Any], name: str) -> None:
    """Make sure that the framework is installed that a policy acts by, if it is of a class of garage's."""
    kinds = fingerprint.get("policies")
    kind = kinds.get(name) if isinstance(kinds, dict) else None
    for folder, (framework, package, extra) in _FRAMEWORKS.items():
        if isinstance(kind, str) and kind.startswith(f"{folder}.") and importlib.util.find_spec(package) is None:
            msg = (
                f"The policy {name!r} of {path} is a {kind}, which needs {framework}, and that is not installed. "
                f'Install it with: pip install "garage[{extra}]"'
            )
            raise DependencyError(msg)


def _not_there(path: Path, name: str, names: Iterable[str]) -> str:
    return f"The algorithm of {path} has no policy {name!r}; it has: {', '.join(names)}."


def _says_all(algo: Algorithm, name: str, policy: Stateful) -> bool:
    """Whether what the algorithm's state has at the policy's name is that policy's own state.

    If so, it is all that the policy needs, and the rest, a replay buffer say, need not be read. What it finds out on
    is first parameters, which are drawn for that alone.
    """
    algo.initialise(Streams(0))
    state = algo.state_dict()
    return name in state and not differences({name: state[name]}, {name: policy.state_dict()})
