"""The authenticated user of the page."""

from flask import request

from agent.api import authentication
from agent.api.authentication import CALLER
from agent.api.context import context
from agent.auth.identities import Identity


def user() -> Identity | None:
    """Who uses the page; None where that is not known, or where the agent does not ask who calls."""
    found: Identity | None = request.environ.get(CALLER)
    return found


def asks_who() -> bool:
    """Whether the agent asks who calls."""
    return authentication.authenticator() is not None


def signs_in() -> bool:
    """Whether people sign in with a token: not where certificates say who they are."""
    return asks_who() and not context().settings.api.certified
