"""Find foreign files in the directory of a database, which prevent its deletion."""

from __future__ import annotations

import os
import re
from pathlib import Path

from agent.datastores.mysql.session import Session

OWN = frozenset((
    ".opt", ".frm", ".ibd", ".isl", ".par", ".cfg", ".cfp", ".sdi", ".TRG", ".TRN", ".MYD", ".MYI", ".MAD", ".MAI",
    ".MRG", ".CSV", ".CSM", ".ARZ", ".ARM", ".ARN", ".TMD", ".BAK",
))  # fmt: skip
"""Extensions of the files that the server deletes with a database."""
SHOWN = 10


class DirectoryUnreadable(Exception):
    """The agent's user cannot list the directory; the message has the reason."""


def foreign(session: Session, database: str) -> list[str]:
    """The names of the foreign files. Raises `DirectoryUnreadable`."""
    directory = _directory(session, database)
    try:
        names = os.listdir(directory)
    except OSError as error:
        raise DirectoryUnreadable(f"{directory} cannot be listed: {error.strerror}") from None
    return sorted(name for name in names if not _is_own(directory / name))


def _is_own(path: Path) -> bool:
    return path.suffix in OWN and not path.is_dir()


def _directory(session: Session, database: str) -> Path:
    """The directory of a database. MySQL has no function for encoded names; non-ASCII names are not supported here."""
    datadir = Path(str(session.value("SELECT @@datadir")))
    if (encode := session.dialect.encode_file_name) is not None:
        return datadir / bytes(session.value(encode, database)).decode("ascii")
    if not database.isascii():
        raise DirectoryUnreadable(f"the directory of {database} in {datadir} is not known to the agent")
    return datadir / re.sub(r"[^A-Za-z0-9_]", lambda found: f"@{ord(found[0]):04x}", database)
