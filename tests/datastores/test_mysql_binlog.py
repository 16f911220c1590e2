"""Equality of a transaction in the logs of two MariaDB servers: its time, its GTID and its content."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.datastores.mysql import binlog
from agent.datastores.mysql.address import Address
from agent.datastores.mysql.binlog import Transaction
from tests.datastores.mysql_family import as_root, await_in_step
from tests.servers.mariadb import MariaDBServer

Pair = tuple[MariaDBServer, MariaDBServer]


@pytest.fixture(scope="module")
def pair(module_dir: Path) -> Iterator[Pair]:
    """A primary that logs statements where it may, and its replica."""
    with MariaDBServer(module_dir / "a") as primary:
        as_root(primary, "CREATE DATABASE app")
        as_root(primary, "CREATE TABLE app.t (x INT PRIMARY KEY, y TEXT, z TEXT)")
        as_root(primary, "INSERT INTO app.t VALUES (1, 'a', 'a'), (2, 'b', 'b')")
        with primary.replica(module_dir / "b") as replica:
            await_in_step(replica, primary)
            yield primary, replica


def logged(pair: Pair, statement: str, **replica: str) -> tuple[Transaction, Transaction]:
    """The transaction of a statement in both logs; `replica` are global settings of the replica."""
    primary, follower = pair
    as_root(follower, "STOP SLAVE")
    for name, value in replica.items():
        as_root(follower, f"SET GLOBAL {name} = {value}")
    as_root(follower, "START SLAVE")
    ((before,),) = as_root(primary, "SELECT @@gtid_binlog_pos")
    as_root(primary, statement)
    await_in_step(follower, primary)
    found = [binlog.first_after(Address("root", socket=str(each.socket)), before, None, 10) for each in pair]
    assert found[0] and found[1]
    return found[0], found[1]


@pytest.mark.parametrize("image", ["FULL", "MINIMAL"])
def test_row_events_are_equal_for_every_binlog_row_image(pair: Pair, image: str) -> None:
    mine, theirs = logged(pair, "UPDATE app.t SET y = UUID()", binlog_row_image=f"'{image}'")
    assert mine.rows and mine.rows == theirs.rows and mine.is_same_as(theirs)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE DATABASE one_more", "CREATE TABLE app.u (x INT)", "ALTER TABLE app.u ADD y INT", "DROP TABLE app.u",
        "CREATE VIEW app.v AS SELECT x FROM app.t", "DROP VIEW app.v", "CREATE USER u", "GRANT SELECT ON app.* TO u",
        "CREATE PROCEDURE app.p() BEGIN SELECT 1; SELECT 2; END", "DROP PROCEDURE app.p", "TRUNCATE app.t",
        "CREATE SEQUENCE app.s", "DROP DATABASE one_more",
    ],
)  # fmt: skip
def test_statement_events_are_equal_although_a_replica_rewrites_them(pair: Pair, statement: str) -> None:
    mine, theirs = logged(pair, statement, binlog_format="'ROW'")
    assert mine.statements and not mine.rows and mine.is_same_as(theirs)


def test_statement_event_and_row_event_are_not_comparable(pair: Pair) -> None:
    mine, theirs = logged(pair, "INSERT INTO app.t VALUES (3, 'c', 'c')", binlog_format="'ROW'")
    assert mine.is_same_as(theirs) is None and theirs.is_same_as(mine) is None


def test_events_with_different_time_or_content_differ(pair: Pair) -> None:
    first, _ = logged(pair, "CREATE DATABASE first")
    second, _ = logged(pair, "CREATE DATABASE second")
    assert second.is_same_as(first) is False
    assert second.is_same_as(replace(first, gtid=second.gtid, written=second.written)) is False
    assert first.is_same_as(replace(first, written="231114 22:13:20")) is False
    assert first.is_same_as(replace(first)) is True
