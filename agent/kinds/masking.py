"""Masks secrets in whatever a kind returns, also where a command or server printed them as JSON."""

import json
from collections.abc import Sequence

from agent.kinds.base import MASK
from agent.models import Json

GUESSED_BELOW = 8
"""Characters of a secret that is guessed from a text in which it alone is masked, such as `cr********ing`."""


def spellings(secrets: Sequence[str]) -> list[str]:
    """The secrets as they are and as JSON writes them, the longest first."""
    spelled = {each for secret in secrets for each in (secret, _as_json(secret, True), _as_json(secret, False))}
    return sorted(spelled, key=len, reverse=True)


def mask(value: Json, secrets: Sequence[str]) -> Json:
    """The value with every secret in any of its texts masked; the names of its members are the kind's own.

    Of a text with a short secret nothing is left: what stands around the mask would reveal the secret.
    """
    return _masked(value, spellings(secrets), names=False)


def mask_names_too(value: Json, secrets: Sequence[str]) -> Json:
    """The same for a value of a command, which chose the names of its members."""
    return _masked(value, spellings(secrets), names=True)


def _masked(value: Json, secrets: Sequence[str], *, names: bool) -> Json:
    if isinstance(value, str):
        for secret in secrets:
            if secret in value:
                value = value.replace(secret, MASK) if len(secret) >= GUESSED_BELOW else MASK
        return value
    if isinstance(value, list | tuple):
        return [_masked(each, secrets, names=names) for each in value]
    if isinstance(value, dict):
        return {
            _masked(name, secrets, names=names) if names else name: _masked(each, secrets, names=names)
            for name, each in value.items()
        }
    return value


def _as_json(secret: str, ensure_ascii: bool) -> str:
    return json.dumps(secret, ensure_ascii=ensure_ascii)[1:-1]
