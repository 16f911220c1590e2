"""What a route handler works on."""

from typing import TYPE_CHECKING

from flask import current_app

if TYPE_CHECKING:
    from agent.api import Context
    from agent.api.bounded import Bounded
    from agent.api.long_polling import Waiters


def context() -> "Context":
    found: Context = current_app.extensions["agent"]
    return found


def waiters() -> "Waiters":
    found: Waiters = current_app.extensions["agent.waiters"]
    return found


def questions() -> "Bounded":
    found: Bounded = current_app.extensions["agent.questions"]
    return found
