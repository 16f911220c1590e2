"""agentctl: look after an agent from the command line."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from agent import cli_actions, cli_events, cli_tokens, config, config_file, log, owner, polkit, trust, trusted
from agent.errors import ConfigError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0 where it went well."""
    arguments = _parser().parse_args(argv)
    if "client" in arguments:  # a command to a running agent: nothing of this host is read
        return int(arguments.client(arguments))
    try:
        _leave_root()
        arguments.run(arguments)
    except (ConfigError, OSError) as error:
        print(log.one_line(str(error)), file=sys.stderr)
        return 1
    return 0


def _leave_root() -> None:
    """As root, go on as the owner of the configuration, who chooses the files that commands work on.

    It may be agent.toml of a working directory that is another user's. Raises `ConfigError` where others may write it.
    """
    if os.geteuid() == 0 and (file := config.file()) is not None:
        owner.become(file)
        trusted.check_file(file)


def config_check(arguments: argparse.Namespace) -> None:
    """Say what is wrong with a configuration without starting anything."""
    # Imported here: the kinds bring more with them than the other commands need.
    from agent.kinds.registry import discover

    environ = _environ(arguments.file)
    if arguments.file:
        owner.become(Path(arguments.file))
    settings = config.load(environ)
    owner.become(settings.api.tokens or settings.agent.db)
    discover(settings)
    trust.check(settings, config.file(environ))
    print(f"{config.origin(environ)}: no mistake found")


def config_show(arguments: argparse.Namespace) -> None:
    """Print a configuration file with every option, its default and what it means."""
    print(config_file.document(), end="")


def kinds_page(arguments: argparse.Namespace) -> None:
    """Print the page that documents every kind."""
    from agent import kinds_page

    print(kinds_page.document(), end="")


def polkit_rule(arguments: argparse.Namespace) -> None:
    """Print the polkit rule with which the agent's user may manage the configured units."""
    environ = _environ(arguments.file)
    settings = config.load(environ)
    if not config.is_read(environ):
        print("no configuration was found: this rule allows the agent its own jobs only", file=sys.stderr)
    print(polkit.rule(settings, arguments.user, config.origin(environ)), end="")


def _environ(file: str | None) -> dict[str, str]:
    """Ours, with this file as the configuration if one was named."""
    return dict(os.environ) | ({"AGENT_CONFIG": file} if file else {})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="agentctl", description=__doc__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    configuration = commands.add_parser("config", help="the configuration").add_subparsers(
        metavar="COMMAND", required=True
    )
    check = configuration.add_parser("check", help="say what is wrong with it, start nothing")
    check.add_argument("file", nargs="?", help="the file; the one that the agent would read unless given")
    check.set_defaults(run=config_check)
    show = configuration.add_parser("show", help="print a file with every option and its default")
    show.set_defaults(run=config_show)
    page = commands.add_parser("kinds", help="print the page that documents every kind")
    page.set_defaults(run=kinds_page)
    rule = commands.add_parser("polkit", help="print the polkit rule that the configuration needs")
    rule.add_argument("file", nargs="?", help="the configuration; the one that the agent would read unless given")
    rule.add_argument("--user", default="agent", help="who the agent runs as; agent unless given")
    rule.set_defaults(run=polkit_rule)
    cli_actions.add_commands(commands)
    cli_tokens.add_commands(commands)
    cli_events.add_commands(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
