"""A user is changed completely or not at all, on MySQL and MariaDB; MySQL can keep the old password valid."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest

from agent.datastores.base import DatastoreError, DatastoreRefused, OutcomeUnknown, UserChanges
from agent.datastores.mysql import grants as mysql_grants
from agent.datastores.mysql.datastore import MySQL
from agent.plan import Would
from tests.datastores.mysql_family import MAKES, AnyServer, as_root, login, refused, store
from tests.servers.process import await_that

OLD, NEW, NEWEST = "old-pass-1", "new-'pass\"-2", "newest-pass-3"


@pytest.fixture(scope="module", params=MAKES)
def server(request: pytest.FixtureRequest, module_dir: Path) -> Iterator[AnyServer]:
    with MAKES[request.param](module_dir / request.param) as started:
        for name in ("shop", "my_app"):
            as_root(started, f"CREATE DATABASE {name}")
            as_root(started, f"CREATE TABLE {name}.t (x INT)")
        yield started


@pytest.fixture
def driver(server: AnyServer) -> Iterator[MySQL]:
    """The driver, with a user `seller` who writes to `shop`."""
    driver = store(server)
    driver.create_user("seller", OLD, ["shop"], "readwrite")
    yield driver
    driver.delete_user("seller")


def may_log_in(server: AnyServer, password: str) -> bool:
    try:
        with login(server, "seller", password):
            return True
    except pymysql.err.OperationalError as error:
        assert error.args[0] in (1045, 3118, 4151), error
        return False


def test_new_password_replaces_the_old_one(server: AnyServer, driver: MySQL) -> None:
    assert driver.plan_update_user("seller", UserChanges(password=NEW)).would is Would.CHANGE
    done = driver.update_user("seller", UserChanges(password=NEW))
    assert isinstance(done, dict) and done["proved_by"] == "login"
    assert (may_log_in(server, OLD), may_log_in(server, NEW)) == (False, True)


def test_the_old_password_stays_valid_until_a_change_without_it(server: AnyServer, driver: MySQL) -> None:
    rotate = UserChanges(password=NEW, keep_old_password=True)
    if isinstance(server, MAKES["mariadb"]):
        assert driver.plan_update_user("seller", rotate).would is Would.REFUSE
        with pytest.raises(DatastoreRefused, match=r"MariaDB cannot keep the old password .* create a second user"):
            driver.update_user("seller", rotate)
        assert (may_log_in(server, OLD), may_log_in(server, NEW)) == (True, False)
        return
    for _ in range(2):  # also again, after an interruption
        driver.update_user("seller", rotate)
        assert (may_log_in(server, OLD), may_log_in(server, NEW)) == (True, True)
    driver.update_user("seller", UserChanges(password=NEW))
    assert (may_log_in(server, OLD), may_log_in(server, NEW)) == (False, True)


def test_databases_of_a_user_are_added_and_removed(server: AnyServer, driver: MySQL) -> None:
    driver.update_user("seller", UserChanges(databases=["shop", "my_app"]))
    with login(server, "seller", OLD, "my_app") as cursor:
        cursor.execute("INSERT INTO my_app.t VALUES (1)")
        cursor.execute("INSERT INTO shop.t VALUES (1)")
    with login(server, "seller", OLD, "shop") as cursor:
        plan = driver.plan_update_user("seller", UserChanges(databases=["my_app"]))
        assert (plan.would, plan.facts["connections_ended"]) == (Would.DISRUPT, 1)
        done = driver.update_user("seller", UserChanges(databases=["my_app"]))
        assert isinstance(done, dict) and done["connections_ended"] == 1
        with pytest.raises(pymysql.err.Error):
            cursor.execute("SELECT * FROM t")
    with login(server, "seller", OLD, "my_app") as cursor:
        cursor.execute("INSERT INTO my_app.t VALUES (1)")
        assert refused(cursor, "SELECT * FROM shop.t")


@pytest.mark.parametrize("path", [("readonly", "owner", "readwrite"), ("owner", "readonly", "owner")])
def test_privileges_become_exactly_those_of_the_level(server: AnyServer, driver: MySQL, path: tuple[str, ...]) -> None:
    for level in path:
        driver.update_user("seller", UserChanges(privileges=level))
        with login(server, "seller", OLD, "shop") as cursor:
            cursor.execute("SELECT * FROM t")
            assert refused(cursor, "INSERT INTO t VALUES (1)") == (level == "readonly")
            assert refused(cursor, "CREATE TABLE IF NOT EXISTS u (x INT)") == (level != "owner")


def test_locked_user_cannot_log_in_until_unlocked(server: AnyServer, driver: MySQL) -> None:
    with login(server, "seller", OLD, "shop"):
        done = driver.update_user("seller", UserChanges(locked=True))
        assert isinstance(done, dict) and done["connections_left"] == 1
    assert not may_log_in(server, OLD)
    driver.update_user("seller", UserChanges(locked=False, password=NEWEST))
    assert may_log_in(server, NEWEST)


def test_change_that_fails_half_way_is_rolled_back(
    server: AnyServer, driver: MySQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise DatastoreRefused("the server refuses")

    before = grants(server)
    monkeypatch.setattr(mysql_grants, "revoke", once(fails, mysql_grants.revoke))
    with pytest.raises(DatastoreRefused, match="the server refuses"):
        driver.update_user("seller", UserChanges(databases=["my_app"], privileges="owner", password=NEW))
    assert grants(server) == before and may_log_in(server, OLD)


def test_impossible_change_is_refused_by_plan_and_action(server: AnyServer, driver: MySQL) -> None:
    as_root(server, "GRANT SELECT, DELETE ON my_app.* TO seller")
    wrong = {
        "no user is called nobody": ("nobody", UserChanges(locked=True)),
        "the agent's own": ("root", UserChanges(locked=True)),
        "there is no database nowhere": ("seller", UserChanges(databases=["nowhere"])),
        "name `privileges`": ("seller", UserChanges(databases=["shop"])),
    }
    for why, (name, changes) in wrong.items():
        plan = driver.plan_update_user(name, changes)
        assert plan.would is Would.REFUSE, why
        with pytest.raises(DatastoreRefused, match=why):
            driver.update_user(name, changes)
    assert may_log_in(server, OLD)


def test_new_user_that_cannot_use_its_database_is_removed(server: AnyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mysql_grants, "grant", lambda *_: None)
    with pytest.raises(
        DatastoreRefused, match=r"the user hidden was dropped again, because its login failed: .*denied"
    ):
        store(server).create_user("hidden", OLD, ["shop"], "readonly")
    assert as_root(server, "SELECT host FROM mysql.user WHERE user = 'hidden'") == []


def test_statement_that_exceeds_the_timeout_is_killed_on_the_server(
    server: AnyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's own limit is disabled: the agent's timeout comes first. MariaDB ends statements of a lost client."""
    waited = r"not done within 2 s: .*(its state was: .*lock|it had ended before the agent could read its state)"
    monkeypatch.setattr("agent.datastores.mysql.session.Session.wait_at_most", lambda *_: None)
    connection = pymysql.connect(unix_socket=str(server.socket), user="root", ssl_disabled=True)
    try:
        with connection.cursor() as holder:
            holder.execute("FLUSH TABLES WITH READ LOCK")
            with pytest.raises(DatastoreError, match=waited) as raised:
                store(server, timeout=2).create_database("late", {})
            assert not isinstance(raised.value, OutcomeUnknown)
            await_that(lambda: "late" not in str(as_root(server, "SHOW FULL PROCESSLIST")), 10, "it was ended")
    finally:
        connection.close()
    assert not store(server).database_exists("late")


def once(first: object, then: object) -> object:
    """A function that is `first` at the first call and `then` afterwards."""
    calls: list[int] = []

    def call(*args: object) -> object:
        calls.append(1)
        return (first if len(calls) == 1 else then)(*args)  # type: ignore[operator]

    return call


def grants(server: AnyServer) -> list[str]:
    return sorted(str(row[0]) for row in as_root(server, "SHOW GRANTS FOR seller"))
