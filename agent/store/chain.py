"""The chain of the audit trail: each event holds the hash of the event before it.

The hash of an event is the SHA-256 of a JSON list: previous hash, id, timestamp, event, user, requester, kind,
action_id, details; without spaces, members sorted, ASCII. A line of the trail holds all of them.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from agent.clock import rfc3339
from agent.models import Json

# Made once: the functions of the module make a new encoder for each call with options.
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
_decode = json.JSONDecoder().decode

HASHED = ("previous", "id", "timestamp", "event", "user", "requester", "kind", "action_id", "details")


def chained(previous: str, event_id: int, timestamp: int, *rest: Any) -> str:
    """The hash of an event, from its columns in the order of `HASHED`; the function of this name in the database."""
    *middle, details = rest
    return _hash([previous, event_id, rfc3339(timestamp), *middle, _decode(details)])


def faults(events: Iterable[Mapping[str, Json]]) -> Iterator[tuple[Mapping[str, Json], str]]:
    """Each event, as it is shown, with what is wrong with its place in the chain; empty where nothing is."""
    before: Mapping[str, Json] | None = None
    for event in events:
        fault = ""
        if event["hash"] != _hash([event[name] for name in HASHED]):
            fault = f"event {event['id']} was changed: its hash is not the hash of its content"
        elif before is not None and (event["previous"], event["id"]) != (before["hash"], before["id"] + 1):
            fault = f"event {event['id']} does not follow event {before['id']}: events were removed or replaced"
        yield event, fault
        before = event


def _hash(values: list[Json]) -> str:
    return hashlib.sha256(_encode(values).encode()).hexdigest()
