"""``garage check-env``: whether a world can be seeded, repeated, and left in mid-episode."""

import dataclasses
import importlib
import sys
from pathlib import Path
from typing import Any

import click

from garage.cli.output import aligned, print_json
from garage.cli.terminal import echo
from garage.envs import EnvReport
from garage.envs import check_env as checked
from garage.errors import ArgumentError

_NOT_EXACT = 9


@click.command("check-env")
@click.argument("world", metavar="ID|MODULE:FACTORY")
@click.option("--episodes", "n_episodes", default=3, show_default=True, help="How many episodes to repeat.")
@click.option("--json", "as_json", is_flag=True, help="Print one object, and nothing else.")
@click.pass_context
def check_env(ctx: click.Context, world: str, *, n_episodes: int, as_json: bool) -> None:
    """Take episodes of WORLD again and again, here and in another process, and say what they have in common.

    WORLD is an id for gymnasium.make, or MODULE:FACTORY for what makes your own environment, such as worlds:Maze.
    Modules are looked for here too. Exits with 0 if runs of the world can be continued with the same bits, else with 9.
    """
    report = checked(_found(world), n_episodes=n_episodes)
    if as_json:
        print_json({**dataclasses.asdict(report), "exact": report.exact, "verdict": report.verdict})
    else:
        echo(*_lines(report))
    if not report.exact:
        ctx.exit(_NOT_EXACT)


def _found(world: str) -> Any:  # noqa: ANN401 - an id, or whatever the module has under that name
    """The module's factory, if there is such a module with such a name in it; else the id itself."""
    module_name, colon, name = world.partition(":")
    if not colon:
        return world
    sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        msg = (
            f"There is no module {error.name!r}. Expected an id for gymnasium.make, or MODULE:FACTORY, such as "
            "worlds:Maze for Maze in worlds.py here."
        )
        raise ArgumentError(msg) from error
    # "module:id" imports the module and makes the id, as in gymnasium.make.
    return vars(module).get(name, world)


def _lines(report: EnvReport) -> list[str]:
    rows = [[finding.outcome.value, finding.about, finding.said] for finding in report.findings]
    return [*aligned(rows), "", report.verdict]
