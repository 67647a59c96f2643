"""`smsblossom completion`: tab completion of commands, options and their choices."""

from typing import Final

import click
from click.shell_completion import get_completion_class

_VARIABLE: Final = "_SMSBLOSSOM_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the tab completion of your shell.

    \b
    bash: smsblossom completion bash > ~/.local/share/bash-completion/completions/smsblossom
    zsh:  smsblossom completion zsh > ~/.zfunc/_smsblossom   (with ~/.zfunc in fpath)
    fish: smsblossom completion fish > ~/.config/fish/completions/smsblossom.fish
    """  # noqa: D301  click's mark of a paragraph that it must not wrap
    found = get_completion_class(shell)
    assert found is not None  # the three shells click knows
    click.echo(found(ctx.find_root().command, {}, "smsblossom", _VARIABLE).source())
