"""``garage eval``: how well a run's policy acts."""

import math
from pathlib import Path
from typing import Any

import click
import numpy as np

from garage import process
from garage.cli import recorded_mode, snapshot_name
from garage.cli.completing import snapshots_of
from garage.cli.output import pairs, print_json
from garage.cli.terminal import echo
from garage.core.greedy_policy import GreedyPolicy
from garage.core.spaces import check_fit
from garage.core.streams import Streams
from garage.envs import GymEnv
from garage.experiment.evaluation import Episodes, Evaluator
from garage.experiment.fingerprint import recorded_threads
from garage.experiment.load_env import load_env
from garage.experiment.load_policy import load_policy
from garage.recording.intervals import bootstrap_interval, mean
from garage.storage.store import SnapshotStore

_LEVEL = 0.95


@click.command("eval")
@click.argument("run", metavar="RUN[@EPOCH]", shell_complete=snapshots_of)
@click.option("--episodes", "n_episodes", type=click.IntRange(1), default=100, show_default=True, help="How many.")
@click.option("--stochastic", is_flag=True, help="Draw actions, as in training; by default the most likely are taken.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the episodes.")
@click.option("--env", "world", metavar="ID", help="Of gymnasium: that world, instead of the run's own.")
@click.option("--trust", is_flag=True, help="Run the code of its recipe although your key has not signed it.")
@click.option("--json", "as_json", is_flag=True, help="Print one object, and nothing else.")
def eval(  # noqa: A001, PLR0913 - the command's name; one parameter an option
    run: str, *, n_episodes: int, stochastic: bool, seed: int, world: str | None, trust: bool, as_json: bool
) -> None:
    """Play whole episodes with the policy of RUN's newest snapshot, or that of EPOCH (or first, last, best).

    The episodes are those of the seed: the same at every call, for every snapshot and every run of a world, and none
    that a training has seen. Returns are undiscounted, as the world pays them. The interval is the bootstrap's, over
    episodes. The run's world is rebuilt from its recipe, which runs the code that it names; with --env ID none of it
    is run.
    """
    path, chosen = snapshot_name.split(run)
    which = "last" if chosen is None else chosen
    recorded_mode.enter(path, which)
    manifest = SnapshotStore(path).read(which, with_recipe=False, only=()).manifest
    policy = load_policy(path, manifest.epoch, trust=trust)
    env = load_env(path, manifest.epoch, trust=trust) if world is None else GymEnv(world)
    check_fit(policy, env)
    evaluator = Evaluator(env)
    with process.computing(recorded_threads(manifest.fingerprint) or 1):
        episodes = evaluator.play(policy if stochastic else GreedyPolicy(policy), Streams(seed), n_episodes)
    evaluator.close()
    result = _as_json(path, manifest.epoch, str(env), episodes) | {"greedy": not stochastic, "seed": seed}
    if as_json:
        print_json(result)
    else:
        echo(*_lines(result))


def _as_json(path: Path, epoch: int, env: str, episodes: Episodes) -> dict[str, Any]:
    returns = episodes.returns
    low, high = bootstrap_interval(returns, mean, _LEVEL).tolist()
    return {
        "path": str(path),
        "epoch": epoch,
        "env": env,
        "n_episodes": len(returns),
        "mean": float(np.mean(returns)),
        "std": float(np.std(returns)),
        "min": float(np.min(returns)),
        "max": float(np.max(returns)),
        "interval": None if math.isnan(low) else [low, high],
        "level": _LEVEL,
        "mean_length": float(np.mean(episodes.lengths)),
        "returns": returns.tolist(),
        "lengths": episodes.lengths.tolist(),
    }


def _lines(result: dict[str, Any]) -> list[str]:
    n, how = result["n_episodes"], "greedy" if result["greedy"] else "actions drawn"
    interval = "needs two episodes"
    if result["interval"] is not None:
        low, high = result["interval"]
        interval = f"{low:g} to {high:g} ({100 * result['level']:g} %, of the mean)"
    rows = [
        ("world", result["env"]),
        ("episodes", f"{n:,}, {how}, of seed {result['seed']}, {result['mean_length']:,.1f} steps on average"),
        ("mean", f"{result['mean']:g}"),
        ("interval", interval),
        ("std", f"{result['std']:g}"),
        ("min", f"{result['min']:g}"),
        ("max", f"{result['max']:g}"),
    ]
    return [f"{result['path']}, epoch {result['epoch']}", *pairs(rows)]
