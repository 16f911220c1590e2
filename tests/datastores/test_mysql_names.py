"""Names of databases on the server: the directory, the case, wildcards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.datastores.base import DatastoreRefused
from agent.datastores.mysql import files
from agent.datastores.mysql.session import connect
from agent.plan import Would
from tests.datastores.mysql_family import MAKES, AnyServer, as_root, login, refused, store
from tests.servers.mariadb import MariaDBServer
from tests.servers.mysql import MySQLServer
from tests.servers.process import run


class FoldingMariaDB(MariaDBServer):
    """Names differ in more than case."""

    settings = f"{MariaDBServer.settings}lower_case_table_names = 1\n"


class FoldingMySQL(MySQLServer):
    """The same; MySQL gets the option when its data directory is created."""

    @property
    def settings(self) -> str:  # type: ignore[override]
        return f"{super().settings}lower_case_table_names = 1\n"

    def create(self) -> FoldingMySQL:
        run(self.as_owner(str(self.server), f"--defaults-file={self.config}", "--initialize-insecure"))
        return self


@pytest.fixture(scope="module", params=MAKES)
def server(request: pytest.FixtureRequest, module_dir: Path) -> Iterator[AnyServer]:
    with MAKES[request.param](module_dir / request.param) as started:
        yield started


@pytest.fixture(scope="module", params=(FoldingMariaDB, FoldingMySQL))
def folding(request: pytest.FixtureRequest, module_dir: Path) -> Iterator[AnyServer]:
    with request.param(module_dir / "folding") as started:
        yield started


@pytest.mark.parametrize("name", ["shop", "my-shop x", "shöp"])
def test_database_with_a_foreign_file_is_refused_before_any_table_is_dropped(server: AnyServer, name: str) -> None:
    as_root(server, f"CREATE DATABASE `{name}`")
    as_root(server, f"CREATE TABLE `{name}`.t (x INT)")
    directory = next(each.parent for each in server.data.glob("*/t.ibd"))
    foreign = directory / "backup.sql"
    foreign.write_text("a dump")
    driver, seen = store(server), isinstance(server, MAKES["mariadb"]) or name.isascii()
    plan = driver.plan_delete_database(name, force=True)
    assert (plan.would, bool(plan.warnings)) == ((Would.REFUSE, False) if seen else (Would.DESTROY, True))
    with pytest.raises(DatastoreRefused, match=r"contains foreign files: backup\.sql; move|nothing was deleted: move"):
        driver.delete_database(name, force=True)
    assert as_root(server, "SELECT table_name FROM information_schema.tables WHERE table_schema = %s", name) == [("t",)]
    foreign.unlink()
    assert driver.plan_delete_database(name, force=True).would is Would.DESTROY
    driver.delete_database(name, force=True)
    assert not directory.exists()


def test_invisible_foreign_file_fails_the_deletion_with_the_dropped_tables(
    server: AnyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_root(server, "CREATE DATABASE shop")
    for table in ("t", "u"):
        as_root(server, f"CREATE TABLE shop.{table} (x INT)")
    foreign = server.data / "shop" / "backup.sql"
    foreign.write_text("a dump")

    def unreadable(*_: object) -> list[str]:
        raise files.DirectoryUnreadable("/data/shop cannot be listed: Permission denied")

    monkeypatch.setattr(files, "foreign", unreadable)
    assert "cannot be listed: Permission denied" in store(server).plan_delete_database("shop", force=False).warnings[0]
    gone = (
        "tables of shop are gone: t, u; 0 are left" if isinstance(server, MAKES["mariadb"]) else "nothing was deleted"
    )
    with pytest.raises(DatastoreRefused, match=f"1010.*{gone}"):
        store(server).delete_database("shop", force=False)
    foreign.unlink()
    store(server).delete_database("shop", force=False)


def test_no_file_made_by_the_server_counts_as_foreign(server: AnyServer) -> None:
    driver = store(server)
    driver.create_database("full", {})
    offered = {row[0] for row in as_root(server, "SHOW ENGINES")}
    engines = sorted({"InnoDB", "MyISAM", "CSV", "ARCHIVE", "MRG_MyISAM", "Aria"} & offered)
    for engine in engines:
        union = " UNION = ()" if engine == "MRG_MyISAM" else ""
        as_root(server, f"CREATE TABLE full.t_{engine} (x INT NOT NULL) ENGINE = {engine}{union}")
    as_root(server, "CREATE TABLE full.parts (x INT) PARTITION BY HASH (x) PARTITIONS 2")
    as_root(server, "CREATE VIEW full.v AS SELECT 1 AS x")
    as_root(server, "CREATE TRIGGER full.g BEFORE INSERT ON full.t_InnoDB FOR EACH ROW SET NEW.x = 1")
    with connect(driver.at, 5) as session:
        assert files.foreign(session, "full") == []
    plan = driver.plan_delete_database("full", force=False)
    assert plan.facts["tables"] == len(engines) + 2 and plan.discards[0].amount == plan.facts["bytes"] > 0
    driver.delete_database("full", force=False)


def test_user_of_a_database_with_an_underscore_works_with_partial_revokes(server: AnyServer) -> None:
    if isinstance(server, MAKES["mysql"]):
        as_root(server, "SET GLOBAL partial_revokes = ON")
    driver = store(server)
    for name in ("my_app", "myxapp"):
        driver.create_database(name, {})
        as_root(server, f"CREATE TABLE {name}.t (x INT)")
    driver.create_user("seller", "pass-word-1", ["my_app"], "readwrite")
    with login(server, "seller", "pass-word-1", "my_app") as cursor:
        cursor.execute("INSERT INTO t VALUES (1)")
        assert refused(cursor, "SELECT * FROM myxapp.t")
    driver.delete_user("seller")
    for name in ("my_app", "myxapp"):
        driver.delete_database(name, force=True)
    if isinstance(server, MAKES["mysql"]):
        as_root(server, "SET GLOBAL partial_revokes = OFF")


def test_database_used_under_another_case_of_its_name_is_in_use(folding: AnyServer) -> None:
    driver = store(folding)
    driver.create_database("shop", {})
    driver.create_user("seller", "pass-word-1", ["SHOP"], "readwrite")
    with login(folding, "seller", "pass-word-1", "shop") as cursor:
        cursor.execute("SELECT 1")
        plan = driver.plan_delete_database("SHOP", force=False)
        assert plan.would is Would.REFUSE and "in use by 1 connections" in plan.summary
        with pytest.raises(DatastoreRefused, match="in use by 1 connections; force ends them"):
            driver.delete_database("SHOP", force=False)
        assert driver.plan_delete_database("SHOP", force=True).facts["connections"] == 1
        assert driver.delete_database("SHOP", force=True) == {"connections_ended": 1}
    assert not driver.database_exists("shop")
    driver.delete_user("seller")
