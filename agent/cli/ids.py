"""Resolves the id of an action on the command line; completes ids, kinds and arguments."""

import click
from click.shell_completion import CompletionItem

from agent.cli.exits import Missing, Usage
from agent.cli.options import given
from agent.cli.session import CliSession
from agent.client import ACTIONS, Client, ClientError

LONGEST_NUMBER = 8
"""Maximum digits of an action's number; a longer text of digits is the beginning of a uuid."""
UUID = 36
"""Characters of a uuid."""
ABSENT = {"@running": "no action runs now", "@last": "there is no action yet"}
COMPLETED = 50
"""The number of newest actions that the completion offers."""


def action_id(client: Client, named: str) -> str:
    """The id of the action `named`. Raises `Usage` if it is ambiguous, `Missing` if there is none."""
    if named == "@running":
        found = client.get(f"{ACTIONS}/list", state="RUNNING", limit=2).body["items"]
    elif named == "@last":
        found = client.get(f"{ACTIONS}/list", limit=1).body["items"]
    elif (named.isdecimal() and len(named) < LONGEST_NUMBER) or len(named) == UUID:
        return named
    else:
        items = client.get(f"{ACTIONS}/list", limit=500).body["items"]
        found = [each for each in items if each["id"].startswith(named.lower())]
    if not found:
        raise Missing(ABSENT.get(named, f"no recent action has an id that begins with {named}"))
    if len(found) > 1:
        raise Usage(f"several actions match {named}: {', '.join(each['id'][:13] for each in found[:5])}")
    return str(found[0]["id"])


def complete_id(ctx: click.Context, parameter: click.Parameter, begin: str) -> list[CompletionItem]:
    """The newest actions of the current agent."""
    try:
        found = CliSession(given(ctx)).client.get(f"{ACTIONS}/list", limit=COMPLETED).body["items"]
    except (ClientError, Usage, Missing, OSError):
        return []
    offered = [(each["id"], f"{each['kind']} {each['outcome'] or each['state']}") for each in found]
    offered += [("@last", "the newest action"), ("@running", "the action that runs")]
    return [CompletionItem(name, help=about) for name, about in offered if name.startswith(begin)]


def complete_kind(ctx: click.Context, parameter: click.Parameter, begin: str) -> list[CompletionItem]:
    """The kinds of the current agent, also by the last part of their names."""
    try:
        kinds = CliSession(given(ctx)).client.get(f"{ACTIONS}/available").body
    except (ClientError, Usage, Missing, OSError):
        return []
    names = {name: each["description"] for each in kinds for name in (each["kind"], each["kind"].rpartition(".")[2])}
    return [CompletionItem(name, help=about) for name, about in names.items() if name.startswith(begin)]


def complete_argument(ctx: click.Context, parameter: click.Parameter, begin: str) -> list[CompletionItem]:
    """The arguments of the kind, with their values if the schema lists them."""
    from agent.cli.arguments import kind_named

    try:
        kind = kind_named(CliSession(given(ctx)).client, ctx.params["kind"])
    except (ClientError, Usage, Missing, OSError, KeyError):
        return []
    offered = []
    for name, schema in kind["args"].get("properties", {}).items():
        values = schema.get("enum") or (["true", "false"] if schema.get("type") == "boolean" else [""])
        offered += [f"{name}={each}" for each in values if isinstance(each, str)]
    return [CompletionItem(each) for each in offered if each.startswith(begin)]
