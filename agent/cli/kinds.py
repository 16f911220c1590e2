"""agentctl kinds, can, whoami: the kinds of an agent and the permissions of the caller."""

import click

from agent.cli import exits, printing
from agent.cli.arguments import kind_named
from agent.cli.ids import complete_kind
from agent.cli.options import remote
from agent.cli.session import CliSession
from agent.client import ACTIONS, Refused

WHOAMI = "/api/unstable/whoami"


@remote("kinds", examples=("agentctl kinds", "agentctl kinds deploy", "agentctl kinds --missing"))
@click.argument("kind", required=False, shell_complete=complete_kind)
@click.option("--missing", is_flag=True, help="The kinds that the agent does not offer, and what each needs.")
def kinds_command(session: CliSession, kind: str | None, missing: bool) -> int:
    """Print the kinds of the agent, or one kind with its arguments."""
    if kind:
        found = kind_named(session.client, kind)
        printing.members(found, session.format, found["kind"], lambda: printing.kind(found))
    elif missing:
        kinds = session.client.get(f"{ACTIONS}/available", missing="true").body
        printing.items(kinds, ("KIND", "NEEDS"), lambda each: (each["kind"], each["reason"]), session.format, "kind")
    else:
        kinds = session.client.get(f"{ACTIONS}/available").body
        head = ("KIND", "DANGER", "DESCRIPTION")
        printing.items(
            kinds,
            head,
            lambda each: (each["kind"], each["danger"], each["description"].partition(". ")[0]),
            session.format,
            "kind",
        )
    return exits.DONE


@remote("can", examples=("agentctl can deploy && agentctl schedule deploy application=shop",))
@click.argument("kind", shell_complete=complete_kind)
def can_command(session: CliSession, kind: str) -> int:
    """Print whether the caller may schedule a kind.

    The exit status is 0 if it may and 4 if it may not. Requests a plan, which changes nothing.
    """
    found = kind_named(session.client, kind)["kind"]
    try:
        session.client.post("plan", found)
    except Refused as error:
        if error.status in exits.OF_STATUS and exits.of(error) != exits.USAGE:
            raise
    printing.members({"kind": found, "may": True}, session.format, found, lambda: f"yes: {found}")
    return exits.DONE


@remote("whoami", examples=("agentctl whoami", "agentctl -c db-1 whoami -o json"))
def whoami_command(session: CliSession) -> int:
    """Print the identity of the caller, how the agent authenticated it, and its permissions."""
    found = session.client.get(WHOAMI).body
    name = found["user"] or "unauthenticated"
    printing.members(found, session.format, name, lambda: printing.pairs({**found, "user": name}))
    return exits.DONE
