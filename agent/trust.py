"""What must be right before anybody is served: the files of trust, and a word on what they leave open."""

import os
import ssl
from functools import cache
from pathlib import Path

from agent import checks, config, log, secret_file, tokens
from agent.config import Api, Settings, Tls
from agent.errors import ConfigError
from agent.secret_file import SecretUnreadable


def check(settings: Settings) -> None:
    """Raises `ConfigError` for a file of tokens, certificates or what is signed with that could not be used."""
    api = settings.api
    if api.tokens is not None:
        tokens.read(api.tokens, certificates=api.certified)
    if api.tls is not None:
        tls_context(api.tls)
    for option, file in _keys_to_sign_with(settings).items():
        try:
            secret_file.read(file)
        except SecretUnreadable as error:
            raise ConfigError(f"{option}: {error}") from None


def _keys_to_sign_with(settings: Settings) -> dict[str, Path]:
    """The files by the options that name them; outside of the agent's unit none that systemd gives to that alone."""
    files = {f"applications.{name}.hook_secret": each.hook_secret for name, each in settings.applications.items()}
    if settings.callbacks is not None:
        files["callbacks.secret"] = settings.callbacks.secret
    # A unit that is given no credential at all has no directory for them.
    in_unit = "CREDENTIALS_DIRECTORY" in os.environ or "NOTIFY_SOCKET" in os.environ
    unseen = None if in_unit else Path(checks.CREDENTIALS)
    return {option: file for option, file in files.items() if file is not None and file.parent != unseen}


def tell(settings: Settings) -> None:
    """A warning of what is open, one line each."""
    _tell_of_callers(settings.api)
    if settings.callbacks is not None and settings.callbacks.secret is None:
        log.callbacks_not_signed()


def _tell_of_callers(api: Api) -> None:
    if not api.authenticated:
        log.callers_not_authenticated(", ".join(api.bind))
    if api.tokens is None and api.certified:
        log.every_certificate_may_all()
    if api.tokens is not None and api.tls is None and not api.local:
        log.tokens_in_the_clear(", ".join(each for each in api.bind if not checks.is_local(each)))


@cache
def worker_tls() -> ssl.SSLContext:
    """The context of this worker's life: the next one reads the files anew."""
    settings = config.current()
    assert settings.api.tls is not None
    return tls_context(settings.api.tls)


def tls_context(tls: Tls) -> ssl.SSLContext:
    """TLS 1.2 or newer; with `clients_ca` nobody connects without a certificate of it. Raises `ConfigError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A connection that goes on with the keys of another would not show its certificate again.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    try:
        # A key with a passphrase is refused: nobody is there to be asked for it.
        context.load_cert_chain(tls.certificate, tls.key, password=lambda: "")
    except (OSError, ValueError) as error:
        names = f"api.tls.certificate {tls.certificate} and api.tls.key {tls.key}"
        raise ConfigError(f"{names} cannot be used: {_reason(error)}") from None
    if tls.clients_ca is not None:
        _require_certificate(context, tls)
    return context


def _require_certificate(context: ssl.SSLContext, tls: Tls) -> None:
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(tls.clients_ca)
    except (OSError, ValueError) as error:
        raise ConfigError(f"api.tls.clients_ca {tls.clients_ca} cannot be used: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "it is no PEM file").lower().replace("_", " ")
    return getattr(error, "strerror", None) or str(error)
