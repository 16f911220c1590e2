"""agentctl completion: the script that completes commands, kinds, arguments and ids in a shell."""

import click
from click.shell_completion import get_completion_class

from agent.cli import exits
from agent.cli.options import Documented

COMPLETE = "_AGENTCTL_COMPLETE"


@click.command("completion", cls=Documented)
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion_command(ctx: click.Context, shell: str) -> int:
    """Print the completion script of a shell.

    Kinds, arguments and ids are read from the agent that the command line names.
    """
    found = get_completion_class(shell)
    assert found is not None  # one of the choices
    click.echo(found(ctx.find_root().command, {}, "agentctl", COMPLETE).source())
    return exits.DONE


completion_command.examples = (
    "source <(agentctl completion bash)",
    "agentctl completion fish > ~/.config/fish/completions/agentctl.fish",
)
