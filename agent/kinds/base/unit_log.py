"""Add the last log lines of a failed unit to a payload, with the secrets of the configuration masked."""

import re
from collections.abc import Sequence

from agent.auth import configured_secrets
from agent.config import Settings
from agent.kinds.base.kind import MASK
from agent.kinds.base.masking import mask
from agent.models import Json

IN_URL = re.compile(r"(?<![^\s@])(?=[^\s@]++@)([^\s@]*?://[^\s/@:]*+):[^\s@]++@")
"""User and password of a URL, with the text before them. Searches for the `@` once, not after each `://`."""
LINE = 1000
"""Maximum characters of a line; the rest is cut."""


def with_journal(settings: Settings, payload: dict[str, Json], lines: Sequence[str]) -> dict[str, Json]:
    """The payload, with the lines as member `journal` unless there are none."""
    if not lines:
        return payload
    secrets = configured_secrets.read(configured_secrets.places(settings))
    return payload | {"journal": [mask(IN_URL.sub(rf"\1:{MASK}@", line), secrets)[:LINE] for line in lines]}
