"""The agent of one datastore host: takes actions over HTTP, runs them in order, and answers for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from agent.config import Settings


def create_app(settings: Settings) -> Flask:
    """The WSGI application and, behind it, the engine: built here, started by whoever serves it.

    Touches nothing: the database is opened by the first request or by the engine's start.
    """
    # Imported here: gunicorn's master reads the configuration of this package and needs no Flask.
    from flask import Flask

    from agent import api
    from agent.engine.scheduler import Engine
    from agent.kinds.registry import discover
    from agent.store import Store
    from agent.store.intake import Intake

    registry = discover(settings)
    store = Store(settings.agent.db)
    app = Flask("agent", static_folder=None)
    intake = Intake(store, settings.actions.queue_limit, settings.actions.queue_bytes)
    api.init_app(app, api.Context(settings, store, intake, registry, Engine(store, registry, settings)))
    return app
