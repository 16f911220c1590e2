"""The last lines of a failed unit's log in the payload of an action, with the secrets of the configuration masked."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from agent import checks, secret_file
from agent.config import Settings
from agent.kinds.base import MASK
from agent.kinds.masking import mask
from agent.models import Json
from agent.secret_file import SecretUnreadable

IN_URL = re.compile(r"(?<=://)([^\s/@]*):[^\s@]+@")
"""The user and the password of a url."""
LINE = 1000
"""Characters of a line that are kept."""


def with_journal(settings: Settings, payload: dict[str, Json], lines: Sequence[str]) -> dict[str, Json]:
    """The payload with the lines as its member `journal`, where there are any."""
    if not lines:
        return payload
    secrets = [line for secret in _secrets(settings) for line in secret.splitlines() if line.strip()]
    return payload | {"journal": [mask(IN_URL.sub(rf"\1:{MASK}@", line), secrets)[:LINE] for line in lines]}


def _secrets(options: Any) -> Iterator[str]:
    """What the secret files hold that any option names; one that cannot be read is passed over."""
    for each in fields(options):
        value = getattr(options, each.name)
        if each.metadata.get("check") is checks.secret_file and isinstance(value, Path):
            with suppress(SecretUnreadable):
                yield secret_file.read(value)
        for inner in value.values() if isinstance(value, Mapping) else [value]:
            if is_dataclass(inner):
                yield from _secrets(inner)
