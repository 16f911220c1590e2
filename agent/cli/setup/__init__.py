"""agentctl setup: configures and starts the agent for the datastore of this host, or undoes that."""

import os
import subprocess
import sys
from contextlib import nullcontext

import click

from agent.cli import exits
from agent.cli.exits import Usage
from agent.cli.options import Documented
from agent.cli.session import say

DATASTORES = ("postgresql", "mysql", "mariadb", "redis", "valkey", "mongodb")
SECONDS = 300


@click.command("setup", cls=Documented)
@click.option("--datastore", type=click.Choice(DATASTORES), help="The datastore, if several run on this host.")
@click.option("--unit", help="The unit of the datastore, if several servers of one datastore run on this host.")
@click.option("--user", help="The user of the agent; default: the best user for the datastore.")
@click.option("--tls", is_flag=True, help="Listen on all addresses, with a certificate that setup makes.")
@click.option("--dry-run", is_flag=True, help="Print what would be done; change nothing.")
@click.option("--remove", is_flag=True, help="Undo the changes of setup; the data of the agent stays.")
def setup_command(
    datastore: str | None, unit: str | None, user: str | None, tls: bool, dry_run: bool, remove: bool
) -> int:
    """Set the agent up for the datastore that runs on this host, as root.

    Finds the server, chooses the user, creates a role or account with the rights that the kinds need, writes the
    configuration, drop-ins, the polkit rule and a first token, starts the agent, runs doctor and schedules a ping.
    Prints each change before it is made; a second run changes nothing. Passwords of administrators are read from
    $MYSQL_PWD, $REDISCLI_AUTH and $MONGODB_ADMIN_URL if the server requires one.
    """
    if os.geteuid() != 0:
        raise Usage("setup writes files of root: run it as root")
    from agent.cli.setup import record

    with nullcontext() if dry_run else record.alone():
        return _remove(dry_run) if remove else _set_up(datastore, unit, user, tls, dry_run)


setup_command.examples = (
    "agentctl setup",
    "agentctl setup --datastore redis --dry-run",
    "agentctl setup --remove",
)


def _set_up(datastore: str | None, unit: str | None, user: str | None, tls: bool, dry_run: bool) -> int:
    # Imported here: they import the configuration and the accounts.
    from agent.cli.setup import host, plan, record

    server = host.find(datastore, unit)
    say(f"Found {server.datastore}: {server.unit}, process {server.pid} of {server.owner}.")
    user, reason = plan.choose_user(server, user)
    say(reason)
    changes = plan.changes(server, user, tls=tls)
    made, begun = 0, record.begun()
    for change in changes:
        # A change interrupted by a kill may look made, so a begun one is made again.
        if change.is_made() and change.note not in begun and not (change.again and made):
            continue
        made += 1
        say(f"{'would ' if dry_run else ''}{change.description}")
        if not dry_run:
            record.add({"what": "setup", "unit": server.unit, "user": user})
            if change.note is not None:
                record.add(change.note, begin=True)
            more = change.make()
            if change.note is not None:
                record.finish(change.note, more)
    if dry_run:
        say(f"{made} changes would be made" if made else "nothing would be changed")
        return exits.DONE
    if not made:
        say("nothing to change")
    return _prove(ping=made > 0)


def _prove(*, ping: bool) -> int:
    """Run doctor, and schedule a ping if something was changed."""
    from agent.cli.setup import access, configuration

    say("run agentctl doctor")
    status = _agentctl("doctor", str(configuration.FILE))
    if ping:
        say("schedule replicante.test.ping")
        here = ("--url", f"unix:{configuration.SOCKET}", "--timeout", "60s")
        status = _agentctl(*here, "schedule", "--wait", "replicante.test.ping", "count=1") or status
        say(f"done: agentctl status; from elsewhere with the token in {access.TOKEN}")
    return exits.DONE if status == 0 else exits.FAILED


def _agentctl(*words: str) -> int:
    argv = [sys.executable, "-I", "-m", "agent.cli", *words]
    from agent.cli.setup import programs

    return subprocess.run(argv, timeout=SECONDS, cwd="/", env=programs.environ(), check=False).returncode


def _remove(dry_run: bool) -> int:
    from agent.cli.setup import plan, record, units

    notes = record.read()
    if not notes:
        say("setup has made nothing here")
        return exits.DONE
    kept = False
    for note in reversed(notes):
        if dry_run:
            say(f"would take back {note['what']} {note.get('path', note.get('user', ''))}".rstrip())
            continue
        try:
            if done := plan.undo(note):
                say(done)
        except Usage as error:
            if note["what"] != "account":
                raise  # the rest stays: an agent that is still stopping needs it
            kept = True
            say(f"kept account {note['user']}: {error}; then run agentctl setup --remove again")
            continue
        record.write([each for each in record.read() if each != note])
    if not dry_run:
        units.reload()
    return exits.FAILED if kept else exits.DONE
