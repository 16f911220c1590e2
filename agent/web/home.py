"""`GET /ui/`: the running, the waiting and the last ended actions."""

from typing import Any

from flask import Blueprint, Response

from agent.api.context import context
from agent.models import State
from agent.store import action_list
from agent.store.action_list import Filter
from agent.web import action_output, progress, rows, views
from agent.web.routes import page

bp = Blueprint("home", __name__)

QUEUED, ENDED = 50, 12
"""Rows of the queue and of the finished actions."""
TAIL = 4096
"""Bytes shown from the end of the running action's output."""


@page(bp, "/", "The running, the waiting and the last ended actions.")
def home() -> Response:
    store, holds, output = context().store, context().engine.holds, context().settings.agent.output

    def tag() -> str:
        running = action_list.running(store)
        printed = action_output.end(output, running) if running else 0
        return f"{action_list.tag(store)}.{holds.tag()}.{printed}"

    return views.live("home", tag, "home.html", _values)


def _values() -> dict[str, Any]:
    pending, count = rows.pending(QUEUED)
    running = next((row for row in pending if row.item.state is State.RUNNING), None)
    return {
        "running": running,
        "progress": progress.of(running.item.progress) if running else None,
        "usual": rows.usual(running.item.kind, running.item.seq) if running else None,
        "tail": action_output.tail(context().settings.agent.output, running.item.id, TAIL) if running else None,
        "waiting": [row for row in pending if row.item.state is State.NEW],
        "count": count - bool(running),
        "ended": rows.finished(Filter(states=(State.DONE, State.FAILED)), ENDED),
    }
