"""`/ui/actions/<id>`: one action with its history and output; cancel and approve."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any
from urllib.parse import urlsplit
from zlib import crc32

from flask import Blueprint, Response

from agent.api.approve import approve_action
from agent.api.cancel import cancel_action
from agent.api.context import context, held_reason
from agent.errors import StoreUnavailable
from agent.models import Action, State, Transition
from agent.store import action_list, actions, outbox, transitions
from agent.store.action_list import Filter
from agent.web import access, action_output, current_user, progress, rows, views
from agent.web.routes import page

bp = Blueprint("action", __name__)

TRANSITIONS, RUNS = 30, 8
"""Maximum rows of the history and of earlier runs."""
TAIL = 16 * 1024
"""Bytes shown from the end of the output."""


@page(bp, "/actions/<id:action_id>", "One action, its history, its output and earlier runs.")
def action(action_id: str) -> Response:
    store, output, holds = context().store, context().settings.agent.output, context().engine.holds
    found, _ = actions.by_id(store, action_id)

    def tag() -> str:
        status = actions.status(store, found.id)
        wanted = transitions.cancel_requested(store, found.seq)
        held = crc32((holds.reason(status) or "").encode())
        waits = "".join(str(int(each)) for each in outbox.undelivered(store, found.seq).values())
        approved = int(status.approved_by is not None)
        return f"{status.version}.{held:08x}.{int(wanted)}{approved}.{waits}.{action_output.end(output, found.id)}"

    return views.live(found.id, tag, "action.html", lambda: _values(found.id))


@page(bp, "/actions/<id:action_id>/output", "The whole output of an action's commands.")
def output(action_id: str) -> Response:
    found, _ = actions.by_id(context().store, action_id)
    try:
        pieces = action_output.whole(context().settings.agent.output, found.id)
        return Response(pieces, content_type="text/plain; charset=utf-8")
    except OSError as error:
        raise StoreUnavailable("the output of the action cannot be read now", layers=[str(error)]) from error


@page(bp, "/actions/<id:action_id>/cancel", "Cancel an action.", methods=("POST",))
def cancel(action_id: str) -> Response:
    return access.redirect(f"/ui/actions/{cancel_action(action_id).id}")


@page(bp, "/actions/<id:action_id>/approve", "Approve an action.", methods=("POST",))
def approve(action_id: str) -> Response:
    return access.redirect(f"/ui/actions/{approve_action(action_id).id}")


@dataclass(frozen=True)
class Line:
    """A line of the history, and the seconds between it and the line before."""

    transition: Transition
    seconds: float | None


def _values(action_id: str) -> dict[str, Any]:
    agent = context()
    found, version = actions.by_id(agent.store, action_id)
    [item] = action_list.page(agent.store, Filter(before=found.seq + 1, after=found.seq - 1), 1)
    held = held_reason(found)
    lines = list(_lines(found, version))
    identity, kind = current_user.user(), agent.registry.offered.get(found.kind)
    [row] = rows.rows([item])
    return {
        "action": found,
        "row": row,
        "held": held,
        "progress": progress.of(item.progress) if found.state is State.RUNNING else None,
        "usual": rows.usual(found.kind, found.seq),
        "cancel_requested": not found.state.final and transitions.cancel_requested(agent.store, found.seq),
        "args": found.args if isinstance(found.args, dict) else {"(all)": found.args},
        "lines": lines[:TRANSITIONS],
        "more_lines": version > TRANSITIONS,
        "callbacks": {_origin(url): waits for url, waits in outbox.undelivered(agent.store, found.seq).items()},
        "earlier": rows.earlier(found, (item.resource_type, item.resource_name), RUNS),
        "tail": action_output.tail(agent.settings.agent.output, found.id, TAIL),
        "may_again": kind is not None and (identity is None or identity.may(kind.name)),
    }


def _lines(found: Action, version: int) -> Iterator[Line]:
    """The newest lines, newest first; one more than is shown, for the duration before the last one."""
    newest = list(islice(actions.history(context().store, found, version), TRANSITIONS + 1))
    for each, before in zip(newest, [*newest[1:], None], strict=True):
        yield Line(each, None if before is None else max(0.0, (each.timestamp - before.timestamp) / 1e6))


def _origin(url: str) -> str:
    """Scheme, host and port of a receiver; the path and the user part of a URL may contain a token."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
