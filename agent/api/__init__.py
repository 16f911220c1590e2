"""The HTTP side: one blueprint a route, over the same store, kinds and engine."""

from dataclasses import dataclass

from flask import Flask

from agent.api import addresses, auth, errors, hosts, query
from agent.api.action_list import bp as action_list
from agent.api.addresses import ACTIONS, UNSTABLE
from agent.api.async_actions import bp as async_actions
from agent.api.available import bp as available
from agent.api.bounded import Bounded
from agent.api.cancel import bp as cancel
from agent.api.datastore import Facts
from agent.api.datastore import bp as datastore
from agent.api.events import bp as events
from agent.api.finished import bp as finished
from agent.api.hooks import bp as hooks
from agent.api.info import bp as info
from agent.api.long_polling import Waiters
from agent.api.openapi import bp as openapi
from agent.api.plan import SECONDS
from agent.api.plan import bp as plan
from agent.api.queue import bp as queue
from agent.api.schedule import bp as schedule
from agent.config import Settings
from agent.engine.scheduler import Engine
from agent.kinds.registry import Registry
from agent.store import Store
from agent.store.intake import Intake


@dataclass(frozen=True)
class Context:
    """What the routes work on."""

    settings: Settings
    store: Store
    intake: Intake
    registry: Registry
    engine: Engine


def init_app(app: Flask, context: Context) -> None:
    """Give the application its routes, limits and errors."""
    app.extensions["agent"] = context
    engine = context.engine
    app.extensions["agent.waiters"] = Waiters(engine.changes, engine.stopping, context.settings)
    app.extensions["agent.questions"] = Bounded(SECONDS)
    app.extensions["agent.facts"] = Facts(context.settings)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    errors.init_app(app)
    hosts.init_app(app, context.settings.api)
    auth.init_app(app, context.settings)
    # What a request says is looked at once it is known who sends it.
    addresses.init_app(app)
    query.init_app(app)
    for blueprint in (finished, queue, action_list, info, schedule, plan, available, cancel):
        app.register_blueprint(blueprint, url_prefix=ACTIONS)
    app.register_blueprint(datastore, url_prefix=UNSTABLE)
    app.register_blueprint(events, url_prefix=UNSTABLE)
    app.register_blueprint(async_actions)
    app.register_blueprint(hooks)
    app.register_blueprint(openapi)
