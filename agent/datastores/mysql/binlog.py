"""Read with `mariadb-binlog` the transactions that a MariaDB would send to a replica."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import Timer

from agent.datastores.base import DatastoreError
from agent.datastores.mysql.address import Address
from agent.datastores.mysql.dialect_mariadb import MARIADB
from agent.datastores.mysql.programs import Program, option_file, program

READER = "mariadb-binlog"
ANY_LOG = "binary-log"
"""A file name is a required argument; it is not used with a GTID position."""
EVENT = re.compile(rb"^#(\d+ +[\d:]+) server id \d+ .*\tGTID (\d+-\d+-\d+)")
CHANGED_ROW = re.compile(rb"^### (?:INSERT INTO|UPDATE|DELETE FROM) ")
NO_STATEMENT = (b"#", b"/*", b"SET ", b"START TRANSACTION", b"BEGIN", b"COMMIT", b"use ", b"DELIMITER", b"ROLLBACK")
"""Beginnings of lines that depend on the settings of a session or of the server that logged the transaction."""
REWRITTEN = re.compile(rb"/\*.*?\*/|\bif (?:not )?exists\b|\bor replace\b|[`\s]+", re.IGNORECASE)
"""Parts that a replica adds to a DDL statement (`slave_ddl_exec_mode`), and quotes that the server adds to its own."""
LINES_COMPARED = 1_000
NOT_SENT = ("not in the master's binlog", "Could not find GTID state")


class NotSent(DatastoreError):
    """The server has no binary log from that position on; the message contains the server's error."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction of the binary log: the time of the first write in the server's notation, GTID and content.

    `rows` is a digest of the verb and table of each changed row, `statements` of each statement without the parts
    that a replica rewrites; empty for none. The values of rows are not compared: each server's settings decide how
    many of them are logged.
    """

    written: str
    gtid: str
    rows: str
    statements: str

    def is_same_as(self, other: Transaction) -> bool | None:
        """Whether both are the same transaction; None if one log has rows and the other one statements."""
        if (self.written, self.gtid) != (other.written, other.gtid):
            return False
        if bool(self.rows) != bool(other.rows):
            return None
        return self.rows == other.rows if self.rows else self.statements == other.statements


def first_after(address: Address, position: str, programs: Path | None, timeout: float) -> Transaction | None:
    """The first transaction after a GTID position; None if the position is the newest.

    Raises `NotSent` if the server cannot send from there, `DatastoreError` if the log cannot be read.
    """
    argv = [
        program(READER, programs), "--read-from-remote-server", "--to-last-log", "--skip-gtid-strict-mode",
        "--base64-output=decode-rows", "--verbose", f"--start-position={position}", ANY_LOG,
    ]  # fmt: skip
    with option_file(address, MARIADB) as options, Program(argv, options, stdout=subprocess.PIPE) as reading:
        end = Timer(timeout, reading.kill)
        end.start()
        try:
            for line in reading.output:
                if found := EVENT.match(line):
                    written, gtid = " ".join(found[1].decode().split()), found[2].decode()
                    return Transaction(written, gtid, *_content(reading.output))
            reading.finish()
        except DatastoreError as error:
            if any(part in str(error) for part in NOT_SENT):
                raise NotSent(str(error)) from None
            raise
        finally:
            end.cancel()
    return None


def _content(lines: Iterable[bytes]) -> tuple[str, str]:
    """The digests of the rows and of the statements up to the next transaction."""
    rows, statements = Digest(), Digest()
    for line in lines:
        if EVENT.match(line) or LINES_COMPARED in (rows.lines, statements.lines):
            break
        if CHANGED_ROW.match(line):
            rows.add(line)
        elif not line.startswith(NO_STATEMENT):
            statements.add(b" ".join(REWRITTEN.sub(b" ", line).lower().split()))
    return str(rows), str(statements)


class Digest:
    """A digest of lines, empty for none."""

    def __init__(self) -> None:
        self.lines = 0
        self._hash = sha256()

    def add(self, line: bytes) -> None:
        self._hash.update(line)
        self.lines += 1

    def __str__(self) -> str:
        return self._hash.hexdigest() if self.lines else ""
