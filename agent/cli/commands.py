"""The commands of agentctl; a module is imported when one of its commands is called."""

import importlib
from typing import Any

import click

from agent.cli import exits
from agent.cli.options import IDS, META, common
from agent.cli.session import PLACES

SECTIONS = {
    "Actions": {
        "schedule": "schedule",
        "plan": "schedule",
        "again": "schedule",
        "queue": "lists",
        "finished": "lists",
        "list": "lists",
        "info": "action",
        "output": "action",
        "wait": "action",
        "cancel": "action",
        "approve": "action",
    },
    "The agent": {
        "status": "status",
        "kinds": "kinds",
        "can": "kinds",
        "whoami": "kinds",
        "datastore": "status",
        "events": "events",
    },
    "This host": {
        "setup": "setup",
        "config": "configuration",
        "doctor": "doctor",
        "support-bundle": "support_bundle",
        "db": "database",
        "token": "tokens",
        "callbacks": "callbacks",
        "polkit": "configuration",
    },
    "agentctl": {
        "context": "contexts",
        "completion": "completion",
        "version": "version",
    },
}
"""The module of each command below `agent.cli`."""
FIRST = [
    ("agentctl kinds", "print the kinds of the agent; agentctl kinds KIND prints the arguments"),
    ("agentctl plan KIND NAME=VALUE", "print what an action would do now; changes nothing"),
    ("agentctl schedule KIND NAME=VALUE", "schedule an action and wait for its end"),
    ("agentctl queue", "print the running and waiting actions, and why they wait"),
    ("agentctl info @last", "print the newest action: its requester and its outcome"),
    ("agentctl output @running --follow", "print the output of the running action"),
    ("agentctl cancel @running", "cancel the running action"),
]
MODULES = {name: module for section in SECTIONS.values() for name, module in section.items()}


class Agentctl(click.Group):
    """Imports a command from its module when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in MODULES:
            return None
        module = importlib.import_module(f"agent.cli.{MODULES[cmd_name]}")
        found: click.Command = getattr(module, f"{cmd_name.replace('-', '_')}_command")
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in MODULES and not args[0].startswith("-"):
            from difflib import get_close_matches

            close = get_close_matches(args[0], MODULES, n=1)
            hint = f"; the closest is {close[0]}" if close else ""
            ctx.fail(f"unknown command {args[0]}{hint}")
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[f"{META}.argv"] = list(args)
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, names in SECTIONS.items():
            with formatter.section(title):
                found = [(name, self.get_command(ctx, name)) for name in names]
                formatter.write_dl([(name, each.get_short_help_str(90)) for name, each in found if each])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("To begin"):
            formatter.write_dl(FIRST)
        with formatter.section("Address of the agent"):
            formatter.write_text(f"The first of these that is given: {PLACES}.")
        with formatter.section("Ids"):
            formatter.write_text(f"{IDS[0].upper()}{IDS[1:]}.")
        with formatter.section("Exit status"):
            formatter.write_dl([(str(status), meaning) for status, meaning in exits.MEANINGS.items()])


@click.group(
    cls=Agentctl, params=common(), no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]}
)
def agentctl(**options: Any) -> None:
    """Operate an agent: schedule actions, follow them, and maintain its host.

    The result goes to standard output, everything else to standard error.
    """
