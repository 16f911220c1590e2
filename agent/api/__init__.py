"""The HTTP API: one blueprint for each route."""

from flask import Flask

from agent.api import (
    authentication,
    correlation,
    errors,
    hosts,
    node_protocol,
    query,
    routing,
    traffic,
    typed_async_actions,
)
from agent.api.action_list import bp as action_list
from agent.api.approve import bp as approve
from agent.api.async_action_form import SeedForm
from agent.api.async_actions import bp as async_actions
from agent.api.available import bp as available
from agent.api.cancel import bp as cancel
from agent.api.context import Context
from agent.api.datastore import Facts, bp as datastore
from agent.api.events import bp as events
from agent.api.finished import bp as finished
from agent.api.health import bp as health
from agent.api.hooks import bp as hooks
from agent.api.info import bp as info
from agent.api.metrics import bp as metrics
from agent.api.node_info import bp as node_info
from agent.api.node_protocol import SEED
from agent.api.node_protocol_05 import Words05
from agent.api.openapi.build import bp as openapi
from agent.api.output import bp as output
from agent.api.plan import SECONDS, bp as plan
from agent.api.queue import bp as queue
from agent.api.routing import ACTIONS, UNSTABLE
from agent.api.schedule import bp as schedule
from agent.api.time_limit import BoundedQueries
from agent.api.typed_stacks import bp as typed_stacks
from agent.api.waiters import Waiters
from agent.api.whoami import bp as whoami
from agent.engine.health import Health

GENERATIONS = {"seed": SEED, "0.5": Words05()}
"""The generations of the node protocol by `api.node_protocol`."""


def init_app(app: Flask, context: Context) -> None:
    """Give the application its routes, limits and errors."""
    app.extensions["agent"] = context
    engine = context.engine
    app.extensions["agent.waiters"] = Waiters(
        engine.changes, engine.stopping, context.settings.actions.execute_interval
    )
    app.extensions["agent.questions"] = BoundedQueries(SECONDS)
    app.extensions["agent.health"] = Health(context.store, engine, context.settings.actions.execute_interval)
    app.extensions["agent.facts"] = Facts(context.settings, engine.changes)
    typed = context.settings.api.async_actions == "typed"
    app.extensions["agent.async_action_form"] = typed_async_actions.TypedForm() if typed else SeedForm()
    app.extensions["agent.words"] = GENERATIONS[context.settings.api.node_protocol]
    app.json.sort_keys = False  # type: ignore[attr-defined]
    correlation.init_app(app)
    traffic.init_app(app)
    errors.init_app(app)
    hosts.init_app(app, context.settings.api)
    authentication.init_app(app, context.settings)
    # The content of a request is checked only after its caller is authenticated.
    routing.init_app(app)
    query.init_app(app)
    node_protocol.init_app(app)
    for blueprint in (finished, queue, action_list, info, schedule, plan, available, cancel, approve, output):
        app.register_blueprint(blueprint, url_prefix=ACTIONS)
    app.register_blueprint(datastore, url_prefix=UNSTABLE)
    app.register_blueprint(events, url_prefix=UNSTABLE)
    app.register_blueprint(whoami, url_prefix=UNSTABLE)
    app.register_blueprint(node_info)
    app.register_blueprint(async_actions)
    if typed:
        app.register_blueprint(typed_stacks)
        app.before_request(typed_async_actions.refuse_parameters_in_a_body)
    app.register_blueprint(hooks)
    app.register_blueprint(health)
    app.register_blueprint(metrics)
    app.register_blueprint(openapi)
