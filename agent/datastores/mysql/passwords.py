"""Compute password hashes of MySQL and MariaDB: a statement with the password itself could be logged."""

from __future__ import annotations

import hashlib
import secrets
import string
from itertools import cycle, islice

from agent.datastores.base import DatastoreRefused

DIGEST_CHARACTERS = string.ascii_letters + string.digits
SALT_LENGTH = 20
LONGEST = 256
"""Maximum bytes of a password in a login by `caching_sha2_password`."""
THOUSANDS_OF_ROUNDS = 5
"""The server's default (`caching_sha2_password_digest_rounds` = 5000)."""
BASE64 = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ORDER = (
    (0, 10, 20), (21, 1, 11), (12, 22, 2), (3, 13, 23), (24, 4, 14),
    (15, 25, 5), (6, 16, 26), (27, 7, 17), (18, 28, 8), (9, 19, 29),
)  # fmt: skip
"""The digest bytes of each group of four characters; the last two bytes make three characters."""


def native(password: str) -> str:
    """The hash for `mysql_native_password`, the only plugin that every client of MariaDB supports."""
    return "*" + hashlib.sha1(hashlib.sha1(password.encode()).digest()).hexdigest().upper()


def caching_sha2(password: str, salt: str | None = None) -> str:
    """The hash for `caching_sha2_password`. `salt` has 20 characters; random by default.

    Raises `DatastoreRefused` for a password with which no login can succeed.
    """
    if len(password.encode()) > LONGEST:
        raise DatastoreRefused(f"MySQL accepts no login with a password of more than {LONGEST} bytes: shorten it")
    if salt is None:
        salt = "".join(secrets.choice(DIGEST_CHARACTERS) for _ in range(SALT_LENGTH))
    digest = sha256_crypt(password.encode(), salt.encode(), THOUSANDS_OF_ROUNDS * 1000)
    return f"$A${THOUSANDS_OF_ROUNDS:03X}${salt}{digest}"


def matches(password: str, stored: bytes) -> bool:
    """Whether the password matches a stored hash of either plugin."""
    if not stored.startswith(b"$A$"):
        return secrets.compare_digest(native(password).encode(), stored)
    rounds, salt, digest = int(stored[3:6], 16) * 1000, stored[7 : 7 + SALT_LENGTH], stored[7 + SALT_LENGTH :]
    return secrets.compare_digest(sha256_crypt(password.encode(), salt, rounds).encode(), digest)


def sha256_crypt(password: bytes, salt: bytes, rounds: int) -> str:
    """The 43 characters of a SHA-crypt digest (Drepper, 2007), for a salt of any length."""
    alternate = hashlib.sha256(password + salt + password).digest()
    first = hashlib.sha256(password + salt + _repeated(alternate, len(password)))
    bits = len(password)
    while bits:
        first.update(alternate if bits & 1 else password)
        bits >>= 1
    digest = first.digest()
    p = _repeated(hashlib.sha256(password * len(password)).digest(), len(password))
    s = _repeated(hashlib.sha256(salt * (16 + digest[0])).digest(), len(salt))
    for number in range(rounds):
        odd = number & 1
        parts = (p if odd else digest, s if number % 3 else b"", p if number % 7 else b"", digest if odd else p)
        digest = hashlib.sha256(b"".join(parts)).digest()
    return _encoded(digest)


def _repeated(block: bytes, length: int) -> bytes:
    return bytes(islice(cycle(block), length))


def _encoded(digest: bytes) -> str:
    text = "".join(_characters(digest[a] << 16 | digest[b] << 8 | digest[c], 4) for a, b, c in ORDER)
    return text + _characters(digest[31] << 8 | digest[30], 3)


def _characters(number: int, count: int) -> str:
    return "".join(BASE64[number >> 6 * place & 63] for place in range(count))
