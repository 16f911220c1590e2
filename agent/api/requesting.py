"""Who asks for an action and with which headers, as it is written on the action's row."""

import re

from flask import request

from agent.api import auth
from agent.api.current import context
from agent.errors import InvalidHeader

TRANSPORT = (
    "accept", "accept-encoding", "connection", "content-length", "content-type", "cookie", "host",
    "transfer-encoding", "user-agent",
)  # fmt: skip
CREDENTIALS = (
    "authorization", "proxy-authorization", "x-hub-signature", "x-hub-signature-256", "x-gitea-signature",
    "x-forgejo-signature", "x-gogs-signature",
)  # fmt: skip
LEFT_OUT = frozenset(f"HTTP_{name.upper().replace('-', '_')}" for name in TRANSPORT + CREDENTIALS)
LONGEST_KEY = 255
ADDRESS = re.compile(r"[^\s\x00-\x1f\x7f<>@]{1,64}@[^\s\x00-\x1f\x7f<>@]{1,190}")


def headers() -> dict[str, str]:
    """The request's headers less those of the transport and less any credential, names in lower case."""
    return {
        name[5:].replace("_", "-").lower(): value
        for name, value in request.environ.items()
        if name.startswith("HTTP_") and name not in LEFT_OUT
    }


def user() -> str:
    """The e-mail that the action is recorded under; only of a caller that nobody asks who it is the `From` header."""
    if (identity := auth.caller()) is not None:
        return identity.email
    given = ADDRESS.search(request.environ.get("HTTP_FROM", ""))
    return given[0] if given else f"agent@{context().settings.agent.node}"


def idempotency_key() -> str | None:
    """Raises `InvalidHeader` for a key that could not be told from having none."""
    key: str | None = request.environ.get("HTTP_IDEMPOTENCY_KEY")
    if key is not None and not 0 < len(key.strip()) <= LONGEST_KEY:
        raise InvalidHeader(f"Idempotency-Key must have 1 to {LONGEST_KEY} characters")
    return key
