"""Mask secrets in the payloads and messages of kinds, also in their JSON-escaped form."""

import json
from collections.abc import Sequence

from agent.kinds.base.kind import MASK
from agent.models import Json

GUESSED_BELOW = 8
"""Length in characters below which a secret can be guessed from the text around its mask: `cr********ing`."""


def spellings(secrets: Sequence[str]) -> list[str]:
    """The secrets in plain and in JSON-escaped form, the longest first."""
    spelled = {each for secret in secrets for each in (secret, _as_json(secret, True), _as_json(secret, False))}
    return sorted(spelled, key=len, reverse=True)


def mask(value: Json, secrets: Sequence[str]) -> Json:
    """The value with every secret in its strings masked. Member names are kept: the kind chose them.

    A string that contains a short secret is masked whole: the text around the mask would reveal the secret.
    """
    return _masked(value, spellings(secrets), names=False)


def mask_names_too(value: Json, secrets: Sequence[str]) -> Json:
    """Mask the output of a command, including its member names: the command chose them."""
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
