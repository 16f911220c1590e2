"""What must be right before anybody is served: the files of trust, and a word on what they leave open."""

import os
from pathlib import Path

from agent import checks, log, secret_file, tls, tokens
from agent.config import Api, Settings
from agent.errors import ConfigError
from agent.secret_file import SecretUnreadable


def check(settings: Settings) -> None:
    """Raises `ConfigError` for a file of tokens, certificates or what is signed with that could not be used."""
    api = settings.api
    if api.tokens is not None:
        tokens.read(api.tokens, certificates=api.certified)
    if api.tls is not None:
        tls.context(api.tls)
    for option, file in _keys_to_sign_with(settings).items():
        try:
            secret_file.read(file, shortest=secret_file.SHORTEST_KEY)
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
