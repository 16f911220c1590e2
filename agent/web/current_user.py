"""The authenticated user of the page."""

from flask import request

from agent.api import authentication
from agent.api.authentication import CALLER
from agent.api.context import context
from agent.auth.identities import Identity


def user() -> Identity | None:
    """The user of the page; None if unknown or if authentication is off."""
    found: Identity | None = request.environ.get(CALLER)
    return found


def is_authenticated() -> bool:
    """Whether the agent authenticates its callers."""
    return authentication.authenticator() is not None


def signs_in() -> bool:
    """Whether users sign in with a token instead of a client certificate."""
    return is_authenticated() and not context().settings.api.certified
