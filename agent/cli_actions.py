"""agentctl schedule, plan, list, queue, info, wait, cancel, available, datastore: actions of an agent, by its API."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agent.cli_tables import kind_text, plan_text, print_items, print_pairs, print_table, progress
from agent.cli_words import Usage, action_id, kind_named, typed
from agent.client import ACTIONS, Client, ClientError, Refused, TimedOut, Unreachable

DONE, FAILED, USAGE, CANCELLED, NOT_ALLOWED, UNREACHABLE, WAIT_ENDED, NOT_FOUND, CONFLICT = range(9)
"""The exit statuses."""
OF_OUTCOME = {"done": DONE, "cancelled": CANCELLED, "expired": CANCELLED}
OF_STATUS = {400: USAGE, 401: NOT_ALLOWED, 403: NOT_ALLOWED, 404: NOT_FOUND, 409: CONFLICT, 413: USAGE, 429: CONFLICT}
SOCKET = Path("/run/agent/agent.sock")
FILTERS = {
    "state": "NEW, RUNNING, DONE or FAILED; several with commas",
    "kind": "a glob of kinds",
    "user": "an e-mail",
    "since": "a time (RFC 3339)",
    "until": "a time (RFC 3339)",
}
DEFAULT_URL = "http://127.0.0.1:8000"
EXIT_STATUS = (
    "Exit status: 0 done, 1 failed, 2 refused arguments, 3 cancelled or expired, 4 not allowed, 5 the agent does not "
    "answer, 6 the wait ended and the action continues, 7 not found, 8 conflict or queue full."
)


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Let agentctl know of the commands on actions."""
    schedule = _command(commands, "schedule", "schedule an action and wait for its end", _schedule)
    schedule.add_argument("kind", help="a kind, or the last part of its name where that is unique")
    _add_args(schedule)
    schedule.add_argument("--no-wait", action="store_true", help="print the id of the action and do not wait")
    schedule.add_argument("--wait-timeout", type=float, metavar="SECONDS", help="end the wait; the action continues")
    schedule.add_argument("--reason", help="why, such as a ticket; stored with the action")
    schedule.add_argument("--key", help="an Idempotency-Key: the same key schedules the action once")
    schedule.add_argument("--not-before", metavar="TIME", help="hold the action until then (RFC 3339)")
    schedule.add_argument("--not-after", metavar="TIME", help="let the action expire if it has not started by then")
    schedule.add_argument("--yes", action="store_true", help="do not ask before an action that disrupts or destroys")
    plan = _command(commands, "plan", "print what an action would do now; changes nothing", _plan)
    plan.add_argument("kind", help="a kind, or the last part of its name where that is unique")
    _add_args(plan)
    _command(commands, "queue", "print what runs and what waits, in the order of execution", _queue)
    listing = _command(commands, "list", "print actions, newest first", _list)
    for name, about in FILTERS.items():
        listing.add_argument(f"--{name}", help=about)
    listing.add_argument("--limit", type=int, default=20, help="how many; 20 unless given")
    info = _command(commands, "info", "print one action", _info)
    info.add_argument("id", help="a uuid, a unique prefix of one, a number, @last or @running")
    info.add_argument("--history", action="store_true", help="every state that the action was in")
    wait = _command(commands, "wait", "wait until actions are final", _wait)
    wait.add_argument("ids", nargs="+", metavar="id", help="a uuid, a unique prefix of one, a number, @last, @running")
    wait.add_argument("--wait-timeout", type=float, metavar="SECONDS", help="end the wait; the action continues")
    cancel = _command(commands, "cancel", "cancel actions", _cancel)
    cancel.add_argument(
        "ids", nargs="+", metavar="id", help="a uuid, a unique prefix of one, a number, @last, @running"
    )
    available = _command(
        commands, "available", "print the kinds that the agent offers, with their arguments", _available
    )
    available.add_argument("kind", nargs="?", help="only this kind, with its arguments")
    _command(commands, "datastore", "print the state of the datastore of the agent's host", _datastore)


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    about: str,
    run: Callable[[Client, argparse.Namespace], int],
) -> argparse.ArgumentParser:
    """A command that talks to an agent."""
    command = commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.", epilog=EXIT_STATUS)
    command.add_argument("--url", help=f"the agent; else $AGENT_URL, else unix:{SOCKET}, else {DEFAULT_URL}")
    command.add_argument("--token-file", type=Path, help="a file with the token; else $AGENT_TOKEN_FILE")
    command.add_argument("--ca", type=Path, help="certificates that may sign the agent's own")
    command.add_argument("--certificate", type=Path, help="a client certificate, perhaps with its key")
    command.add_argument("--key-file", type=Path, help="the key of the client certificate")
    command.add_argument("-o", dest="output", choices=("table", "json", "name"), default="table")
    command.set_defaults(client=lambda arguments: _carried_out(run, arguments))
    return command


def _add_args(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "args",
        nargs="*",
        metavar="NAME=VALUE",
        help="an argument, read as its kind declares it; NAME:=JSON; NAME=@FILE, where @- is standard input",
    )


