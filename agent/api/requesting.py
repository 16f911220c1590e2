"""Who asks for an action and with which headers, as it is written on the action's row."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from flask import request

from agent import clock
from agent.api import auth
from agent.api.current import context
from agent.errors import HeadersTooLarge, InvalidHeader
from agent.store.actions import dumps

RECORDED = ("traceparent", "tracestate", "x-request-id", "request-id", "from", "action-reason")
"""The headers that every action records; `api.record_headers` adds others."""
LARGEST = 16 * 1024
"""Bytes of the headers as an action records them."""
LONGEST_KEY = 255
LONGEST_REASON = 255
STRING = re.compile(r'"(?:[ !#-\[\]-~]|\\["\\])*"')
ESCAPED = re.compile(r'\\(["\\])')
ADDRESS = re.compile(r"[^\s\x00-\x1f\x7f<>@]{1,64}@[^\s\x00-\x1f\x7f<>@]{1,190}")


@dataclass(frozen=True)
class Terms:
    """Why an action is asked for, and between which times it may start, in microseconds since the epoch."""

    reason: str | None = None
    not_before: int | None = None
    not_after: int | None = None


NO_TERMS = Terms()


def terms() -> Terms:
    """From the headers Action-Reason, Not-Before and Not-After. Raises `InvalidHeader`."""
    reason = request.headers.get("Action-Reason")
    if reason is not None and len(reason) > LONGEST_REASON:
        raise InvalidHeader(f"Action-Reason must have {LONGEST_REASON} characters at most")
    not_before, not_after = _time("Not-Before"), _time("Not-After")
    if not_after is not None and not_after <= max(not_before or 0, clock.now()):
        raise InvalidHeader(
            f"Not-After must be in the future and later than Not-Before, got {request.headers['Not-After'][:40]!a}"
        )
    return Terms(reason, not_before, not_after)


def _time(header: str) -> int | None:
    if (given := request.headers.get(header)) is None:
        return None
    try:
        time = datetime.fromisoformat(given.strip())
        microseconds = round(time.astimezone(UTC).timestamp() * 1_000_000)  # fails where UTC has no such year
        if time.tzinfo is None or microseconds < 0:
            raise ValueError
        return microseconds
    except (ValueError, OverflowError):
        raise InvalidHeader(
            f"{header} must be a time as in RFC 3339, such as 2026-01-31T03:00:00Z, got {given[:40]!a}"
        ) from None


def headers() -> dict[str, str]:
    """Those of the request's headers that an action records, names in lower case. Raises `HeadersTooLarge`."""
    sent, kept = request.environ, {}
    for name in (*RECORDED, *context().settings.api.record_headers):
        if (value := sent.get(f"HTTP_{name.upper().replace('-', '_')}")) is not None:
            kept[name] = value
    if len(dumps(kept)) > LARGEST:
        raise HeadersTooLarge(f"the headers that the action would record are larger than {LARGEST} bytes")
    return kept


def user() -> str:
    """The e-mail that the action is recorded under; only of a caller that nobody asks who it is the `From` header."""
    if (identity := auth.caller()) is not None:
        return identity.email
    given = ADDRESS.search(request.environ.get("HTTP_FROM", ""))
    return given[0] if given else f"agent@{context().settings.agent.node}"


def idempotency_key() -> str | None:
    """The key of this request: `k1` and the string `"k1"` of RFC 8941 are one key. Raises `InvalidHeader`."""
    given: str | None = request.environ.get("HTTP_IDEMPOTENCY_KEY")
    if given is None:
        return None
    key = given.strip()
    if key.startswith('"'):
        if not STRING.fullmatch(key):
            raise InvalidHeader("Idempotency-Key begins with a quotation mark and is not a string of RFC 8941")
        key = ESCAPED.sub(r"\1", key[1:-1])
    if not key.strip() or len(key) > LONGEST_KEY:
        raise InvalidHeader(f"Idempotency-Key must have 1 to {LONGEST_KEY} characters")
    return key
