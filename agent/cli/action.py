"""agentctl info, output, wait, cancel, approve: actions by their ids."""

import json
import sys
from collections import deque
from collections.abc import Iterator
from typing import Any

import click

from agent.cli import exits, printing, watching
from agent.cli.exits import Usage
from agent.cli.ids import action_id, complete_id
from agent.cli.options import remote
from agent.cli.running import one_line
from agent.cli.session import CliSession, say
from agent.client import Refused

ID = click.argument("id", shell_complete=complete_id)
IDS = click.argument("ids", nargs=-1, required=True, metavar="ID...", shell_complete=complete_id)


@remote("info", examples=("agentctl info @last", "agentctl info 17 --history", "agentctl info @running --follow"))
@ID
@click.option("--history", is_flag=True, help="Print every state of the action.")
@click.option("--follow", is_flag=True, help="Print each change until the action ends.")
def info_command(session: CliSession, id: str, history: bool, follow: bool) -> int:
    """Print one action: its requester, arguments, state and outcome."""
    named = action_id(session.client, id)
    if follow:
        return watching.until_final(session, named)
    info = session.client.info(named)
    if session.format == "tsv":
        printing.members(printing.action(info["action"]), "tsv", info["action"]["id"])
    else:
        printing.members(info, session.format, info["action"]["id"], lambda: _text(info, history))
    return exits.DONE


def _text(info: Any, history: bool) -> str:
    lines = [printing.pairs(printing.action(info["action"]))]
    for each in info["history"][::-1] if history else ():
        payload = "" if each["state_payload"] is None else json.dumps(each["state_payload"])
        lines.append(f"{each['timestamp']}  {each['state']:8}  {payload}".rstrip())
    return "\n".join(lines)


@remote("output", examples=("agentctl output @running --follow", "agentctl output 17 --tail 20"))
@ID
@click.option("--follow", is_flag=True, help="Continue until the action ends.")
@click.option("--tail", type=click.IntRange(0), metavar="N", help="Only the last N lines written so far.")
def output_command(session: CliSession, id: str, follow: bool, tail: int | None) -> int:
    """Print the output of an action's commands.

    The exit status is 0, however the action ends.
    """
    if session.format != "table":
        raise Usage(f"the output is printed unchanged: -o {session.format} does not apply")
    named, out = action_id(session.client, id), sys.stdout.buffer
    offset = copied = 0
    if tail is not None:
        first = b"".join(session.client.output(named, follow=False))
        offset = len(first)
        out.write(b"".join(_last(first, tail)))
        out.flush()
    if follow or tail is None:
        copied = watching.copy(session.client.output(named, offset, follow=follow), out.write, out.flush)
    if not offset + copied:
        say("the commands of the action have printed nothing")
    if session.client.truncated:
        say("the output was longer than actions.output_limit: a part was dropped")
    return exits.DONE


def _last(text: bytes, count: int) -> Iterator[bytes]:
    yield from deque(text.splitlines(keepends=True), maxlen=count)


@remote("wait", examples=("agentctl wait @running", "agentctl wait 17 18 --timeout 10m || echo not done"))
@IDS
def wait_command(session: CliSession, ids: tuple[str, ...]) -> int:
    """Wait until actions have ended.

    The exit status is the highest exit status of the actions. If --timeout ends the wait, the exit status is 6 and
    the action continues.
    """
    status = exits.DONE
    for each in ids:
        ended = watching.until_final(session, action_id(session.client, each))
        status = max(status, ended)
        if ended == exits.WAIT_ENDED:
            break
    return status


@remote("cancel", examples=("agentctl cancel @running", "agentctl cancel 17 18"))
@IDS
def cancel_command(session: CliSession, ids: tuple[str, ...]) -> int:
    """Cancel actions: a waiting action ends at once, a running action is requested to stop.

    `agentctl wait` shows when it has stopped.
    """
    return _for_each(session, ids, "cancel")


@remote("approve", examples=("agentctl approve 17",))
@IDS
def approve_command(session: CliSession, ids: tuple[str, ...]) -> int:
    """Approve actions that are held for the approval of another identity.

    Needs the permission approve.
    """
    return _for_each(session, ids, "approve")


def _for_each(session: CliSession, ids: tuple[str, ...], verb: str) -> int:
    """Call the route `verb` for each action; returns the highest exit status."""
    status = exits.DONE
    for each in ids:
        try:
            named = action_id(session.client, each)
            answer = session.client.post(verb, named).body
        except Refused as error:
            print(f"{each}: {one_line(exits.sentence(error))}", file=sys.stderr)
            status = max(status, exits.of(error))
        else:
            state = "cancelled" if (verb, answer["state"]) == ("cancel", "FAILED") else answer["state"]
            text = f"{answer['id']}  {state}"
            printing.members(answer, session.format, answer["id"], lambda text=text: text)  # type: ignore[misc]
            if verb == "cancel" and answer["state"] == "RUNNING":
                say(f"cancel requested; agentctl wait {answer['id'][:8]} shows the end")
    return status
