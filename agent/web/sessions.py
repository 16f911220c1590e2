"""The sessions of the page, in memory, by the hash of their cookie."""

import hashlib
import secrets
import threading
from dataclasses import dataclass

from agent import clock

IDLE = 3600.0
"""Seconds without a request after which a session ends."""
LONGEST = 12 * 3600.0
"""Seconds after which a session ends in any case."""
MOST, MOST_OF_A_TOKEN = 1000, 50
"""Maximum sessions of the agent and of one token; one more ends the least recently used session."""


@dataclass
class WebSession:
    """A session. `token`: SHA-256 of the token that opened it. Times are of `clock.monotonic`."""

    token: bytes
    opened: float
    used: float


class Sessions:
    """All sessions. Thread-safe. A new process has none, so users sign in again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_hash: dict[bytes, WebSession] = {}

    def open(self, token: bytes) -> str:
        """Begin a session; returns the value of its cookie, which is not stored."""
        value, now = secrets.token_urlsafe(32), clock.monotonic()
        with self._lock:
            self._forget_ended(now)
            # This limit first: a token at its limit ends its own sessions, not those of others.
            self._make_room(
                [each for each, session in self._by_hash.items() if session.token == token], MOST_OF_A_TOKEN
            )
            self._make_room(list(self._by_hash), MOST)
            self._by_hash[_hash(value)] = WebSession(token, now, now)
        return value

    def token(self, value: str) -> bytes | None:
        """The SHA-256 of the token that opened the session of this cookie; None if there is no such session."""
        now = clock.monotonic()
        with self._lock:
            session = self._by_hash.get(_hash(value))
            if session is None or _has_ended(session, now):
                return None
            session.used = now
            return session.token

    def close(self, value: str) -> None:
        """End the session of this cookie."""
        with self._lock:
            self._by_hash.pop(_hash(value), None)

    def _make_room(self, hashes: list[bytes], most: int) -> None:
        """End the least recently used of these sessions until one more fits."""
        hashes.sort(key=lambda each: self._by_hash[each].used)
        for each in hashes[: max(0, len(hashes) + 1 - most)]:
            del self._by_hash[each]

    def _forget_ended(self, now: float) -> None:
        self._by_hash = {each: session for each, session in self._by_hash.items() if not _has_ended(session, now)}


def _has_ended(session: WebSession, now: float) -> bool:
    return now - session.used > IDLE or now - session.opened > LONGEST


def _hash(value: str) -> bytes:
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).digest()
