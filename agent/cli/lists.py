"""agentctl queue, finished, list: print lists of actions."""

import sys
from collections.abc import Callable
from typing import Any

import click

from agent.cli import exits, printing
from agent.cli.options import remote
from agent.cli.selection import OUTCOMES, STATES, Selection, ended, in_any_state
from agent.cli.session import CliSession, say
from agent.cli.types import AGO
from agent.client import LONGEST_WAIT


@remote("queue", examples=("agentctl queue", "agentctl queue -o name", "agentctl -c db-1 queue --watch"))
@click.option("-w", "--watch", is_flag=True, help="Print the list again after each change, until Ctrl-C.")
def queue_command(session: CliSession, watch: bool) -> int:
    """Print the running action and the waiting ones, in the order of execution."""
    wanted = Selection(states="NEW,RUNNING", limit=500, oldest_first=True)
    return _shown(session, watch, wanted, "no action runs or waits; agentctl finished shows the ended ones")


def _kinds(ctx: click.Context, parameter: click.Parameter, begin: str) -> Any:
    from agent.cli.ids import complete_kind

    return complete_kind(ctx, parameter, begin)


def _words(*known: str) -> Callable[..., list[str]]:
    """A completion for the last of several words separated by commas."""

    def complete(ctx: click.Context, parameter: click.Parameter, begin: str) -> list[str]:
        before = begin[: begin.rfind(",") + 1]
        return [f"{before}{each}" for each in known if f"{before}{each}".startswith(begin)]

    return complete


def _filters(command: Any) -> Any:
    for decorate in (
        click.option("-w", "--watch", is_flag=True, help="Print the list again after each change, until Ctrl-C."),
        click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True, help="How many."),
        click.option("--until", type=AGO, help="Scheduled before a time, or an age such as 1h."),
        click.option("--since", type=AGO, help="Scheduled at or after a time, or an age such as 24h."),
        click.option("--resource", help="On this resource: a type such as Database, or a type and name: Database/app."),
        click.option("--user", help="Of this user."),
        click.option(
            "--kind",
            shell_complete=_kinds,
            help="Of this kind, the last part of a kind's name, or a glob such as 'database_*'.",
        ),
    ):
        command = decorate(command)
    return command


@remote("finished", examples=("agentctl finished --since 1h --state failed", "agentctl finished --kind deploy -o tsv"))
@click.option(
    "--state", shell_complete=_words(*OUTCOMES), help=f"Their outcome: {', '.join(OUTCOMES)}; several with commas."
)
@_filters
def finished_command(session: CliSession, state: str | None, watch: bool, **filters: Any) -> int:
    """Print actions that have ended, the newest first."""
    return _shown(session, watch, ended(state, **filters))


@remote("list", examples=("agentctl list", "agentctl list --user you@example.com --since 2026-11-01T00:00:00Z"))
@click.option(
    "--state",
    shell_complete=_words(*STATES, *OUTCOMES),
    help=f"NEW, RUNNING, DONE, FAILED (any failure), or an outcome: {', '.join(OUTCOMES)}; several with commas.",
)
@_filters
def list_command(session: CliSession, state: str | None, watch: bool, **filters: Any) -> int:
    """Print actions in every state, the newest first."""
    return _shown(session, watch, in_any_state(state, **filters))


def _shown(session: CliSession, watch: bool, wanted: Selection, nothing: str = "no action matches") -> int:
    """Print the list, once or after each change; print `nothing` if it is empty."""
    found = wanted.read(session.client)
    assert found is not None  # None is returned only for an unchanged tag
    if not found.actions and session.format == "table":
        say(nothing)
    printing.actions(found.actions, session.format)
    try:
        while watch:
            sys.stdout.flush()  # for the reader of a pipe: the next change may take long
            if changed := wanted.read(session.client, found.tag, LONGEST_WAIT):
                found = changed
                print()
                printing.actions(found.actions, session.format)
    except KeyboardInterrupt:
        pass
    return exits.DONE
