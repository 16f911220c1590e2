"""agentctl support-bundle: an archive for remote diagnosis, without secrets."""

import io
import json
import os
import platform
import re
import shutil
import sqlite3
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import fields, is_dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from agent import config
from agent.auth import configured_secrets
from agent.cli import agent_unit, exits
from agent.cli.exits import Usage
from agent.cli.host import as_owner, environ
from agent.cli.options import local
from agent.config import Settings, validators
from agent.kinds.base.kind import MASK
from agent.kinds.base.masking import mask
from agent.kinds.base.unit_log import IN_URL
from agent.util import drop_privileges
from agent.util.installed_version import installed_version

ACTIONS, LOG_LINES = 50, 2000
SHORTEST_TOKEN = 32
SECONDS = 30
"""Timeout of journalctl."""
QUOTED = r"""''.*?''|\\++".*?(?<!\\)\\++"|"(?:\\.|[^"\\])*"?|'(?:''|\\.|[^'\\])*'?"""
"""A value in quotes; the quotes may be escaped, doubled or unclosed."""
NAMED = re.compile(
    r"(?i)((?:(?:pass(?:word|wd|phrase|code|wort)|pwd|secret|token|(?:api|access|private|auth).?key|credential)[\w.-]{0,64}"
    r"|\b(?:\w{1,64}_auth|\w{0,64}pass|masterauth|session|otp|pin)\b)"
    r"\\*[\"']?\s*(?:=>|:=|[=:(]|%3[ad](?:%20)*|(?=[\"'])|(?:is|was)\s)\s*)"
    rf"(?:{QUOTED}|[\[{{(<].*|[^\s,;}}&]+)"
)
"""A value after the name of a secret, as in `password=x`, `"token": "x"` and `PASSWORD 'x'`."""
IN_STATEMENT = re.compile(rf"(?i)(\bidentified\s+(?:by|via|with)\b[^'\"]{{0,64}}|\bsetuser\s)(?:{QUOTED}|.*)")
IN_COMMAND = re.compile(
    r"((?i:--?(?:\w{1,32}-)?(?:password|passwd|pass|token|secret|auth)|\brequirepass|\bmasterauth)\s+"
    r"|\bAUTH(?:\s+\S+)?\s+"
    r"|\bsshpass\s+-p\s*"
    r"|\b(?:redis|valkey)-cli\b.{0,200}?\s-a\s+"
    r"|\b(?:mysql|mariadb)[\w-]{0,32}(?=\s).{0,200}?\s-p(?=\S)"
    r"|(?:\s-u|--user)[\s=]+[^\s:]{1,64}:)"
    r"\S+"
)
"""A secret after a space: in a configuration file or command of Redis, or as the value of an option."""
OF_USER = re.compile(r"(?<![\w/.@:-])([\w.+-]{1,64}):[^\s/@:'\"]{1,200}@(?=[\w.\[])")
"""User and password of an address without a scheme."""
PATH_OF_URL = re.compile(r"(\bhttps?://[^\s/?#\"'<>]+)[/?#][^\s\"'<>]+")
HEADER = re.compile(
    r"(?i)\b((?:proxy-)?authorization|cookie|set-cookie|x-[\w-]{0,32}auth[\w-]{0,32})(\\*[\"']?\s*[:=]\s*).*"
    r"|\b(bearer|basic)\s+\S+"
)
KEY = re.compile(r"-----BEGIN [A-Z ]+-----.*?(-----END [A-Z ]+-----|\Z)", re.DOTALL)
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?!\w)")
LONG = re.compile(r"(?<![\w+/-])[\w+/-]{32,}+(?:={1,2}+(?![\w/.-]))?")
"""A whole run of the characters of tokens, so that each is visited once; `_without_token` examines it."""
ROWS = """
    SELECT seq, id, kind, state, outcome, requester, user, scheduled_ts, finished_ts, finished_message
    FROM actions ORDER BY seq DESC LIMIT ?
"""


@local("support-bundle", examples=("agentctl support-bundle", "agentctl support-bundle --output /tmp/agent.tar.gz"))
@click.argument("file", required=False, type=click.Path())
@click.option("--output", type=click.Path(), help="The archive; default: ./agent-support-TIME.tar.gz.")
@click.option("--log", type=click.Path(), help="The agent's log; default: the journal of agent.service.")
@as_owner
def support_bundle_command(file: str | None, output: str | None, log: str | None) -> int:
    """Write an archive for others who diagnose a problem.

    It contains the configuration, the findings of doctor, versions, the last actions and the end of the log.

    Left out or masked: every secret of the configuration, arguments of commands and of actions, payloads, headers,
    paths of URLs, and any text that looks like a password, key or token. Only its owner can read the archive. Its files
    are plain text: check them before you pass it on. FILE is the configuration; default: the file that the agent would
    read.
    """
    variables = environ(file)
    if file:
        drop_privileges.become(Path(file))
    settings = config.load(variables)
    path = Path(output or time.strftime("agent-support-%Y%m%dT%H%M%SZ.tar.gz", time.gmtime()))
    # Before the switch to the agent's user, who may neither write in the caller's folder nor read the journal.
    descriptor = _new_file(path)
    found = {"log.txt": _tried(partial(_log, log))}
    drop_privileges.become(settings.agent.db)
    parts: Mapping[str, Callable[[], Any]] = {
        "versions.json": _versions,
        "configuration.json": lambda: _options(settings),
        "doctor.txt": lambda: _doctor(variables, settings),
        "actions.json": lambda: _actions(settings.agent.db),
    }
    found |= {name: _tried(part) for name, part in parts.items()}
    secrets = configured_secrets.read(configured_secrets.places(settings))
    _write(descriptor, {name: _text(redacted_values(part, secrets)) for name, part in found.items()})
    click.echo(str(path))
    click.echo(f"{', '.join(sorted(found))}: check them before you pass the archive on", err=True)
    return exits.DONE


