"""Read with `mariadb-binlog` what a MariaDB would send to a replica."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
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
NOT_SENT = ("not in the master's binlog", "Could not find GTID state")


class NotSent(DatastoreError):
    """The server has no binary log from that position on; the message contains the server's error."""


@dataclass(frozen=True, slots=True)
class Event:
    """The time at which a transaction was first written, in the server's notation, and its GTID."""

    written: str
    gtid: str


def first_after(address: Address, position: str, programs: Path | None, timeout: float) -> Event | None:
    """The first transaction after a GTID position; None if the position is the newest.

    Raises `NotSent` if the server cannot send from there, `DatastoreError` if the log cannot be read.
    """
    argv = [
        program(READER, programs), "--read-from-remote-server", "--to-last-log", "--skip-gtid-strict-mode",
        f"--start-position={position}", ANY_LOG,
    ]  # fmt: skip
    with option_file(address, MARIADB) as options, Program(argv, options, stdout=subprocess.PIPE) as reading:
        end = Timer(timeout, reading.kill)
        end.start()
        try:
            for line in reading.output:
                if found := EVENT.match(line):
                    return Event(" ".join(found[1].decode().split()), found[2].decode())
            reading.finish()
        except DatastoreError as error:
            if any(words in str(error) for words in NOT_SENT):
                raise NotSent(str(error)) from None
            raise
        finally:
            end.cancel()
    return None
