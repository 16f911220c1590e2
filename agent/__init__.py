"""The agent of one datastore host: accepts actions over HTTP, runs them in order and reports their results."""

from __future__ import annotations

TYPE_CHECKING = False  # not imported from `typing`: every job would load that module
if TYPE_CHECKING:
    from flask import Flask

    from agent.config import Settings


def create_app(settings: Settings) -> Flask:
    """Build the WSGI application and its engine, which the server starts.

    The database stays closed until the first request or the start of the engine.
    """
    # Imported here: gunicorn's master reads the configuration of this package and needs no Flask.
    from agent import api, web
    from agent.api.application import AgentApp
    from agent.api.context import Context
    from agent.engine.engine import Engine
    from agent.kinds.base.registry import discover
    from agent.store import Store
    from agent.store.enqueue import Enqueuer

    registry = discover(settings)
    store = Store(settings.agent.db)
    app = AgentApp("agent", static_folder=None)
    enqueuer = Enqueuer(store, settings.actions.queue_limit, settings.actions.queue_bytes)
    api.init_app(app, Context(settings, store, enqueuer, registry, Engine(store, registry, settings)))
    if settings.web.enabled:
        web.init_app(app)
    return app
