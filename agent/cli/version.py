"""agentctl version."""

import click

from agent.cli import exits
from agent.cli.options import Documented
from agent.util.installed_version import installed_version


@click.command("version", cls=Documented)
def version_command() -> int:
    """Print the version of agentctl."""
    click.echo(f"agentctl {installed_version()}")
    return exits.DONE
