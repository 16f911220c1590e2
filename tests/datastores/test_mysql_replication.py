"""Promotion after applying received transactions, a rebuild by dump, and the documented privileges."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Any

import pymysql
import pytest

from agent.datastores.base import DatastoreError, DatastoreRefused, DatastoreUnreachable
from agent.datastores.replication_requests import PromoteRequest, ResyncRequest
from agent.util.stop import Stop
from tests.datastores.mysql_family import (
    MAKES,
    SYNC_PASSWORD,
    AnyServer,
    as_root,
    await_in_step,
    login,
    password_file,
    primary_options,
    store,
    tcp,
    with_syncer,
)
from tests.datastores.reports import into, nowhere
from tests.servers.process import await_that

FORCE = PromoteRequest(force=True)  # the primary of these tests accepts writes all the time
PAGE = Path(__file__).parent.parent.parent / "docs" / "mysql.rst"
PASSWORD = "agent's own"


@pytest.fixture(scope="module", params=MAKES)
def pair(request: pytest.FixtureRequest, module_dir: Path) -> Iterator[tuple[AnyServer, AnyServer]]:
    """A primary and its replica."""
    with MAKES[request.param](module_dir / "a") as primary:
        with_syncer(primary)
        as_root(primary, "CREATE DATABASE app")
        as_root(primary, "CREATE TABLE app.t (x INT PRIMARY KEY)")
        for statement in documented_grants(primary):
            as_root(primary, statement)
        as_root(primary, "CREATE USER almighty IDENTIFIED BY %s", SYNC_PASSWORD)
        as_root(primary, "GRANT ALL ON *.* TO almighty WITH GRANT OPTION")
        with primary.replica(module_dir / "b") as replica:
            yield primary, replica


def documented_grants(server: AnyServer) -> list[str]:
    """The statements of docs/mysql.rst for this make, unchanged except for the password."""
    make = "MariaDB" if isinstance(server, MAKES["mariadb"]) else "MySQL"
    block = PAGE.read_text().split(f".. {make}: the agent's own user\n")[1].split("::\n\n", 1)[1]
    lines = [line.strip() for line in re.split(r"\n(?=\S)", block)[0].splitlines()]
    return [each.replace("'...'", f'"{PASSWORD}"') for each in " ".join(lines).split(";") if each.strip()]


@pytest.fixture
def own(tmp_path: Path) -> Callable[..., Any]:
    """The driver as the documented user, without further rights."""

    def driver(server: AnyServer, **more: Any) -> Any:
        return store(server, url=tcp(server, "agent"), password_file=password_file(tmp_path, PASSWORD), **more)

    return driver


def test_documented_privileges_are_sufficient_on_a_primary(
    pair: tuple[AnyServer, AnyServer], own: Callable[..., Any]
) -> None:
    driver = own(pair[0])
    assert driver.role().name == "primary"
    driver.create_database("shop", {"charset": "utf8mb4"})
    for privileges in ("readonly", "readwrite", "owner"):
        driver.create_user(privileges, "pw", ["shop"], privileges)
    with login(pair[0], "owner", "pw", "shop") as cursor:
        cursor.execute("CREATE VIEW v AS SELECT 1 AS x")
        with pytest.raises(DatastoreRefused, match=r"the definer of view shop\.v"):
            driver.delete_user("owner")
        assert driver.delete_database("shop", force=True) == {"connections_ended": 1}
    for privileges in ("readonly", "readwrite", "owner"):
        driver.delete_user(privileges)
        assert not driver.user_exists(privileges)


def test_promotion_waits_until_received_transactions_are_applied(
    pair: tuple[AnyServer, AnyServer], own: Callable[..., Any], tmp_path: Path
) -> None:
    primary, replica = pair
    await_in_step(replica, primary)
    driver = own(replica, timeout=2, **primary_options(primary, tmp_path))
    assert not driver.is_dirty(), "which a promotion asks first"
    connection = pymysql.connect(unix_socket=str(replica.socket), user="root", ssl_disabled=True)
    with closing(connection), connection.cursor() as reader:
        reader.execute("LOCK TABLES app.t READ")
        as_root(primary, "INSERT INTO app.t VALUES (1)")
        await_that(lambda: "waiting for" in str(as_root(replica, "SHOW PROCESSLIST")).lower(), 10, "the applier waits")
        await_that(lambda: behind(replica), 10, "the row is received")
        with pytest.raises(DatastoreUnreachable, match="has not applied everything that it received after 2 s"):
            driver.promote(Stop(), FORCE)
        stop = Stop()
        stop.request("cancelled")
        with pytest.raises(DatastoreRefused, match="cancelled"):
            driver.promote(stop, FORCE)
        await_that(lambda: driver.role().streaming, 10, "it follows as before")
        promotion = Thread(target=own(replica, timeout=20).promote, args=[Stop(), FORCE])
        promotion.start()
        await_that(lambda: "'No'" in str(as_root(replica, status(replica))[0]), 10, "it receives no more")
        assert not driver.role().writable
        reader.execute("UNLOCK TABLES")
        promotion.join(20)
    assert as_root(replica, "SELECT x FROM app.t") == [(1,)]
    assert driver.role().writable and driver.role().primary is None


def test_promoted_server_is_rebuilt_by_a_dump_and_follows_again(
    pair: tuple[AnyServer, AnyServer], own: Callable[..., Any], tmp_path: Path
) -> None:
    primary, replica = pair
    as_root(replica, "INSERT INTO app.t VALUES (77)")
    as_root(replica, "CREATE DATABASE only_here")
    phases: list[str] = []
    driver = store(
        replica,
        url=tcp(replica, "almighty"),
        password_file=password_file(tmp_path, SYNC_PASSWORD),
        **primary_options(primary, tmp_path),
    )
    with pytest.raises(DatastoreRefused, match="transactions that"):
        driver.resync(None, nowhere())
    result = driver.resync(None, into(phases), ResyncRequest(force=True))
    assert result["method"] == "dump" and result["where"] == "in place" and list(dict.fromkeys(phases)) == [
        "waiting for this server", "checking the primary", "dumping the primary", "deleting the old data",
        "copying the data", "comparing the copy", "waiting until it follows its primary",
    ]  # fmt: skip
    assert as_root(replica, "SELECT x FROM app.t") == [(1,)]
    assert not store(replica).database_exists("only_here") and not store(replica).is_dirty()
    as_root(primary, "INSERT INTO app.t VALUES (2)")
    await_that(lambda: len(as_root(replica, "SELECT x FROM app.t")) == 2, 10, "the row of the primary")
    assert own(replica).role().streaming and not own(replica).role().writable


def test_persisted_settings_are_active_after_a_restart(
    pair: tuple[AnyServer, AnyServer], own: Callable[..., Any]
) -> None:
    replica = pair[1]
    driver = own(replica)
    message = driver.disable_replication(Stop())
    assert "a restart" in message["kept"] and message["followed"] == [f"127.0.0.1:{pair[0].port}"]
    assert "has shut down" in driver.shut_down(20, Stop())
    replica.start()
    role = driver.role()
    assert role.primary is None
    assert role.writable == isinstance(replica, MAKES["mariadb"])  # which persists no setting, and reports this
    assert "until a restart" in message["kept"] or not role.writable


def test_resync_from_an_impossible_primary_is_refused_without_a_change(
    pair: tuple[AnyServer, AnyServer], tmp_path: Path
) -> None:
    primary, replica = pair
    before = as_root(replica, "SELECT * FROM app.t")
    with pytest.raises(DatastoreRefused, match=r"set datastore\.primary"):
        store(replica).resync(None, nowhere())
    copy = ResyncRequest(mode="copy", force=True)
    with pytest.raises(DatastoreRefused, match="is this server itself"):
        store(replica, **primary_options(replica, tmp_path)).resync(None, nowhere())
    wrong = {"primary": tcp(primary, "syncer"), "primary_password_file": password_file(tmp_path, "wrong-horse")}
    with pytest.raises(DatastoreRefused, match="Access denied") as raised:
        store(replica, **wrong).resync(None, nowhere())
    assert "horse" not in str(raised.value)
    as_root(primary, "CREATE USER poor IDENTIFIED BY %s", PASSWORD)
    more = ", SLAVE MONITOR" if isinstance(primary, MAKES["mariadb"]) else ""
    as_root(primary, f"GRANT SELECT, PROCESS, REPLICATION CLIENT{more} ON *.* TO poor")
    poor = {"primary": tcp(primary, "poor"), "primary_password_file": password_file(tmp_path, PASSWORD)}
    with pytest.raises(DatastoreRefused, match=r"the user poor lacks REPLICATION SLAVE"):
        store(replica, **poor).resync(None, nowhere(), copy)
    options = primary_options(primary, tmp_path) | {"programs": str(tmp_path)}
    with pytest.raises(DatastoreError, match=r"the program \S+ is not found; set datastore\.programs to its folder"):
        store(replica, **options).resync(None, nowhere(), copy)
    assert as_root(replica, "SELECT * FROM app.t") == before and not store(replica).is_dirty()


def status(server: AnyServer) -> str:
    return "SHOW SLAVE STATUS" if isinstance(server, MAKES["mariadb"]) else "SHOW REPLICA STATUS"


def behind(server: AnyServer) -> bool:
    """Whether it has received transactions that it has not applied."""
    from agent.datastores.mysql.session import connect

    with connect(store(server).at, 5) as session:
        [row] = session.replica_status()
        return not session.value(session.dialect.gtids_applied, row[session.dialect.received])
