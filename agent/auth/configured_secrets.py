"""The secrets of the configuration, for masking the output of commands."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from agent.auth import secret_file
from agent.auth.secret_file import SecretUnreadable
from agent.config import Settings, validators
from agent.config.option import walk

DIGEST = re.compile(r"\b[0-9a-f]{64}\b")
"""The hash of a token in the tokens file."""
SECRET_OPTION = re.compile("password|secret|token", re.IGNORECASE)
"""The name of an option of a URL whose value is a secret, such as `sslpassword`."""
SHORTEST_LINE = 8
"""Minimum characters of a line of a key that is masked; a shorter line, such as the last, may occur in any text."""


@dataclass(frozen=True)
class Places:
    """The places of a configuration's secrets. Files are read at each call, because a secret may be replaced."""

    texts: Sequence[str]
    """Secrets in the URLs of options."""
    files: Sequence[Path]
    tokens: Path | None


def places(settings: Settings) -> Places:
    """The places of all secrets of these settings."""
    options = list(walk(settings))
    files = [value for _, check, value in options if check is validators.secret_file and value is not None]
    if settings.api.tls is not None:
        files.append(settings.api.tls.key)
    return Places([text for _, _, value in options for text in _of_text(value)], files, settings.api.tokens)


def read(places: Places) -> list[str]:
    """The passwords, keys and hashes of tokens in these places, as text and percent-encoded.

    A file that cannot be read has no secret that could be printed.
    """
    texts = [*places.texts, *(each for file in places.files for each in _of_file(file))]
    if places.tokens is not None:
        texts += DIGEST.findall(_text(places.tokens))
    found = {each for each in texts if each.strip()}
    return sorted(found | {quote(each, safe="") for each in found})


def _of_text(value: Any) -> Iterator[str]:
    """The secrets in URLs of an option, also of a list or table of texts."""
    if isinstance(value, str):
        yield from _of_url(value)
    elif isinstance(value, Mapping):
        yield from _of_text(list(value.values()))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _of_text(each)


def _of_file(path: Path) -> Iterator[str]:
    """The secret of a file: each line of a key with several lines, and the password of a URL."""
    lines = _text(path).splitlines()
    for line in lines:
        if len(lines) == 1 or (len(line) >= SHORTEST_LINE and not line.startswith("-----")):
            yield line
            yield from _of_url(line)


def _text(path: Path) -> str:
    with suppress(SecretUnreadable):
        return secret_file.read(path)
    return ""


def _of_url(text: str) -> Iterator[str]:
    """The password of a URL and of options such as `sslpassword`, encoded and decoded; empty for other texts."""
    if "://" not in text:
        return
    with suppress(ValueError):
        parts = urlsplit(text)
        if parts.password:
            yield from (parts.password, unquote(parts.password))
        yield from (value for name, value in parse_qsl(parts.query) if SECRET_OPTION.search(name))
