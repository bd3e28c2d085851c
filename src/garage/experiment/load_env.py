"""A run's world, without a trainer."""

from pathlib import Path

from garage.core.ports import Env
from garage.errors import RecipeError
from garage.experiment import recipes
from garage.experiment.tf_trainer import rebuilding
from garage.experiment.trust import need_trust
from garage.storage.signing_key import find_key
from garage.storage.store import SnapshotStore


def load_env(run: Path, from_epoch: int | str = "last", *, trust: bool = False) -> Env:
    """The environment of a run, rebuilt from its recipe, which runs the code that the recipe names.

    Args:
        run: a run's directory.
        from_epoch: ``"last"``, ``"first"``, ``"best"`` or an epoch; of the snapshot, next to nothing is read.
        trust: rebuild it whoever signed the snapshot; otherwise it has to be this user's key.

    Raises:
        NoSnapshotError: there is no such directory, or no such snapshot in it.
        DamagedError: there is, but none that verifies.
        UntrustedError: this user's key has not signed the snapshot.
        SigningKeyError: that key cannot be used.
        RecipeError: the run has no recipe, or cannot be rebuilt from it.
    """
    key = None if trust else find_key()
    snapshot = SnapshotStore(run, key).read(from_epoch, only=())
    if snapshot.recipe is None:
        msg = (
            f"Cannot load the world of {run}: the run has no recipe ({snapshot.manifest.recipe_problem}). If it is "
            "one of gymnasium's, say which."
        )
        raise RecipeError(msg)
    if not trust:
        need_trust(snapshot, run, key)
    with rebuilding(recipes.surroundings_of(snapshot.recipe)):
        _, env = recipes.load(snapshot.recipe)
    loaded: Env = env
    return loaded
