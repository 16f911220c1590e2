"""The objects of the present application that route handlers use."""

from dataclasses import dataclass

from flask import current_app

from agent.api.time_limit import BoundedQueries
from agent.api.waiters import Waiters
from agent.config import Settings
from agent.engine.engine import Engine
from agent.kinds.base.registry import Registry
from agent.models import Action
from agent.store import Store
from agent.store.async_actions import AsyncAction
from agent.store.enqueue import Enqueuer


@dataclass(frozen=True)
class Context:
    """The objects that route handlers use."""

    settings: Settings
    store: Store
    enqueuer: Enqueuer
    registry: Registry
    engine: Engine


def context() -> Context:
    found: Context = current_app.extensions["agent"]
    return found


def waiters() -> Waiters:
    found: Waiters = current_app.extensions["agent.waiters"]
    return found


def questions() -> BoundedQueries:
    found: BoundedQueries = current_app.extensions["agent.questions"]
    return found


def held_reason(action: Action | AsyncAction) -> str | None:
    """Why an action is held; None if it is not."""
    return context().engine.holds.reason(action)
