"""The models of controllers of the node protocol: the seed's generation, and generation 0.5."""

from __future__ import annotations

from tests.clients.strict import (
    Decoder,
    anything,
    either,
    identifier,
    listed,
    maybe,
    one_of,
    record,
    text,
    texts_by_name,
    time,
    truth,
    whole,
)

REQUESTERS = {
    "seed": {"API": "API", "WEB": "WEB", "HOOK": "HOOK", "CLI": "CLI"},
    "0.5": {"API": "AGENT_API", "WEB": "AGENT_API", "HOOK": "AGENT_API", "CLI": "AGENT_API"},
}
"""By generation: the name of each channel."""
CORE = ("CORE_API", "CORE_PLAYBOOK", "CORE_DECLARATIVE")
"""The requesters that a controller of generation 0.5 may name."""

STATE = one_of("NEW", "RUNNING", "DONE", "FAILED")
ITEM = record({"kind": text, "id": identifier, "state": STATE})
ITEMS = listed(ITEM)
SCHEDULED = record({"id": identifier})
OFFERED = record({"actions": truth})
AGENT_INFO = record({"version": record({"checkout": text, "number": text, "taint": text})})
DATASTORE_INFO = record(
    {
        "cluster_display_name": maybe(text),
        "cluster_id": text,
        "id": text,
        "kind": text,
        "node_id": text,
        "version": text,
    }
)
OFFSET = record({"unit": either(one_of("seconds"), record({"unit": text})), "value": whole})
SHARDS = record(
    {
        "shards": listed(
            record(
                {
                    "id": text,
                    "role": either(one_of("primary", "secondary"), record({"unknown": text})),
                    "commit_offset": maybe(OFFSET),
                    "lag": maybe(OFFSET),
                }
            )
        )
    }
)
ERROR = record({"error": text, "layers": listed(text), "variant": text}, {"details": anything})
HISTORY = listed(
    record({"action_id": identifier, "timestamp": time, "state": STATE, "state_payload": anything}),
)
ADDED = {
    "async_action_id": whole,
    "user": text,
    "message": maybe(text),
    "outcome": maybe(one_of("done", "failed", "cancelled", "timed_out", "interrupted", "expired")),
    "reason": maybe(text),
    "started_ts": maybe(time),
    "not_before": maybe(time),
    "not_after": maybe(time),
    "approved_by": maybe(text),
}
"""Members that the agent adds to the protocol's model of an action: models ignore them."""


def info(generation: str) -> Decoder:
    """The answer about one action."""
    known = set(REQUESTERS[generation].values()) | set(CORE if generation == "0.5" else ())
    action = {
        "kind": text,
        "created_ts": time,
        "scheduled_ts": time,
        "finished_ts": maybe(time),
        "headers": texts_by_name,
        "id": identifier,
        "requester": one_of(*known),
        "args": anything,
        "state": STATE,
        "state_payload": anything,
    }
    return record({"action": record(action | ADDED, {"held": text}, open=True), "history": HISTORY})
