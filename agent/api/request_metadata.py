"""User, headers, terms and idempotency key of a request, as stored with its action."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flask import request

from agent import clock
from agent.api import authentication
from agent.api.context import context
from agent.errors import HeadersTooLarge, InvalidHeader
from agent.store.encoding import dumps

RECORDED = ("traceparent", "tracestate", "x-request-id", "request-id", "from", "action-reason")
"""The headers that every action records; `api.record_headers` adds others."""
LARGEST = 16 * 1024
"""Maximum bytes of the recorded headers of an action."""
LONGEST_KEY = 255
LONGEST_REASON = 255
STRING = re.compile(r'"(?:[ !#-\[\]-~]|\\["\\])*"')
ESCAPED = re.compile(r'\\(["\\])')
ADDRESS = re.compile(r"[^\s\x00-\x1f\x7f<>@]{1,64}@[^\s\x00-\x1f\x7f<>@]{1,190}")


@dataclass(frozen=True)
class Terms:
    """The reason of an action, and the times between which it may start, in microseconds since the epoch."""

    reason: str | None = None
    not_before: int | None = None
    not_after: int | None = None


NO_TERMS = Terms()


def terms() -> Terms:
    """The terms in the headers Action-Reason, Not-Before and Not-After. Raises `InvalidHeader`."""
    given = request.headers.get("Action-Reason")
    reason = None if given is None else _decoded(given)
    if reason is not None and len(reason) > LONGEST_REASON:
        raise InvalidHeader(f"Action-Reason must have {LONGEST_REASON} characters at most")
    not_before, not_after = (moment(name, request.headers.get(name)) for name in ("Not-Before", "Not-After"))
    refuse_an_end_before(not_after, not_before)
    return Terms(reason, not_before, not_after)


def _decoded(header: str) -> str:
    """The header as UTF-8 if that is valid, else as Latin-1, as WSGI has decoded it."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header


def refuse_an_end_before(not_after: int | None, not_before: int | None) -> None:
    """Raises `InvalidHeader` for a Not-After that has passed, or that is not later than Not-Before."""
    if not_after is not None and not_after <= max(not_before or 0, clock.now()):
        raise InvalidHeader(
            f"Not-After must be in the future and later than Not-Before, got {clock.rfc3339(not_after)}"
        )


def moment(header: str, given: str | None) -> int | None:
    """A time as in RFC 3339, in microseconds since the epoch; None stays None. Raises `InvalidHeader`."""
    if given is None:
        return None
    try:
        return microseconds(given.strip())
    except ValueError:
        raise InvalidHeader(
            f"{header} must be a time as in RFC 3339, such as 2026-01-31T03:00:00Z, got {given[:40]!a}"
        ) from None


def microseconds(given: Any) -> int:
    """A time of RFC 3339 as microseconds since the epoch. Raises `ValueError` for anything else."""
    try:
        # RFC 3339 allows t and z in lower case.
        time = datetime.fromisoformat(given.upper() if isinstance(given, str) else given)
        found = round(time.astimezone(UTC).timestamp() * 1_000_000)  # fails if UTC has no such year
    except (OverflowError, TypeError) as error:
        raise ValueError(str(error)) from None
    if time.tzinfo is None or found < 0:
        raise ValueError("not a time with an offset, from 1970 on")
    return found


def headers() -> dict[str, str]:
    """The headers of the request that an action records, with names in lower case. Raises `HeadersTooLarge`."""
    sent, kept = request.environ, {}
    for name in (*RECORDED, *context().settings.api.record_headers):
        if (value := sent.get(f"HTTP_{name.upper().replace('-', '_')}")) is not None:
            kept[name] = _decoded(value)
    if len(dumps(kept)) > LARGEST:
        raise HeadersTooLarge(f"the headers that the action would record are larger than {LARGEST} bytes")
    return kept


def user() -> str:
    """E-mail stored as the action's user. The From header is used only when authentication is off."""
    if (identity := authentication.caller()) is not None:
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
