"""Body and headers of one callback: the AsyncAction at the time of the event, and the signatures."""

import json
from dataclasses import replace
from urllib.parse import quote
from uuid import uuid4

from agent import clock
from agent.auth import hmac_signature, secret_file, standard_webhooks
from agent.auth.secret_file import SecretUnreadable
from agent.config import Callbacks
from agent.models import Json, Requester, State
from agent.store import Store, async_actions
from agent.store.async_actions import AsyncAction
from agent.store.outbox import PendingCallback
from agent.util import trace_context
from agent.wire.rows import async_action_fields

FINAL, TEST = "action.final", "callback.test"


def body(store: Store, head: PendingCallback) -> bytes:
    """The AsyncAction; the body of an event before the end shows the action as not ended. Raises `StoreUnavailable`."""
    found = async_actions.by_seq(store, head.seq)
    if head.event != FINAL:
        found = replace(found, state=State.NEW, finished_ts=None)
    return _encoded(async_action_fields(found, head.held))


def test(options: Callbacks, node: str) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a test message, without an action. Raises `SecretUnreadable`."""
    name, now = str(uuid4()), clock.now()
    sample = AsyncAction(
        seq=0, user=f"agent@{node}", user_reference=None, resource_type="Server", resource_id=0, kind=TEST,
        requester=Requester.CLI, scheduled_ts=now, finished_ts=now, state=State.DONE, state_payload=None,
        finished_message="a test of the receiver", args={}, version=1, not_before=None, needs_approval=False,
        approved_by=None,
    )  # fmt: skip
    content = _encoded(async_action_fields(sample))
    return content, headers(options, node, PendingCallback(0, TEST, None, 0, name, "{}"), content)


def headers(options: Callbacks, node: str, head: PendingCallback, content: bytes) -> dict[str, str]:
    """All headers, signed with the current secrets. Raises `SecretUnreadable`."""
    found = {
        "Content-Type": "application/json",
        "User-Agent": "agent",
        "X-Agent-Node": quote(node),
        "X-Agent-Delivery": head.action_id,
        "X-Agent-Event": head.event,
        **_request_of(head),
    }
    files = [each for each in (options.secret, options.previous_secret) if each is not None]
    if not files:
        return found
    secrets = [secret_file.read(each, shortest=secret_file.SHORTEST_KEY) for each in files]
    try:
        signed = standard_webhooks.headers(secrets, _id(head), clock.now() // 1_000_000, content)
    except ValueError as error:
        raise SecretUnreadable(f"{' or '.join(map(str, files))}: {error}") from None
    return found | signed | {hmac_signature.HEADER: hmac_signature.sign(secrets[0], content)}


def _request_of(head: PendingCallback) -> dict[str, str]:
    """The ids of the action's request, and the `tracestate` of its caller."""
    sent = json.loads(head.headers)
    found = {"X-Request-Id": head.x_request_id, "traceparent": head.traceparent}
    parent = trace_context.parse(sent.get("traceparent", ""))
    if parent and head.traceparent and parent.trace_id in head.traceparent:  # the caller's trace
        state = sent.get("tracestate", "")
        found["tracestate"] = state if trace_context.is_state(state) else None
    return {name: value for name, value in found.items() if value is not None}


def _encoded(fields: dict[str, Json]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()


def _id(head: PendingCallback) -> str:
    """The id of a message, unique for each event; Standard Webhooks signs it with the body."""
    return f"{head.action_id}_{head.event.removeprefix('action.')}_{head.event_id}"
