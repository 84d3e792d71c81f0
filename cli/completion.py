"""`nagindex completion`: the script with which a shell completes commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")
HELP = """Print the script that makes SHELL complete commands, options and file names.

\b
bash:  nagindex completion bash >> ~/.bashrc
zsh:   nagindex completion zsh >> ~/.zshrc
fish:  nagindex completion fish > ~/.config/fish/completions/nagindex.fish
"""


@click.command(help=HELP)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print click's completion script for a shell."""
    script = get_completion_class(shell)
    if script is None:  # a shell that click no longer knows; SHELLS is tested against it
        raise click.UsageError(f"no completion for {shell}")
    click.echo(script(ctx.find_root().command, {}, "nagindex", "_NAGINDEX_COMPLETE").source())
