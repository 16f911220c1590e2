"""Signatures of the Standard Webhooks specification: HMAC-SHA256 of id, time and body, one for each secret."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

PREFIX = "whsec_"
"""Prefix of a secret whose rest is the key in base64. Without the prefix the text itself is the key."""


def headers(secrets: Sequence[str], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of a message sent at `timestamp`, in seconds. Raises `ValueError` for bad base64."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_signature(key(secret), signed) for secret in secrets),
    }


def key(secret: str) -> bytes:
    """The bytes to sign with. Raises `ValueError` for bad base64."""
    if not secret.startswith(PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise ValueError(f"a secret that begins with {PREFIX} continues with base64") from None


def _signature(key: bytes, signed: bytes) -> str:
    return f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}"
