"""agentctl events: print the audit trail, from the database of this host's agent or from an agent's API."""

import json
import os
import sys
from datetime import datetime

import click

from agent.cli import exits
from agent.cli.options import given, remote
from agent.cli.session import CliSession
from agent.cli.types import AGO
from agent.client import LONGEST_WAIT

EVENTS = "/api/unstable/events"


@remote("events", examples=("agentctl events --since 24h", "agentctl -c db-1 events --follow"))
@click.option("--follow", is_flag=True, help="Continue with events as they are added.")
@click.option("--since", type=AGO, help="A time such as 2026-11-26T10:00:00Z, or an age such as 24h.")
def events_command(session: CliSession, follow: bool, since: str | None) -> int:
    """Print the audit trail as JSON lines.

    With --url, -c or $AGENT_URL the events come from the agent's API, which needs the permission audit. Otherwise they
    come from the database of this host's agent, even while it is stopped; then the chain of the events is checked, and
    the exit status is 1 if another program has changed an event.
    """
    if {"url", "context"} & set(given(click.get_current_context())) or os.environ.get("AGENT_URL"):
        return _from_the_api(session, since, follow=follow)
    return _from_the_file(since, follow=follow)


def _from_the_file(since: str | None, *, follow: bool) -> int:
    from agent.cli import audit
    from agent.cli.host import as_owner

    moment = round(datetime.fromisoformat(since).timestamp() * 1_000_000) if since else 0
    return as_owner(audit.show)(moment, follow=follow)


def _from_the_api(session: CliSession, since: str | None, *, follow: bool) -> int:
    """Read page by page; the id of the last event is the cursor of the next call."""
    after, moment = 0, since or ""
    try:
        while True:
            wait = LONGEST_WAIT if follow and after else 0
            lines = session.client.get(EVENTS, wait=wait, after=after).body.decode().splitlines()
            for line in lines:
                event = json.loads(line)
                after = event["id"]
                if event["timestamp"] >= moment:
                    print(line)
            sys.stdout.flush()
            if not lines and not follow:
                return exits.DONE
    except KeyboardInterrupt:
        return exits.DONE
