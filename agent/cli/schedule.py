"""agentctl schedule, plan, again: schedule an action, or print its plan."""

import os
import sys
from collections.abc import Mapping
from typing import Any

import click

from agent.cli import exits, printing, watching
from agent.cli.arguments import kind_named, typed
from agent.cli.exits import Usage
from agent.cli.ids import action_id, complete_argument, complete_id, complete_kind
from agent.cli.options import Decorator, remote
from agent.cli.session import CliSession, ask, say
from agent.cli.types import AHEAD
from agent.client import Unreachable
from agent.plan import Danger, Would, object_name, to_confirm, unknown

KIND = click.argument("kind", shell_complete=complete_kind)
ARGS = click.argument("args", nargs=-1, metavar="[NAME=VALUE]...", shell_complete=complete_argument)


def _terms(command: Any) -> Any:
    """Add the options of commands that schedule."""
    for decorate in (
        click.option("--yes", is_flag=True, help="Do not ask for confirmation."),
        click.option("--not-after", type=AHEAD, help="The action expires if it has not started by this time."),
        click.option("--not-before", type=AHEAD, help="Hold the action until a time, or for a time span such as 2h."),
        click.option("--key", help="An Idempotency-Key: the same key schedules the action once."),
        click.option("--reason", help="The reason, such as a ticket; stored with the action."),
        click.option("--follow", is_flag=True, help="Wait, and print the output of the action on standard error."),
        click.option("--wait/--no-wait", default=None, help="Wait for the end; the default on a terminal."),
    ):
        command = decorate(command)
    return command


def _scheduling(name: str, *examples: str) -> Decorator:
    return lambda function: remote(name, examples=examples)(_terms(function))


@_scheduling(
    "schedule",
    "agentctl schedule ping count=3",
    "agentctl schedule --wait --follow deploy application=shop git_ref=v1.2",
    "agentctl schedule clear_caches caches:='[\"page\"]' --yes --reason OPS-17",
    "agentctl schedule database_user_create name=app password=@/root/app.password",
    "agentctl schedule restart --not-before 2h --not-after 4h",
)
@KIND
@ARGS
def schedule_command(session: CliSession, kind: str, args: tuple[str, ...], **terms: Any) -> int:
    """Schedule an action, and wait for its end on a terminal.

    KIND is the name of a kind, or its last part if that is unique. NAME=VALUE is converted to the type of the argument,
    NAME:=JSON is JSON, NAME=@FILE is the content of a file and NAME=@- the standard input. Secrets are not accepted on
    the command line.

    Without --wait the id of the action is printed. Ctrl-C ends the wait and leaves the action running; a second Ctrl-C
    cancels it. Before an action that disrupts, agentctl prints the plan and asks y/N; before one that destroys, it asks
    for the name of the object. The worse one of the kind's danger and the plan's effect decides. Without a terminal
    both need --yes.
    """
    found = kind_named(session.client, kind)
    return _scheduled(session, found, typed(found, args), **terms)


@_scheduling("again", "agentctl again @last", "agentctl again 17 count=5 --wait")
@click.argument("id", shell_complete=complete_id)
@ARGS
def again_command(session: CliSession, id: str, args: tuple[str, ...], **terms: Any) -> int:
    """Schedule another action of the same kind with the same arguments.

    NAME=VALUE replaces an argument. Secrets are not kept with an action: give them again.
    """
    action = session.client.info(action_id(session.client, id))["action"]
    found = kind_named(session.client, action["kind"])
    schema = found["args"].get("properties", {})
    kept = {name: value for name, value in (action["args"] or {}).items() if not schema.get(name, {}).get("writeOnly")}
    return _scheduled(session, found, kept | typed(found, args), **terms)


@remote("plan", examples=("agentctl plan resync_slave_db mode=rewind", "agentctl plan deploy application=shop -o json"))
@KIND
@ARGS
def plan_command(session: CliSession, kind: str, args: tuple[str, ...]) -> int:
    """Print what an action would do now; changes nothing.

    The exit status is 1 if the action would be refused.
    """
    found = kind_named(session.client, kind)
    plan = session.client.post("plan", found["kind"], typed(found, args)).body
    printing.members(plan, session.format, plan["kind"], lambda: printing.plan(plan))
    return exits.FAILED if plan["would"] == "refuse" else exits.DONE


def _scheduled(session: CliSession, kind: Mapping[str, Any], args: Mapping[str, Any], **terms: Any) -> int:
    if not terms["yes"] and not _confirmed(session, kind, args):
        say("nothing was scheduled")
        return exits.USAGE
    headers = {"action_reason": terms["reason"], "not_before": terms["not_before"], "not_after": terms["not_after"]}
    given = {name: value for name, value in headers.items() if value is not None}
    key = terms["key"] or os.urandom(16).hex()
    try:
        scheduled = session.client.schedule(kind["kind"], args, key=key, **given)
    except KeyboardInterrupt:
        say(f"interrupted: the action may be scheduled; repeat the command with --key {key} to schedule it only once")
        return exits.INTERRUPTED
    waits = terms["wait"] if terms["wait"] is not None else sys.stdout.isatty()
    if not (waits or terms["follow"]):
        printing.members({"id": scheduled}, session.format, scheduled, lambda: scheduled)
        return exits.DONE
    return watching.until_final(session, scheduled, follow=terms["follow"], announce=f"scheduled {scheduled}")


def _confirmed(session: CliSession, kind: Mapping[str, Any], args: Mapping[str, Any]) -> bool:
    """Whether to schedule the action; prints the plan and asks if it is dangerous. Raises `Usage`."""
    terminal = sys.stdin.isatty()
    if kind["danger"] != Danger.NONE and not terminal:
        raise Usage(f"{kind['kind']} {kind['danger']}: add --yes to schedule it without a terminal")
    plan = _plan(session, kind, args)
    danger = to_confirm(Danger(kind["danger"]), plan)
    if danger is Danger.NONE:
        return True
    if not terminal:
        raise Usage(f"{kind['kind']} {danger} with these arguments: add --yes to schedule it without a terminal")
    say(f"on {session.client.url}")
    say(printing.plan(plan))
    if plan["would"] == Would.REFUSE:
        say("the action would fail now; --yes schedules it anyway")
        return False
    if danger is Danger.DISRUPTS:
        return ask("schedule it? [y/N] ").lower() in ("y", "yes")
    name = object_name(kind["kind"], args)
    return ask(f"this destroys data; type {name} to schedule it: ") == name


def _plan(session: CliSession, kind: Mapping[str, Any], args: Mapping[str, Any]) -> Mapping[str, Any]:
    """The agent's plan; an unknown plan if the agent cannot make it. Raises `Refused`."""
    try:
        found: Mapping[str, Any] = session.client.post("plan", kind["kind"], args).body
    except Unreachable as error:
        return unknown(f"the plan is not available: {error}").as_json()
    return found
