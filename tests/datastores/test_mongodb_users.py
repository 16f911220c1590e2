"""Changes of users, and changes with an unknown outcome.

On a server of MongoDB's protocol that keeps users for real, and on scripted members for what that server does not do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo.errors import OperationFailure

from agent.datastores.base import Datastore, DatastoreRefused, OutcomeUnknown, UserChanges
from agent.plan import Would
from tests.datastores.held import Held
from tests.datastores.mongodb_sets import replica_set, store_of
from tests.datastores.scripted_mongod import NoAnswer
from tests.datastores.test_mongodb import ADMIN, at, client_of, may
from tests.servers.mongodb import MongoServer
from tests.servers.process import await_that


@pytest.fixture(scope="module")
def server(module_dir: Path) -> Iterator[MongoServer]:
    with MongoServer(module_dir / "mongodb", password=ADMIN) as server:
        (server.dir / "password").write_text(f"{ADMIN}\n")
        yield server


@pytest.fixture
def store(server: MongoServer) -> Iterator[Datastore]:
    store = through(server, f"127.0.0.1:{server.port}")
    yield store
    if store.user_exists("app"):
        store.delete_user("app")


def through(server: MongoServer, address: str, **options: Any) -> Datastore:
    return at(f"mongodb://admin@{address}/?authSource=admin", password_file=str(server.dir / "password"), **options)


def roles_of(server: MongoServer, name: str) -> set[str]:
    user = server.command("usersInfo", {"user": name, "db": "admin"})["users"][0]
    return {f"{role['role']}@{role['db']}" for role in user["roles"]}


def test_password_databases_and_privileges_are_changed(store: Datastore, server: MongoServer) -> None:
    """Row 18."""
    created: Any = store.create_user("app", "horse-1234", ["app"], "readwrite")
    assert created["proof"] == "login"
    updated: Any = store.update_user("app", UserChanges(password="staple-1234", databases=["app", "second"]))
    assert updated["proof"] == "login" and roles_of(server, "app") == {"readWrite@app", "readWrite@second"}
    with pytest.raises(OperationFailure), client_of(server, "app", "horse-1234") as client:
        client.admin.command("ping")
    with client_of(server, "app", "staple-1234") as client:
        assert may(lambda: client.second.things.insert_one({"x": 1}))
    store.update_user("app", UserChanges(privileges="readonly"))
    assert roles_of(server, "app") == {"read@app", "read@second"}
    store.update_user("app", UserChanges(databases=["second"], privileges="owner"))
    assert roles_of(server, "app") == {"dbOwner@second"}
    store.update_user("app", UserChanges(databases=[]))
    with client_of(server, "app", "staple-1234") as client:
        assert not may(client.second.things.find_one)


def test_roles_that_the_agent_did_not_give_stay(store: Datastore, server: MongoServer) -> None:
    roles = [{"role": "read", "db": "app"}, {"role": "clusterMonitor", "db": "admin"}, {"role": "read", "db": "local"}]
    server.command("createUser", "app", pwd="horse-1234", roles=roles)
    store.update_user("app", UserChanges(databases=["second"]))
    assert roles_of(server, "app") == {"read@second", "clusterMonitor@admin", "read@local"}


def test_plan_of_a_change_agrees_with_it(store: Datastore, server: MongoServer) -> None:
    store.create_user("app", "horse-1234", ["app"], "readwrite")
    assert store.plan_update_user("app", UserChanges(databases=["app"])).would is Would.NOTHING
    assert store.plan_update_user("app", UserChanges(locked=False)).would is Would.NOTHING
    plan = store.plan_update_user("app", UserChanges(databases=["app", "b"], password="staple-1234"))
    assert plan.would is Would.CHANGE and plan.steps[0] == "give it the roles readWrite@app, readWrite@b"
    assert "staple" not in str(plan) and roles_of(server, "app") == {"readWrite@app"}


@pytest.mark.parametrize(
    "name, changes, words",
    [
        ("nobody", UserChanges(databases=[]), "no user is called nobody"),
        ("admin", UserChanges(databases=[]), "is the agent's own"),
        ("app", UserChanges(locked=True), "MongoDB cannot lock a user"),
        ("app", UserChanges(password="staple-1234", keep_old_password=True), "cannot keep the old password"),
        ("app", UserChanges(databases=["c"]), "different privileges in its databases"),
    ],
)
def test_change_that_mongodb_cannot_make_is_refused(
    name: str, changes: UserChanges, words: str, store: Datastore, server: MongoServer
) -> None:
    roles = [{"role": "read", "db": "a"}, {"role": "readWrite", "db": "b"}]
    server.command("createUser", "app", pwd="horse-1234", roles=roles)
    plan = store.plan_update_user(name, changes)
    assert plan.refusal is not None and words in plan.refusal.reason
    with pytest.raises(DatastoreRefused):
        store.update_user(name, changes)
    assert roles_of(server, "app") == {"read@a", "readWrite@b"}


def test_plans_of_deletions_list_the_discarded_data(store: Datastore, server: MongoServer) -> None:
    server.command("insert", "things", db="shop", documents=[{"x": number} for number in range(5)])
    plan = store.plan_delete_database("shop", force=False)
    assert plan.would is Would.DESTROY and [each.unit for each in plan.discards] == ["bytes", "documents"]
    assert plan.discards[1].amount == 5
    refused = store.plan_create_database("SHOP", {})
    assert refused.refusal is not None and "differ only by case" in refused.refusal.reason
    assert store.plan_delete_database("SHOP", force=True).refusal is not None  # row 31
    store.delete_database("shop", force=False)
    owned = store.plan_delete_user("admin", "app")
    assert owned.refusal is not None and "own nothing" in owned.refusal.reason


@pytest.mark.parametrize("answered", [False, True])
def test_change_without_an_answer_in_time_is_reported_as_unknown(
    answered: bool, store: Datastore, server: MongoServer
) -> None:
    """Row 11: the request reaches the server, or not, after the timeout."""
    way = server.dir / "held.sock"
    held_store = through(server, str(way).replace("/", "%2F"), timeout=1)
    with Held(way, server.port, b"\x02create\0", answered=answered) as held:
        with pytest.raises(OutcomeUnknown, match="it is unknown whether the database late was created"):
            held_store.create_database("late", {})
        held.release()
        await_that(lambda: store.database_exists("late"), what="the database appears later")
    store.delete_database("late", force=False)


# On scripted members


def test_outcome_is_unknown_if_no_majority_acknowledges_the_change() -> None:
    """Row 11: made on the primary, and lost if another member becomes primary."""
    with replica_set() as group:
        primary = group.members[0]
        held = {"writeConcernError": {"code": 64, "errmsg": "waiting for replication timed out"}}
        primary._create = primary._dropUser = lambda doc: held  # type: ignore[attr-defined]
        primary._connectionStatus = lambda doc: {"authInfo": {"authenticatedUsers": []}}  # type: ignore[attr-defined]
        acts: list[Callable[[], Any]] = [
            lambda: store_of(primary).create_database("shop", {}),
            lambda: store_of(primary).delete_user("app"),
        ]
        for act in acts:
            with pytest.raises(OutcomeUnknown, match="no majority of the replica set has acknowledged") as raised:
                act()
            assert raised.value.waits_for == "waiting for replication timed out"


def test_request_without_an_answer_is_killed_on_the_server() -> None:
    """The operation is found by its comment and killed; what it waits for is in the result."""
    with replica_set("PRIMARY") as group:
        primary, killed, marks = group.members[0], [], []

        def create(doc: Any) -> Any:
            marks.append(doc["comment"])
            raise NoAnswer

        def current(doc: Any) -> Any:
            assert doc["command.comment"] == marks[0]
            return {"inprog": [{"opid": 7, "waitingForLock": True}]}

        primary._create, primary._currentOp = create, current  # type: ignore[attr-defined]
        primary._killOp = lambda doc: killed.append(doc["op"]) or {}  # type: ignore[attr-defined,func-returns-value]
        with pytest.raises(OutcomeUnknown) as raised:
            store_of(primary).create_database("shop", {})
        assert raised.value.waits_for == "a lock" and killed == [7]


def test_secondary_refuses_changes_and_names_the_primary() -> None:
    with replica_set() as group:
        store = store_of(group.members[1])
        for plan in (
            store.plan_create_database("shop", {}),
            store.plan_delete_database("shop", force=True),
            store.plan_create_user("app", [], "owner"),
            store.plan_update_user("app", UserChanges(databases=[])),
            store.plan_delete_user("app", None),
        ):
            assert plan.refusal is not None
            assert f"the primary of its set is {group.members[0].address}" in plan.refusal.reason
