"""`orlop completion`: what a shell sources so that it completes commands, options and image names."""

from __future__ import annotations

import click

from .lazy import Command


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def completion(shell: str) -> None:
    """Print the completion script for a shell.

    \b
      bash:  orlop completion bash > ~/.local/share/bash-completion/completions/orlop
      zsh:   orlop completion zsh > "${fpath[1]}/_orlop"
      fish:  orlop completion fish > ~/.config/fish/completions/orlop.fish
    """
    from click.shell_completion import get_completion_class

    from .complete import VARIABLE, Bash

    found = Bash if shell == "bash" else get_completion_class(shell)
    if found is not None:
        names = {"complete_func": "_orlop_completion", "complete_var": VARIABLE, "prog_name": "orlop"}
        # the general source(): bash's own asks the bash of this machine for its version, which the script need not
        click.echo(found.source_template if found is Bash else found.source_template % names, nl=False)
