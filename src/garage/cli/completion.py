"""``garage completion``: what makes a shell complete commands, options and the names of runs."""

import click
from click.shell_completion import get_completion_class

from garage.errors import ArgumentError

_PLACES = {
    "bash": "garage completion bash > ~/.local/share/bash-completion/completions/garage",
    "zsh": "garage completion zsh > ~/.zsh/_garage, with fpath=(~/.zsh $fpath) before compinit in ~/.zshrc",
    "fish": "garage completion fish > ~/.config/fish/completions/garage.fish",
}
_VARIABLE = "_GARAGE_COMPLETE"
"""By which the script asks `garage` itself, see click's documentation on shell completion."""


@click.command()
@click.argument("shell", type=click.Choice(tuple(_PLACES)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that makes SHELL complete commands, options, and names of runs below data/local.

    \b
    Once, for the shells that are started from then on:
      garage completion bash > ~/.local/share/bash-completion/completions/garage
      garage completion zsh > ~/.zsh/_garage        (a folder of $fpath, before compinit)
      garage completion fish > ~/.config/fish/completions/garage.fish
    In this shell only (bash, zsh):
      source <(garage completion bash)
    """  # noqa: D301 - \b is click's mark for lines that stay as they are
    kind = get_completion_class(shell)
    if kind is None:
        msg = f"click knows no completion for {shell}; it has one for {', '.join(_PLACES)}."
        raise ArgumentError(msg)
    group = ctx.find_root().command
    click.echo(kind(group, {}, "garage", _VARIABLE).source())
    click.echo(f"Put it where {shell} looks: {_PLACES[shell]}.", err=True)
