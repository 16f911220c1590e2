"""Actions of the AsyncAction API are the same on the Actions API, on every real server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agent.kinds.database import DatabaseResult
from agent.kinds.database_user import UserResult
from agent.kinds.replication import ReplicationResult
from tests.agent_process import PREFIX, AgentProcess, StartAgent, eventually
from tests.datastores import mysql_family, postgresql_nodes
from tests.kinds.configuring import over, toml

ACTIONS = "/api/3/stacks/default/actions"
PASSWORD = "correct horse battery staple"
USER = {"name": "joe", "password": PASSWORD, "databases": ["shop"], "privileges": "readwrite"}

CONFIGURATIONS: dict[str, Callable[[Any], str]] = {
    "postgres_server": postgresql_nodes.configured,
    "mariadb_server": mysql_family.configuration,
    "mysql_server": mysql_family.configuration,
    "mongo_server": lambda server: toml({"datastore": {"kind": "mongodb", "url": server.url}}),
    "redis_server": lambda server: toml(over(server)),
}


def begin(agent: AgentProcess, command: str, **parameters: Any) -> Any:
    answer = agent.post(ACTIONS, json={"command": command, **parameters})
    assert answer.status == 200, answer
    return answer.json["response"]


def perform(agent: AgentProcess, command: str, **parameters: Any) -> Any:
    """The finished AsyncAction, which must agree with the other wire."""
    begun = begin(agent, command, **parameters)
    assert begun["finished_at"] is begun["finished_success"] is None

    def finished() -> Any:
        action = agent.get(f"{ACTIONS}/{begun['id']}").json["response"]
        assert (action["finished_at"] is None) == (action["finished_success"] is None)
        return action if action["finished_at"] else None

    action = eventually(finished, f"{command} is finished", 60)
    newest = agent.get(f"{PREFIX}/finished").json[0]
    other = agent.info(newest["id"])["action"]
    assert (other["kind"], other["finished_ts"]) == (action["action"], action["finished_at"])
    assert other["state_payload"] == action["finished_result"]
    assert other["args"] == action["metadata"]
    return action


def done(agent: AgentProcess, command: str, **parameters: Any) -> Any:
    action = perform(agent, command, **parameters)
    assert action["finished_success"], action
    return action


@pytest.mark.parametrize("server", CONFIGURATIONS)
def test_users_and_databases_are_created_and_deleted(
    server: str, request: pytest.FixtureRequest, start_agent: StartAgent
) -> None:
    agent = start_agent(config=CONFIGURATIONS[server](request.getfixturevalue(server)))
    has_databases = server != "redis_server"
    if has_databases:
        created = done(agent, "database_create", name="shop")
        assert created["resource_type"] == "Database"
        assert DatabaseResult().validate(created["finished_result"]) == {}
    user = done(agent, "database_user_create", **USER)
    assert user["resource_type"] == "DatabaseUser"
    assert user["metadata"] == USER | {"password": "********"}
    assert UserResult().validate(user["finished_result"]) == {}
    again = perform(agent, "database_user_create", **USER)
    assert (again["finished_success"], again["finished_message"]) == (
        False,
        "the user joe exists already; choose another name, or use database_user_update",
    )
    assert again["resource_id"] == user["resource_id"]
    done(agent, "database_user_delete", name="joe")
    if has_databases:
        done(agent, "database_delete", name="shop")
        recreated = done(agent, "database_create", name="shop")
        assert recreated["resource_id"] == created["resource_id"]
        done(agent, "database_delete", name="shop", force=True)
    assert PASSWORD not in agent.whole_log()


@pytest.mark.parametrize("server", [name for name in CONFIGURATIONS if name != "mongo_server"])
def test_promotion_of_a_primary_is_done_without_a_change(
    server: str, request: pytest.FixtureRequest, start_agent: StartAgent
) -> None:
    agent = start_agent(config=CONFIGURATIONS[server](request.getfixturevalue(server)))
    promoted = done(agent, "promote_slave_db")
    assert promoted["finished_message"] == "this server is a primary already"
    assert ReplicationResult().validate(promoted["finished_result"]) == {}
    refused = perform(agent, "resync_slave_db")
    assert "set datastore.primary" in refused["finished_message"], "it was never a replica of another server"
    other = agent.post(ACTIONS, json={"command": "promote_slave_db", "server_uid": "another"})
    assert other.status == 400
    assert list(other.json["details"]) == ["server"]


def test_password_equal_to_a_word_of_the_agent_is_masked_and_works(redis_server: Any, start_agent: StartAgent) -> None:
    agent = start_agent(config=toml(over(redis_server)))
    done(agent, "database_user_create", **USER | {"password": "creating"})
    newest = agent.get(f"{PREFIX}/finished").json[0]
    payloads = [line["state_payload"] for line in agent.info(newest["id"])["history"]]
    assert payloads[1:] == [{"phase": "planned", "plan": {"would": "change"}}, None, None], "no text shows it"
    assert payloads[0]["user"] == "joe"
    done(agent, "database_user_delete", name="joe")
    for args in ({"command": "database_user_create", **USER}, {"command": "database_user_update", "name": "joe"}):
        short = agent.post(ACTIONS, json=args | {"password": "1234567"})
        assert short.status == 400 and list(short.json["details"]) == ["password"]
