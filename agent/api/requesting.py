"""Who asks for an action and with which headers, as it is written on the action's row."""

import re

from flask import request

from agent.api import auth
from agent.api.current import context
from agent.errors import HeadersTooLarge, InvalidHeader
from agent.store.actions import dumps

RECORDED = ("traceparent", "tracestate", "x-request-id", "request-id", "from", "action-reason")
"""The headers that every action records; `api.record_headers` adds others."""
LARGEST = 16 * 1024
"""Bytes of the headers as an action records them."""
LONGEST_KEY = 255
STRING = re.compile(r'"(?:[ !#-\[\]-~]|\\["\\])*"')
ESCAPED = re.compile(r'\\(["\\])')
ADDRESS = re.compile(r"[^\s\x00-\x1f\x7f<>@]{1,64}@[^\s\x00-\x1f\x7f<>@]{1,190}")


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
