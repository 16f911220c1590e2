"""The client certificate of the connection of a request."""

import ssl
import time
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from flask import request

from agent.api import connection
from agent.auth.identities import EMAIL
from agent.errors import Unauthenticated
from agent.server import tls


class ClientCertificates:
    """Reads the certificate of each connection once. `revocable`: a list of revoked certificates is configured."""

    def __init__(self, *, revocable: bool) -> None:
        self._revocable = revocable
        self._read: WeakKeyDictionary[ssl.SSLSocket, tuple[str, float]] = WeakKeyDictionary()

    def email(self) -> str:
        """The e-mail of the certificate. Raises `Unauthenticated` without a valid certificate that has one."""
        email, end = self._of_this_connection()
        if not EMAIL.fullmatch(email):
            raise Unauthenticated("the client certificate has no e-mail address")
        if end < time.time():
            raise Unauthenticated("the client certificate has expired")
        return email

    def end(self) -> float:
        """The last second of the certificate, since the epoch. Raises `Unauthenticated` without a certificate."""
        return self._of_this_connection()[1]

    def _of_this_connection(self) -> tuple[str, float]:
        encrypted = request.environ.get(connection.SOCKET)
        if not isinstance(encrypted, ssl.SSLSocket):
            raise Unauthenticated("a client certificate is required")
        if self._revocable and encrypted.context is not tls.of_this_worker().current():
            # Only a handshake checks whether the certificate was revoked.
            connection.end_with_this_answer(encrypted)
            raise Unauthenticated("the revocation list has changed since this connection was opened: connect again")
        if (known := self._read.get(encrypted)) is None:
            known = self._read[encrypted] = _email_and_end(encrypted)
        return known


def _email_and_end(encrypted: ssl.SSLSocket) -> tuple[str, float]:
    certificate: Any = encrypted.getpeercert()
    if not certificate:
        return "", 0.0
    return _email(certificate), ssl.cert_time_to_seconds(certificate["notAfter"])


def _email(certificate: Mapping[str, Any]) -> str:
    """The first e-mail of the alternative names, else of the subject, else an empty text."""
    alternatives = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "email"]
    subject = [pair for part in certificate.get("subject", ()) for pair in part]
    return next(iter(alternatives + [value for kind, value in subject if kind == "emailAddress"]), "")
