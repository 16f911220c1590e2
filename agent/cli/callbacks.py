"""agentctl callbacks: list, test and resume the receivers of this host's agent, and replay events."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from agent import config
from agent.auth.secret_file import SecretUnreadable
from agent.callbacks import message
from agent.callbacks.post import NotAccepted, Post
from agent.cli import exits
from agent.cli.exits import Missing, Usage
from agent.cli.host import as_owner
from agent.cli.options import Decorator, local
from agent.cli.types import AGO
from agent.config import Callbacks, Settings
from agent.store import Store, outbox
from agent.store.outbox import ReceiverState
from agent.util import drop_privileges


@click.group("callbacks")
def callbacks_command() -> None:
    """The receivers of callbacks of this host's agent.

    NUMBER is the position of a receiver in callbacks.urls, from 0. Paths of URLs may be secret and are not printed.
    """


NUMBER = click.argument("number", type=click.IntRange(0))


def _of_callbacks(name: str, *examples: str) -> Decorator:
    """A command on the configured receivers."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        command = local(name, examples=examples)(as_owner(function))
        callbacks_command.add_command(command)
        return command

    return decorate


@_of_callbacks("list", "agentctl callbacks list")
def list_command() -> None:
    """Print each receiver, its number of pending callbacks, and its state."""
    settings, options = _configured()
    with _store(settings) as store:
        found = {each.url: each for each in outbox.receivers(store)}
    print(f"{'NUMBER':6} {'PENDING':7} {'RECEIVER':40} STATE")
    for number, url in enumerate(options.urls):
        receiver = found.get(url)
        print(f"{number:<6} {receiver.pending if receiver else 0:<7} {_origin(url):40} {_state(receiver)}")


@_of_callbacks("test", "agentctl callbacks test", "agentctl callbacks test 0")
@click.argument("number", type=click.IntRange(0), required=False)
def test_command(number: int | None) -> int:
    """Send a signed test message to one receiver, or to each, and print the answer.

    The message has the form of an AsyncAction with id 0, and X-Agent-Event: callback.test. The exit status is 1 if a
    receiver does not accept it.
    """
    settings, options = _configured()
    drop_privileges.become(settings.agent.db)
    urls = dict(enumerate(options.urls)) if number is None else {number: _url(options, number)}
    refused = [_tried(settings, options, each, url) for each, url in urls.items()]
    return exits.FAILED if any(refused) else exits.DONE


@_of_callbacks("replay", "agentctl callbacks replay 0 --since 2h")
@NUMBER
@click.option("--since", type=AGO, required=True, help="A time such as 2026-11-26T10:00:00Z, or an age such as 2h.")
def replay_command(number: int, since: str) -> None:
    """Send the events since a time to one receiver again.

    Sends only subscribed events of actions that are still stored, each with the same message id as before. The running
    agent sends them; agentctl does not wait for that.
    """
    moment = round(datetime.fromisoformat(since).timestamp() * 1_000_000)
    with _receiver(number) as (store, receiver, _):
        if receiver.ended:
            raise Usage(f"the receiver has ended its subscription (410): first run agentctl callbacks resume {number}")
        count = outbox.replay(store, receiver.id, moment)
    print(f"{count} {'event is' if count == 1 else 'events are'} sent again")


@_of_callbacks("resume", "agentctl callbacks resume 0")
@NUMBER
def resume_command(number: int) -> None:
    """Resume a subscription that the receiver ended with 410.

    Events since its end are not sent: see agentctl callbacks replay.
    """
    with _receiver(number) as (store, receiver, options):
        if not receiver.ended:
            raise Usage("this subscription has not ended")
        outbox.resume(store, receiver.id, options.names)


def _configured() -> tuple[Settings, Callbacks]:
    settings = config.load()
    if settings.callbacks is None:
        raise Missing("the configuration has no table [callbacks]")
    return settings, settings.callbacks


def _url(options: Callbacks, number: int) -> str:
    if number >= len(options.urls):
        raise Missing(f"callbacks.urls has no receiver {number}: it has {len(options.urls)}, counted from 0")
    return options.urls[number]


@contextmanager
def _store(settings: Settings) -> Iterator[Store]:
    """The store of the agent, opened as the agent's user. Raises `Missing` if there is no database."""
    db: Path = settings.agent.db
    drop_privileges.become(db)
    if not db.exists():
        raise Missing(f"there is no database at {db}: start the agent")
    with closing(Store(db)) as store:
        yield store


@contextmanager
def _receiver(number: int) -> Iterator[tuple[Store, ReceiverState, Callbacks]]:
    settings, options = _configured()
    url = _url(options, number)
    with _store(settings) as store:
        found = next((each for each in outbox.receivers(store) if each.url == url), None)
        if found is None:
            raise Missing(f"the agent does not know receiver {number} yet: reload it")
        yield store, found, options


def _tried(settings: Settings, options: Callbacks, number: int, url: str) -> str:
    """Send a test and print the result; returns the reason if the receiver refused it, else an empty text."""
    began, reason = time.monotonic(), ""
    try:
        Post(url, options.timeout).send(*message.test(options, settings.agent.node))
    except (NotAccepted, SecretUnreadable) as error:
        reason = str(error)
    result = f"not accepted: {reason}" if reason else f"accepted after {(time.monotonic() - began) * 1000:.0f} ms"
    print(f"{number:<6} {_origin(url):40} {result}")
    return reason


def _state(receiver: ReceiverState | None) -> str:
    if receiver is None:
        return "unknown to the agent: reload it"
    if receiver.ended:
        return "ended: the receiver answered 410"
    return f"retrying: {receiver.failure}" if receiver.failure else "ready"


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
