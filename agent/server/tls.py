"""The TLS context of connections, with the authority and revocation list for client certificates."""

import ssl
import threading
from functools import cache
from pathlib import Path

from agent import clock, config, log
from agent.config import Tls
from agent.errors import ConfigError
from agent.server import certificate_end, revocation_list
from agent.util import file_stamp

RETRY = 1.0
"""Seconds between attempts to use files that could not be used."""


class Encryption:
    """Holds the TLS context of new connections; makes a new one when the revocation list changes. Thread-safe."""

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._reading = threading.Lock()
        self._stamp = self._now()
        self._list = self._content()
        self._valid_until = revocation_list.valid_until(self._list or b"")
        self._context = context(tls)
        self.certificate_end = certificate_end.of(tls.certificate)
        """Expiry of the context's certificate in seconds since the epoch; 0 if it cannot be read."""
        self._fault = ""
        self._retry_at = 0.0

    def current(self) -> ssl.SSLContext:
        """The current context. While the revocation list cannot be used, it accepts no client."""
        wrong = self._fault or self._expired
        if self._now() != self._stamp or (wrong and clock.monotonic() >= self._retry_at):
            with self._reading:
                self._read_again()
        return self._context

    def _read_again(self) -> None:
        now = self._now()
        if now == self._stamp and clock.monotonic() < self._retry_at:
            return  # another thread has read it
        before, self._list = self._list, self._content()
        self._stamp, self._retry_at = now, clock.monotonic() + RETRY
        self._valid_until = revocation_list.valid_until(self._list or b"")
        if self._list == before and not self._fault and not self._expired:
            return  # unchanged: keep the context
        try:
            self._refuse_expired()
            self._context, self._fault = context(self._tls), ""
            self.certificate_end = certificate_end.of(self._tls.certificate)
        except ConfigError as error:
            if str(error) != self._fault:
                log.revocations_not_read(str(error))
            self._context, self._fault = _accepting_none(), str(error)

    @property
    def _expired(self) -> bool:
        return clock.now() / 1e6 > self._valid_until

    def _refuse_expired(self) -> None:
        if self._expired:
            end = clock.rfc3339(round(self._valid_until * 1e6))
            raise ConfigError(f"api.tls.crl {self._tls.crl} is out of date since {end}: write the current list there")

    def _content(self) -> bytes | None:
        try:
            return self._tls.crl.read_bytes() if self._tls.crl else None
        except OSError:
            return None

    def _now(self) -> file_stamp.Stamp:
        return file_stamp.at(self._tls.crl) if self._tls.crl else ()


@cache
def of_this_worker() -> Encryption:
    """The `Encryption` of this worker; the next worker reads all files again."""
    tls = config.current().api.tls
    assert tls is not None
    return Encryption(tls)


def context(tls: Tls) -> ssl.SSLContext:
    """A context for TLS 1.2 or newer; with `clients_ca`, clients need a certificate of it. Raises `ConfigError`."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    # No session resumption: a resumed session would skip the check of the client's certificate.
    made.options |= ssl.OP_NO_TICKET
    made.num_tickets = 0
    try:
        # The empty password makes OpenSSL refuse a key with a passphrase instead of prompting for it.
        made.load_cert_chain(tls.certificate, tls.key, password=lambda: "")
    except (OSError, ValueError) as error:
        names = f"api.tls.certificate {tls.certificate} and api.tls.key {tls.key}"
        raise ConfigError(f"{names} cannot be used: {_reason(error)}") from None
    if tls.clients_ca is not None:
        made.verify_mode = ssl.CERT_REQUIRED
        _load(made, "api.tls.clients_ca", tls.clients_ca)
    if tls.crl is not None:
        made.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        before = made.cert_store_stats()["crl"]
        _load(made, "api.tls.crl", tls.crl)
        if made.cert_store_stats()["crl"] == before:
            raise ConfigError(f"api.tls.crl {tls.crl} cannot be used: it holds no revocation list")
    return made


def _load(context: ssl.SSLContext, option: str, file: Path) -> None:
    try:
        context.load_verify_locations(file)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{option} {file} cannot be used: {_reason(error)}") from None


def _accepting_none() -> ssl.SSLContext:
    """A context without a server certificate: every handshake fails at its first step."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.verify_mode = ssl.CERT_REQUIRED
    return made


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "it is no PEM file").lower().replace("_", " ")
    return getattr(error, "strerror", None) or str(error)
