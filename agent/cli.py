"""agentctl: look after an agent from the command line."""

import argparse
import os
import sys
from collections.abc import Sequence

from agent import config, config_file
from agent.errors import ConfigError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0 where it went well."""
    arguments = _parser().parse_args(argv)
    status: int = arguments.run(arguments)
    return status


def config_check(arguments: argparse.Namespace) -> int:
    """Say what is wrong with a configuration without starting anything."""
    environ = dict(os.environ) | ({"AGENT_CONFIG": arguments.file} if arguments.file else {})
    try:
        settings = config.load(environ)
        _check_kinds(settings)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{config.origin(environ)}: no mistake found")
    return 0


def config_show(arguments: argparse.Namespace) -> int:
    """Print a configuration file with every option, its default and what it means."""
    print(config_file.document(), end="")
    return 0


def kinds_page(arguments: argparse.Namespace) -> int:
    """Print the page that documents every kind."""
    from agent import kinds_page

    print(kinds_page.document(), end="")
    return 0


def _check_kinds(settings: config.Settings) -> None:
    # Imported here: the kinds bring more with them than the other commands need.
    from agent.kinds.registry import discover

    discover(settings)


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
    return parser


if __name__ == "__main__":
    sys.exit(main())
