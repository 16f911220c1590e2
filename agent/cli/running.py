"""Runs one command of agentctl; prints each failure as one line on standard error."""

import sys
from collections.abc import Sequence

import click

from agent.cli import exits
from agent.cli.commands import agentctl
from agent.cli.exits import Missing, Usage
from agent.client import ClientError
from agent.errors import ConfigError


def run(argv: Sequence[str]) -> int:
    """The exit status; see `agent.cli.exits`."""
    try:
        found = agentctl.main(list(argv), prog_name="agentctl", standalone_mode=False)
        return found if isinstance(found, int) else exits.DONE
    except click.exceptions.Exit as error:
        return error.exit_code
    except SystemExit as error:  # a completion
        return int(error.code or 0)
    except click.Abort:
        return exits.INTERRUPTED
    except click.ClickException as error:
        error.show()
        return exits.USAGE
    except (ClientError, Usage, Missing, ConfigError, OSError) as error:
        if "--debug" in argv:
            raise
        sentences = error.mistakes if isinstance(error, ConfigError) else [exits.sentence(error)]
        return complain(sentences, exits.of(error))


def complain(sentences: Sequence[str], status: int) -> int:
    """Print each sentence of a failure as one line; returns the status."""
    for sentence in sentences:
        print(one_line(sentence), file=sys.stderr)
    return status


def one_line(text: str) -> str:
    """The text with terminal controls escaped; text from agents and files is not trusted."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