def _carried_out(run: Callable[[Client, argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    """Run a command; the exit status."""
    try:
        return run(_client(arguments), arguments)
    except Refused as error:
        details = "; ".join(f"{name}: {' '.join(texts)}" for name, texts in error.details.items())
        return _complain(f"{error}: {details}" if details else str(error), OF_STATUS.get(error.status, FAILED))
    except Unreachable as error:
        return _complain(str(error), UNREACHABLE)
    except TimedOut as error:
        return _complain(str(error), WAIT_ENDED)
    except (ClientError, Usage, OSError) as error:
        return _complain(str(error), USAGE)


def _complain(sentence: str, status: int) -> int:
    print(sentence, file=sys.stderr)
    return status


def _client(arguments: argparse.Namespace) -> Client:
    url = arguments.url or os.environ.get("AGENT_URL") or (f"unix:{SOCKET}" if SOCKET.exists() else DEFAULT_URL)
    file = arguments.token_file or os.environ.get("AGENT_TOKEN_FILE")
    token = Path(file).read_text(encoding="utf-8").strip() if file else None
    tls = {"ca": arguments.ca, "certificate": arguments.certificate, "key": arguments.key_file}
    return Client(url, token, **tls)


# The commands


def _schedule(client: Client, arguments: argparse.Namespace) -> int:
    kind = kind_named(client, arguments.kind)
    args = typed(kind, arguments.args)
    if not arguments.yes and kind["danger"] != "none" and not _confirmed(client, kind, args):
        return _complain("nothing was scheduled", USAGE)
    terms = {"action_reason": arguments.reason, "not_before": arguments.not_before, "not_after": arguments.not_after}
    given = {name: value for name, value in terms.items() if value is not None}
    scheduled = client.schedule(kind["kind"], args, key=arguments.key, **given)
    if arguments.no_wait:
        print(json.dumps({"id": scheduled}) if arguments.output == "json" else scheduled)
        return DONE
    print(f"scheduled {scheduled}", file=sys.stderr)
    try:
        return _awaited(client, scheduled, arguments)
    except KeyboardInterrupt:
        return _complain(f"the action {scheduled} continues; agentctl cancel {scheduled} ends it", WAIT_ENDED)


def _plan(client: Client, arguments: argparse.Namespace) -> int:
    kind = kind_named(client, arguments.kind)
    plan = client.plan(kind["kind"], typed(kind, arguments.args))
    print(json.dumps(plan) if arguments.output == "json" else plan_text(plan))
    return FAILED if plan["would"] == "refuse" else DONE


def _queue(client: Client, arguments: argparse.Namespace) -> int:
    items = client.get(f"{ACTIONS}/list", state="NEW,RUNNING", limit=500).body["items"]
    print_items(items[::-1], arguments.output)
    return DONE


def _list(client: Client, arguments: argparse.Namespace) -> int:
    wanted = {name: getattr(arguments, name) for name in (*FILTERS, "limit")}
    print_items(client.get(f"{ACTIONS}/list", **wanted).body["items"], arguments.output)
    return DONE


def _info(client: Client, arguments: argparse.Namespace) -> int:
    info = client.info(action_id(client, arguments.id))
    if arguments.output == "json":
        print(json.dumps(info))
    elif arguments.output == "name":
        print(info["action"]["id"])
    else:
        print_pairs(info["action"])
        for each in info["history"][::-1] if arguments.history else ():
            print(f"{each['timestamp']}  {each['state']:8}  {json.dumps(each['state_payload'])}")
    return DONE


def _wait(client: Client, arguments: argparse.Namespace) -> int:
    return max(_awaited(client, action_id(client, each), arguments) for each in arguments.ids)


def _cancel(client: Client, arguments: argparse.Namespace) -> int:
    for each in arguments.ids:
        answer = client.cancel(action_id(client, each))
        print(json.dumps(answer) if arguments.output == "json" else f"{answer['id']}  {answer['state']}")
    return DONE


def _available(client: Client, arguments: argparse.Namespace) -> int:
    if arguments.kind:
        kind = kind_named(client, arguments.kind)
        print(json.dumps(kind) if arguments.output == "json" else kind_text(kind))
        return DONE
    kinds = client.get(f"{ACTIONS}/available").body
    rows = [(each["kind"], each["danger"], each["description"].partition(". ")[0]) for each in kinds]
    print_table(("KIND", "DANGER", "DESCRIPTION"), rows, kinds, arguments.output)
    return DONE


def _datastore(client: Client, arguments: argparse.Namespace) -> int:
    facts = client.get("/api/unstable/datastore").body
    if arguments.output == "json":
        print(json.dumps(facts))
    else:
        print_pairs(facts)
    return DONE


# What they share


def _awaited(client: Client, awaited: str, arguments: argparse.Namespace) -> int:
    """Print each change of an action until it is final; the exit status of its outcome."""
    info: Any = None
    shown = ""
    for info in client.changes(awaited, arguments.wait_timeout):
        action = info["action"]
        if action["finished_ts"] is None and (line := progress(action)) != shown:
            shown = line
            print(line, file=sys.stderr)
    action = info["action"]
    if arguments.output == "json":
        print(json.dumps(info))
    elif arguments.output == "name":
        print(action["id"])
    else:
        print(f"{action['id']}  {action['kind']}  {action['outcome']}: {action['message']}")
    return OF_OUTCOME.get(action["outcome"], FAILED)


def _confirmed(client: Client, kind: Mapping[str, Any], args: Mapping[str, Any]) -> bool:
    """Show the plan and ask. Raises `Usage` without a terminal."""
    if not sys.stdin.isatty():
        raise Usage(f"{kind['kind']} {kind['danger']}: add --yes to schedule it without a terminal")
    print(plan_text(client.plan(kind["kind"], args)), file=sys.stderr)
    if kind["danger"] == "disrupts":
        return _ask("schedule it? [y/N] ").lower() in ("y", "yes")
    name = str(args.get("name") or kind["kind"])
    return _ask(f"this destroys data; type {name} to schedule it: ") == name


def _ask(question: str) -> str:
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()