def redacted(text: str, secrets: Sequence[str]) -> str:
    """The text with known secrets, and texts that look like secrets, masked."""
    text = KEY.sub(MASK, text)
    lines = []
    for line in text.splitlines():
        line = IN_URL.sub(rf"\1:{MASK}@", str(mask(line, secrets)))
        line = HEADER.sub(lambda found: f"{found[1]}{found[2]}{MASK}" if found[1] else f"{found[3]} {MASK}", line)
        line = OF_USER.sub(rf"\1:{MASK}@", PATH_OF_URL.sub(r"\1/…", line))
        for each in (IN_STATEMENT, IN_COMMAND, NAMED):
            line = each.sub(rf"\1{MASK}", line)
        lines.append(LONG.sub(_without_token, line))
    return "\n".join(lines) + "\n"


def _without_token(found: re.Match[str]) -> str:
    """Mask a text as long as a token or hash that contains a digit and is no uuid or path.

    After a dot only the part behind the first `+` counts, and before a dot only the part up to the last `+`. A regular
    expression would need quadratic time for this.
    """
    text, line = found[0], found.string
    after_dot, before_dot = line.endswith(".", 0, found.start()), line.startswith(".", found.end())
    start = text.find("+") + 1 or len(text) if after_dot else 0
    while start < len(text) and UUID.match(text, start):
        start = text.find("+", start) + 1 or len(text)
    end = max(text.rfind("+"), 0) if before_dot else len(text)
    if len(text[start:end].rstrip("=")) < SHORTEST_TOKEN or re.search("[0-9]", text[start:]) is None:
        return text
    return text[:start] + MASK + text[end:]


def redacted_values(value: Any, secrets: Sequence[str]) -> Any:
    """The value with `redacted` applied to each text in it, before it is written as JSON."""
    if isinstance(value, str):
        return redacted(value, secrets).removesuffix("\n")
    if isinstance(value, Mapping):
        return {name: redacted_values(each, secrets) for name, each in value.items()}
    return [redacted_values(each, secrets) for each in value] if isinstance(value, list) else value


def _tried(part: Callable[[], Any]) -> Any:
    """The part's result, or the reason of its failure: a broken part must not prevent the others."""
    try:
        return part()
    except Exception as error:
        return f"not available: {type(error).__name__}: {error}\n"


def _versions() -> dict[str, Any]:
    packages = {each.name: each.version for each in metadata.distributions()}
    return {
        "agent": installed_version(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "os": platform.freedesktop_os_release().get("PRETTY_NAME"),
        "packages": dict(sorted(packages.items())),
    }


def _options(section: Any) -> Any:
    """The options that are set: only the program of a command, the scheme and host of a URL, the names in a table."""
    found: dict[str, Any] = {}
    for option in fields(section):
        value, check = getattr(section, option.name), option.metadata.get("check")
        if value in (None, (), {}):
            continue
        if check is validators.command:
            found[option.name] = _program(value)
        elif check is validators.commands:
            found[option.name] = [_program(each) for each in value]
        else:
            found[option.name] = _shown(value)
    return found


def _shown(value: Any) -> Any:
    if is_dataclass(value):
        return _options(value)
    if isinstance(value, Mapping):
        sections = all(map(is_dataclass, value.values()))
        return {name: _options(each) if sections else type(each).__name__ for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(each) for each in value]
    if isinstance(value, bool | int | float):
        return value
    return re.sub(r"\b(\w+://)(?:[^/@\s]*@)?([^/?#\s]*)[^\s]*", r"\1\2/…", str(value))


def _program(command: Sequence[str]) -> str:
    return f"{command[0]} … ({len(command) - 1} arguments)" if len(command) > 1 else command[0]


def _doctor(variables: Mapping[str, str], settings: Settings) -> str:
    # Imported here: the checks import the kinds and their drivers.
    from agent.cli.doctor import configuration, examination

    _, found = configuration.look(variables)
    return "".join(f"{each.line}\n" for each in found + examination.look(settings))


def _actions(db: Path) -> list[dict[str, Any]]:
    """The newest actions, without their arguments, headers and payloads."""
    with closing(sqlite3.connect(f"{db.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(ROWS, (ACTIONS,))]


def _log(file: str | None) -> str:
    if file is not None:
        lines = Path(file).read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-LOG_LINES:])
    if shutil.which("journalctl") is None:
        return "not available: this host has no journalctl; name a file with --log\n"
    command = ["journalctl", "--no-pager", "--output=short-iso", f"--unit={agent_unit.NAME}", f"--lines={LOG_LINES}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False).stdout


def _text(part: Any) -> str:
    return part if isinstance(part, str) else json.dumps(part, indent=2, ensure_ascii=False)


def _new_file(path: Path) -> int:
    """Create the archive and return its descriptor. Raises `Usage` if that fails or the file exists."""
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Usage(f"{path} cannot be made: {error.strerror}: name another file with --output") from None


def _write(descriptor: int, texts: Mapping[str, str]) -> None:
    with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, data in _encoded(texts):
            entry = tarfile.TarInfo(f"agent-support/{name}")
            entry.size, entry.mode, entry.mtime = len(data), 0o600, int(time.time())
            archive.addfile(entry, io.BytesIO(data))


def _encoded(texts: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    for name, text in sorted(texts.items()):
        yield name, text.encode(errors="replace")
