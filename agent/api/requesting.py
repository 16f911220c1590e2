"""Who asks for an action and with which headers, as it is written on the action's row."""

import re

from flask import request

from agent.api.current import context
from agent.errors import InvalidHeader

TRANSPORT = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "cookie",
        "host",
        "transfer-encoding",
        "user-agent",
    }
)
CREDENTIALS = frozenset({"authorization", "proxy-authorization"})
LONGEST_KEY = 255
ADDRESS = re.compile(r"[^\s<>@]{1,64}@[^\s<>@]{1,190}")


def headers() -> dict[str, str]:
    """The request's headers less those of the transport and less any credential, names in lower case."""
    return {
        lower: value
        for name, value in request.headers.items()
        if (lower := name.lower()) not in TRANSPORT and lower not in CREDENTIALS
    }


def user() -> str:
    """The e-mail that the action is recorded under: the `From` header of this unauthenticated caller."""
    given = ADDRESS.search(request.headers.get("From", ""))
    return given[0] if given else f"agent@{context().settings.agent.node}"


def idempotency_key() -> str | None:
    """Raises `InvalidHeader` for a key that could not be told from having none."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not 0 < len(key.strip()) <= LONGEST_KEY:
        raise InvalidHeader(f"Idempotency-Key must have 1 to {LONGEST_KEY} characters")
    return key
