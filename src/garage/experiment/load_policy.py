"""A run's policy, to act with, without a trainer."""

from pathlib import Path

from garage.core.ports import Algorithm, Policy, Stateful
from garage.core.state import differences, take
from garage.core.streams import Streams
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

    Of the snapshot only the policy's own values are read, where the algorithm's state has them below its name.

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
    store = SnapshotStore(path, key)
    snapshot = store.read(from_epoch, only=[f"algo/{name}"])
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
            fresh: dict[str, Policy] = dict(algo.policies())
            policy = fresh.get(name)
            if isinstance(policy, Stateful) and _says_all(algo, name, policy):
                policy.load_state_dict(take(take(snapshot.state, "algo", "the run"), name, "the algorithm"))
                return fresh[name]
            whole = store.read(snapshot.manifest.epoch, with_recipe=False)
            algo.load_state_dict(take(whole.state, "algo", "the run"))
    policies: dict[str, Policy] = dict(algo.policies())
    if name not in policies:
        msg = f"The algorithm of {run} has no policy {name!r}; it has: {', '.join(policies)}."
        raise RecipeError(msg)
    return policies[name]


def _says_all(algo: Algorithm, name: str, policy: Stateful) -> bool:
    """Whether what the algorithm's state has at the policy's name is that policy's own state.

    If so, it is all that the policy needs, and the rest, a replay buffer say, need not be read. What it finds out on
    is first parameters, which are drawn for that alone.
    """
    algo.initialise(Streams(0))
    state = algo.state_dict()
    return name in state and not differences({name: state[name]}, {name: policy.state_dict()})
