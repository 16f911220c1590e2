"""The signature in `X-Hub-Signature-256`: HMAC-SHA256 of the body with a shared secret."""

import hashlib
import hmac

HEADER = "X-Hub-Signature-256"


def sign(secret: str, body: bytes) -> str:
    """The HMAC-SHA256 of the body: `sha256=` and 64 hexadecimal digits."""
    return f"sha256={hmac.digest(secret.encode(), body, hashlib.sha256).hex()}"


def verify(secret: str, body: bytes, signature: str) -> bool:
    """Whether the signature matches the body; compared in constant time."""
    return hmac.compare_digest(sign(secret, body).encode(), signature.encode(errors="surrogateescape"))
