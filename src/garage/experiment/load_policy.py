"""A run's policy, to act with, without a trainer."""

from pathlib import Path

from garage.core.ports import Policy
from garage.core.state import take
from garage.errors import RecipeError
from garage.experiment import recipes
from garage.experiment.tf_trainer import rebuilding
from garage.experiment.trust import need_trust
from garage.storage.signing_key import find_key
from garage.storage.store import SnapshotStore


def load_policy(
    run: str | Path, from_epoch: int | str = "last", *, name: str = "policy", trust: bool = False
) -> Policy:
    """The policy of a snapshot. Its objects are rebuilt from the recipe, which runs the code that it names.

    Args:
        run: a run's directory.
        from_epoch: ``"last"``, ``"first"``, ``"best"`` or an epoch.
        name: which of the algorithm's policies.
        trust: rebuild the objects whoever signed the snapshot; otherwise it has to be this user's key.

    Raises:
        NoSnapshotError: there is no such directory, or no such snapshot in it.
        DamagedError: there is, but none that verifies.
        UntrustedError: this user's key has not signed the snapshot.
        SigningKeyError: that key cannot be used.
        RecipeError: the run has no recipe, cannot be rebuilt from it, or has no policy of that name.
    """
    path, key = Path(run).expanduser(), None if trust else find_key()
    snapshot = SnapshotStore(path, key).read(from_epoch)
    if snapshot.recipe is None:
        msg = (
            f"Cannot load a policy from {run}: the run has no recipe ({snapshot.manifest.recipe_problem}). "
            "Build the experiment's objects yourself, call trainer.setup(algo, env) and then trainer.restore(run)."
        )
        raise RecipeError(msg)
    if not trust:
        need_trust(snapshot, path, key)
    with rebuilding(recipes.surroundings_of(snapshot.recipe)):
        if "algo" in snapshot.opaque:
            algo = recipes.load_opaque(snapshot.opaque["algo"])
        else:
            algo, _ = recipes.load(snapshot.recipe)
            algo.load_state_dict(take(snapshot.state, "algo", "the run"))
    policies: dict[str, Policy] = dict(algo.policies())
    if name not in policies:
        msg = f"The algorithm of {run} has no policy {name!r}; it has: {', '.join(policies)}."
        raise RecipeError(msg)
    return policies[name]
