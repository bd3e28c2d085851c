"""``garage render``: a film of a run's policy."""

from pathlib import Path

import click

from garage.cli import snapshot_name
from garage.cli.completing import snapshots_of
from garage.cli.terminal import echo
from garage.core.spaces import check_fit
from garage.envs import GymEnv
from garage.envs.rendered import PICTURES
from garage.errors import ArgumentError, WorldError
from garage.experiment.load_env import load_env
from garage.experiment.load_policy import load_policy
from garage.experiment.viewing.messages import Request
from garage.experiment.viewing.viewer import Viewer
from garage.recording.film import SUFFIXES, check_suffix, find_ffmpeg
from garage.sampler.pickling import pickled_policy
from garage.storage.store import SnapshotStore


@click.command()
@click.argument("run", metavar="RUN[@EPOCH]", shell_complete=snapshots_of)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE",
    help=f"The film, {' or '.join(SUFFIXES)}. By default NAME@EPOCH.mp4.",
)  # fmt: skip
@click.option("--episodes", type=click.IntRange(1), default=1, show_default=True, help="One after another.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the episodes.")
@click.option("--fps", type=float, help="Frames, and so steps, a second; by default what the world says of itself.")
@click.option(
    "--max-steps", type=click.IntRange(1), default=10_000, show_default=True, help="After which an episode is left."
)
@click.option("--stochastic", is_flag=True, help="Draw actions, as in training; by default the most likely are taken.")
@click.option("--env", "world", metavar="ID", help="Of gymnasium: that world, instead of the run's own.")
@click.option("--trust", is_flag=True, help="Run the code of its recipe although your key has not signed it.")
def render(  # noqa: PLR0913 - one parameter an option
    run: str,
    output: Path | None,
    *,
    episodes: int,
    seed: int,
    fps: float | None,
    max_steps: int,
    stochastic: bool,
    world: str | None,
    trust: bool,
) -> None:
    """Film how the policy of RUN's newest snapshot acts, or that of EPOCH (or first, last, best).

    The same seed gives the same episodes. The run's world is rebuilt from its recipe, which runs the code that it
    names; with --env ID, and a policy of garage's, none of it is run. A file that is there is replaced.
    """
    path, which = snapshot_name.split(run)
    manifest = SnapshotStore(path).read("last" if which is None else which, with_recipe=False, only=()).manifest
    target = output or Path(f"{path.absolute().name}@{manifest.epoch}.mp4")
    check_suffix(target)
    if fps is not None and not 0 < fps < float("inf"):
        msg = f"--fps must be a number above 0, got {fps}."
        raise ArgumentError(msg)
    if not target.absolute().parent.is_dir():
        msg = f"Cannot write {target}: there is no folder {target.parent}. Make it first, or give another name with -o."
        raise ArgumentError(msg)
    find_ffmpeg()
    policy = load_policy(path, manifest.epoch, trust=trust)
    env = load_env(path, manifest.epoch, trust=trust) if world is None else GymEnv(world)
    check_fit(policy, env)
    with Viewer(env, PICTURES) as viewer:
        viewer.ask(
            Request(
                policy=pickled_policy(policy),
                seed=seed,
                n_episodes=episodes,
                stochastic=stochastic,
                most_steps=max_steps,
                path=str(target.absolute()),
                fps=fps,
            )
        )
        told = viewer.answer(None)
    if told is None or told.failed:
        msg = f"There is no film of {run}: {'nothing was asked for' if told is None else told.failed}"
        raise WorldError(msg)
    each = ", ".join(f"{each:g} in {n_steps:,} steps" for each, n_steps in zip(told.returns, told.lengths, strict=True))
    echo(f"Wrote {target}: {told.seconds:.1f} s of epoch {manifest.epoch}. Returns: {each}.")
