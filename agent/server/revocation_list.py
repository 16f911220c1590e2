"""Reads the expiry of a revocation list. OpenSSL checks it only in handshakes, not on open connections."""

import base64
import binascii
import re
from datetime import UTC, datetime

PEM = re.compile(rb"-----BEGIN X509 CRL-----([^-]*)-----END X509 CRL-----")
INTEGER, UTC_TIME, GENERALIZED_TIME = 0x02, 0x17, 0x18
TIMES = {UTC_TIME: "%y%m%d%H%M%SZ", GENERALIZED_TIME: "%Y%m%d%H%M%SZ"}

Element = tuple[int, int, int]
"""The tag of a DER element, and the start and end of its content."""


def valid_until(pem: bytes) -> float:
    """The latest expiry of the lists in seconds since the epoch; infinite if one has no expiry."""
    return max((_next_update(each[1]) for each in PEM.finditer(pem)), default=float("inf"))


def _next_update(text: bytes) -> float:
    """The nextUpdate of a list (RFC 5280, section 5.1); infinite if it is missing or invalid."""
    try:
        der = base64.b64decode(text)
        _, inside, _ = _element(der, _element(der, 0)[1])
        tag, _, end = _element(der, inside)
        before = 4 if tag == INTEGER else 3
        for _ in range(before):  # version, signature, issuer, thisUpdate
            _, _, inside = _element(der, inside)
        tag, start, end = _element(der, inside)
        if tag not in TIMES:
            return float("inf")
        return datetime.strptime(der[start:end].decode("ascii"), TIMES[tag]).replace(tzinfo=UTC).timestamp()
    except (binascii.Error, IndexError, ValueError):
        return float("inf")


def _element(der: bytes, at: int) -> Element:
    tag, length, start = der[at], der[at + 1], at + 2
    if length & 0x80:
        count = length & 0x7F
        length, start = int.from_bytes(der[start : start + count]), start + count
    return tag, start, start + length
