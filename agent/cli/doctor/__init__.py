"""agentctl doctor: check everything that the agent needs on this host, with a remedy for each fault."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent import config
from agent.cli import exits, printing
from agent.cli.doctor.finding import Finding
from agent.cli.exits import Usage
from agent.cli.host import as_owner, environ
from agent.cli.options import given, local
from agent.cli.running import one_line
from agent.cli.session import ask
from agent.errors import ConfigError
from agent.util import drop_privileges

if TYPE_CHECKING:
    from agent.cli.doctor.repairs import Repair


@local(
    "doctor",
    examples=("agentctl doctor", "agentctl doctor --faults /etc/agent/agent.toml", "agentctl doctor --fix"),
    has_forms=True,
)
@click.argument("file", required=False, type=click.Path())
@click.option("--faults", is_flag=True, help="Print only faults.")
@click.option("--fix", is_flag=True, help="Repair what is safe to repair, after a confirmation.")
@click.option("--yes", is_flag=True, help="With --fix: do not ask for confirmation.")
@as_owner
def doctor_command(file: str | None, faults: bool, fix: bool, yes: bool) -> int:
    """Check everything that the agent needs on this host, as the agent's user.

    Checks the configuration, files and their modes, the database, drivers, programs, units and the polkit rule,
    addresses, certificates, tokens, and a connection to the datastore, its peers, the caches and the container engine.
    Changes nothing. Prints a line for each check: ok, or the fault and its remedy. The exit status is 1 if there is a
    fault. FILE is the configuration; default: the file that the agent would read.

    --fix repairs three things: modes of the agent's own files that permit access by other users, missing folders, and a
    polkit rule that `agentctl polkit` made for another configuration (as root). It shows the commands first and asks;
    without a terminal it needs --yes. It never changes, moves or removes data, an owner, or the configuration.
    """
    # Imported here: the checks import the kinds and their drivers.
    from agent.cli.doctor import configuration, examination

    variables = environ(file)
    if file:
        drop_privileges.become(Path(file))
    if fix:
        _repair(variables, yes=yes)
    settings, found = configuration.look(variables)
    if settings is not None:
        drop_privileges.become(settings.agent.db)
        found += examination.look(settings)
    _print([each for each in found if each.fault or not faults], given(click.get_current_context()))
    wrong = sum(bool(each.fault) for each in found)
    if settings is None:
        click.echo("the other checks were skipped: correct the configuration, then run doctor again", err=True)
    click.echo(f"{wrong} of {len(found)} checks failed" if wrong else f"all {len(found)} checks passed", err=True)
    return exits.FAILED if wrong else exits.DONE


def _repair(environ: Mapping[str, str], *, yes: bool) -> None:
    """Repair the polkit rule as the caller, then the files as the agent's user."""
    # Imported here: the checks do not need it.
    from agent.cli.doctor import repairs

    try:
        settings = config.load(environ)
    except ConfigError:
        return  # the checks print its mistakes
    done = _carry_out(repairs.rule(settings, config.origin(environ)), yes=yes)
    drop_privileges.become(settings.agent.db)
    if not _carry_out(repairs.files(settings, config.file(environ)), yes=yes) + done:
        click.echo("no fault that --fix can repair", err=True)


def _carry_out(repairs: Iterable["Repair"], *, yes: bool) -> int:
    """Show the commands, ask, and run them; returns the number of commands. Raises `Usage`."""
    found = list(repairs)
    for each in found:
        click.echo(f"would run: {one_line(each.command)}", err=True)
    if not found or not (yes or _agreed()):
        return len(found)
    for each in found:
        try:
            each.do()
            click.echo(f"done: {one_line(each.command)}", err=True)
        except OSError as error:
            click.echo(f"not done: {one_line(each.command)}: {error.strerror}: run it as root", err=True)
    return len(found)


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise Usage("add --yes to repair without a terminal; nothing was changed")
    return ask("run them? [y/N] ").lower() in ("y", "yes")


def _print(found: Sequence[Finding], options: Mapping[str, Any]) -> None:
    """Print a line for each finding, or an object for each in the other formats."""
    if (form := options.get("output", "table")) == "table":
        for each in found:
            click.echo(one_line(each.line))
    else:
        rows = [{"subject": each.subject, "fault": each.fault or None, "detail": each.detail or None} for each in found]
        head = ("SUBJECT", "FAULT", "DETAIL")
        printing.items(rows, head, lambda row: [row[name.lower()] or "" for name in head], form, "subject")
