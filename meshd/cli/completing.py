"""`meshd completion`: what makes a shell complete meshd's commands and options."""

from __future__ import annotations

import click

from meshd.cli.group import PROGRAM, Command, Commands
from meshd.cli.output import print_json, print_text
from meshd.cli.session import current_session

VARIABLE = f"_{PROGRAM.upper()}_COMPLETE"
"""In it the shell asks click for completions."""


# click keeps the lines of a paragraph that begins with its mark.
_HELP = """Print the completion script of a shell.

\b
bash: add to ~/.bashrc
    eval "$(meshd completion bash)"
zsh: add to ~/.zshrc
    eval "$(meshd completion zsh)"
fish: once
    meshd completion fish > ~/.config/fish/completions/meshd.fish
"""


@click.command(cls=Command, help=_HELP)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None, "bug: a shell that click does not know"
    script = kind(Commands(name=PROGRAM), {}, PROGRAM, VARIABLE).source()
    if current_session().as_json:
        print_json({"shell": shell, "script": script})
    else:
        print_text(script)
