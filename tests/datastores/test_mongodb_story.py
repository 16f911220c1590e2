"""Databases and users over HTTP, on a server of MongoDB's protocol, also after a kill of the agent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest

from tests.agent_process import AgentProcess, StartAgent
from tests.datastores.held import Held
from tests.datastores.test_mongodb import client_of
from tests.kinds.configuring import toml
from tests.servers.mongodb import MongoServer

ADMIN = "correct-horse"
USER = {"name": "o'app", "password": "battery-staple", "databases": ["shop"], "privileges": "readwrite"}


@pytest.fixture(scope="module")
def server(module_dir: Path) -> Iterator[MongoServer]:
    with MongoServer(module_dir / "mongodb", password=ADMIN) as server:
        (server.dir / "secret").write_text(ADMIN)
        yield server


def agent_of(server: MongoServer, start_agent: StartAgent, address: str) -> AgentProcess:
    datastore = {
        "kind": "mongodb",
        "url": f"mongodb://admin@{address}/?authSource=admin",
        "password_file": str(server.dir / "secret"),
        "timeout": 5,
    }
    return start_agent(config=toml({"datastore": datastore, "service": {"unit": "mongod.service"}}))


def ended(agent: AgentProcess, kind: str, args: Any) -> tuple[str, Any]:
    action = agent.await_final(agent.schedule(kind, args))["action"]
    return action["state"], action["state_payload"]


def test_database_and_user_are_created_used_and_deleted_over_http(server: MongoServer, start_agent: StartAgent) -> None:
    agent = agent_of(server, start_agent, f"127.0.0.1:{server.port}")
    offered = {each["kind"]: each for each in agent.get("/api/unstable/actions/available").json}
    assert "Experimental on MongoDB" in offered["resync_slave_db"]["description"]
    assert ended(agent, "database_create", {"name": "shop"}) == (
        "DONE",
        {"database": "shop", "server": {"collection": "_created"}},
    )
    state, payload = ended(agent, "database_create", {"name": "shop"})
    assert state == "FAILED" and "the database shop exists already" in payload["message"]
    assert ended(agent, "database_user_create", USER)[0] == "DONE"
    assert "the user o'app exists already" in ended(agent, "database_user_create", USER)[1]["message"]
    with client_of(server, "o'app", "battery-staple") as client:
        client.shop.things.insert_one({"x": 1})
        with pytest.raises(pymongo.errors.OperationFailure, match="not authorized"):
            client.other.things.find_one()
    assert ended(agent, "promote_slave_db", {})[0] == "DONE"
    assert ended(agent, "database_user_delete", {"name": "o'app"})[0] == "DONE"
    assert "no user is called o'app" in ended(agent, "database_user_delete", {"name": "o'app"})[1]["message"]
    assert ended(agent, "database_delete", {"name": "admin"})[0] == "FAILED"
    assert ended(agent, "database_delete", {"name": "shop", "force": True})[0] == "DONE"
    assert "no database is called shop" in ended(agent, "database_delete", {"name": "shop"})[1]["message"]
    state, text = ended(agent, "database_create", {"name": "a$b"})
    assert state == "FAILED" and "cannot contain the character '$'" in text["message"]
    answers = str([agent.info(each["id"]) for each in agent.finished()])
    kept = agent.log_text().encode() + agent.db.read_bytes() + answers.encode()
    assert b"staple" not in kept and b"horse" not in kept


@pytest.mark.parametrize(
    "word, answered", [(b"listDatabases\0", True), (b"\x02create\0", False), (b"\x02create\0", True)]
)
def test_database_is_created_despite_a_kill_of_the_agent(
    word: bytes, answered: bool, server: MongoServer, start_agent: StartAgent
) -> None:
    way = server.dir / "held.sock"
    agent = agent_of(server, start_agent, str(way).replace("/", "%2F"))
    with Held(way, server.port, word, answered=answered) as held:
        action = agent.schedule("database_create", {"name": "killed"})
        assert held.reached.wait(10)
        agent.kill_all()
        held.release()
        agent.start()
        info = agent.await_final(action)["action"]
        assert info["state"] == "DONE", info
        assert ended(agent, "database_delete", {"name": "killed"})[0] == "DONE"
