"""The chain of the audit trail: each event holds the hash of the event before it.

The hash of an event is the SHA-256 of a JSON list: previous hash, id, timestamp, event, user, requester, kind,
action_id, details; without spaces, members sorted, ASCII. A line of the trail holds all of them.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _quote
from typing import Any

from agent.clock import rfc3339
from agent.models import Json

# Made once: json.dumps with options makes a new encoder for each call.
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
_decode = json.JSONDecoder().raw_decode
_time = lru_cache(4)(rfc3339)
SECOND = 1_000_000

HASHED = ("previous", "id", "timestamp", "event", "user", "requester", "kind", "action_id", "details")


def chained(previous: str, event_id: int, timestamp: int, *rest: Any) -> str:
    """The hash of an event, from its columns in the order of `HASHED`; also an SQL function."""
    event, user, requester, kind, action_id, details = rest
    # Built by hand, as each action waits for three hashes: the encoder takes three times as long for the same list.
    canonical = details if details == "{}" else _encode(_decode(details)[0])
    texts = ",".join(
        [_or_null(each) for each in (_time(timestamp // SECOND * SECOND), event, user, requester, kind, action_id)]
    )
    return _sha256(f"[{_quote(previous)},{event_id},{texts},{canonical}]")


def faults(events: Iterable[Mapping[str, Json]]) -> Iterator[tuple[Mapping[str, Json], str]]:
    """Each event with the fault of its place in the chain, empty if there is none; `events` as `shown` returns them."""
    before: Mapping[str, Json] | None = None
    for event in events:
        fault = ""
        if event["hash"] != _sha256(_encode([event[name] for name in HASHED])):
            fault = f"event {event['id']} was changed: its hash is not the hash of its content"
        elif before is not None and (event["previous"], event["id"]) != (before["hash"], before["id"] + 1):
            fault = f"event {event['id']} does not follow event {before['id']}: events were removed or replaced"
        yield event, fault
        before = event


def _or_null(text: str | None) -> str:
    return "null" if text is None else _quote(text)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("ascii")).hexdigest()
