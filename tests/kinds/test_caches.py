"""clear_caches on a real Redis, a real memcached and a folder: the freed amount is reported, nothing else changes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent import config
from agent.errors import ConfigError
from agent.kinds.base import NotOffered
from agent.kinds.clear_caches import ClearCaches, ClearCachesResult
from tests.agent_process import AgentProcess, StartAgent, eventually
from tests.datastores.held import Held
from tests.kinds.configuring import toml
from tests.kinds.wires import Ask, by_command, by_form, by_schedule, refused
from tests.servers.fixtures import temporary_directory
from tests.servers.memcached import MemcachedServer
from tests.servers.redis import RedisServer

KIND = "clear_caches"
MANY = 20_000


@dataclass(frozen=True)
class Caches:
    """The three caches of a node and where they are."""

    directory: Path
    redis: RedisServer
    memcached: MemcachedServer

    @property
    def folder(self) -> Path:
        return self.directory / "pages"

    def fill(self) -> None:
        self.redis.cli("mset", "a", "1", "b", "2")
        self.memcached.set("item", "1")
        (self.folder / "sub").mkdir(parents=True, exist_ok=True)
        (self.folder / "sub" / "page").write_text("12345")

    def held(self) -> tuple[int, str | None, bool]:
        """The content of each: number of keys, the item, whether the page exists."""
        return int(self.redis.cli("dbsize")), self.memcached.get("item"), any(self.folder.iterdir())

    def document(self) -> dict[str, Any]:
        return {
            "caches": {
                "sessions": {"kind": "redis", "url": f"unix://{self.redis.socket}", "timeout": 20},
                "items": {"kind": "memcached", "url": self.memcached.url},
                "pages": {"kind": "folder", "path": str(self.folder)},
            }
        }


@pytest.fixture(scope="module")
def caches() -> Iterator[Caches]:
    for directory in temporary_directory():
        with (
            RedisServer(directory / "redis", appendonly=False) as redis,
            MemcachedServer(directory / "memcached") as memcached,
        ):
            yield Caches(directory, redis, memcached)


@pytest.fixture(autouse=True)
def filled(caches: Caches) -> None:
    caches.fill()


@pytest.fixture(scope="module")
def agent(caches: Caches, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    started = AgentProcess(tmp_path_factory.mktemp("agent"), config=toml(caches.document())).start()
    yield started
    started.close()


@pytest.mark.parametrize("ask", [by_schedule, by_command, by_form])
def test_all_caches_are_cleared_in_order_and_a_second_time_frees_nothing(
    ask: Ask, agent: AgentProcess, caches: Caches
) -> None:
    action = ask(agent, KIND)
    assert action["state"] == "DONE", action
    assert ClearCachesResult().validate(action["state_payload"]) == {}
    cleared = action["state_payload"]["cleared"]
    assert list(cleared) == ["sessions", "items", "pages"]
    assert cleared["sessions"]["keys"] == 2
    assert cleared["items"]["items"] == 1 and cleared["items"]["bytes"] > 0
    assert cleared["pages"] == {"files": 1, "bytes": 5}
    assert caches.held() == (0, None, False)
    again = ask(agent, KIND)
    assert again["state"] == "DONE" and again["state_payload"]["again"] == []
    assert {count for freed in again["state_payload"]["cleared"].values() for count in freed.values()} == {0}


@pytest.mark.parametrize("ask", [by_schedule, by_command, by_form])
def test_only_the_named_caches_are_cleared(ask: Ask, agent: AgentProcess, caches: Caches) -> None:
    action = ask(agent, KIND, caches=["pages", "items", "pages"])
    assert list(action["state_payload"]["cleared"]) == ["pages", "items"]
    assert caches.held() == (2, None, False)


def test_each_cache_is_reported_before_its_clearing(agent: AgentProcess) -> None:
    history = agent.info(by_schedule(agent, KIND)["id"])["history"]
    message = [
        each["state_payload"]["clearing"] for each in reversed(history) if "clearing" in (each["state_payload"] or ())
    ]
    assert message == ["sessions", "items", "pages"]


def test_clear_caches_acts_on_the_stack_and_reports_the_freed_amount(agent: AgentProcess) -> None:
    by_command(agent, KIND, caches=["pages"])
    newest = agent.get("/api/3/stacks/default/actions?per_page=100").json["response"][-1]
    assert newest["resource_type"] == "Stack"
    assert newest["finished_message"] == "cleared pages (1 files, 5 bytes)"


@pytest.mark.parametrize(
    "names, member, why",
    [
        (["pages", "other"], "caches.1", "Must be one of: sessions, items, pages."),
        ([], "caches", "Length must be between 1 and 100."),
        (["pages"] * 101, "caches", "Length must be between 1 and 100."),
        (["o"] * 100_000, "caches", "Length must be between 1 and 100."),
        ("pages", "caches", "Not a valid list."),
        ([1], "caches.0", "Not a valid string."),
    ],
)
def test_unknown_or_missing_cache_name_is_refused(
    names: Any, member: str, why: str, agent: AgentProcess, caches: Caches
) -> None:
    assert refused(agent, KIND, caches=names) == {member: [why]}
    assert caches.held()[0] == 2


def test_openapi_document_lists_the_names_of_the_caches(agent: AgentProcess) -> None:
    available = {each["kind"]: each for each in agent.get("/api/unstable/actions/available").json}
    described = available[KIND]["args"]["properties"]["caches"]
    assert described["items"] == {"type": "string", "enum": ["sessions", "items", "pages"]}
    assert (described["minItems"], described["maxItems"]) == (1, 100)


def test_a_cache_that_cannot_be_cleared_fails_the_action_after_the_others(
    caches: Caches, start_agent: StartAgent
) -> None:
    document = caches.document()
    document["caches"] = {
        "gone": {"kind": "folder", "path": str(caches.directory / "gone")},
        "down": {"kind": "redis", "url": f"unix://{caches.directory}/none.sock"},
    } | document["caches"]
    agent = start_agent(config=toml(document))
    for ask in (by_schedule, by_command):
        action = ask(agent, KIND)
        payload = action["state_payload"]
        assert action["state"] == "FAILED" and list(payload["failed"]) == ["gone", "down"]
        assert payload["message"] == (
            f"gone is not cleared: the folder {caches.directory}/gone cannot be cleared: No such file or directory; "
            f"down is not cleared: nothing listens at unix://{caches.directory}/none.sock"
        )
        assert list(payload["cleared"]) == ["sessions", "items", "pages"]
    assert caches.held() == (0, None, False)


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("name, word", [("sessions", b"FLUSHDB"), ("items", b"flush_all")])
def test_interrupted_cache_is_cleared_again_and_named(
    name: str, word: bytes, answered: bool, caches: Caches, start_agent: StartAgent
) -> None:
    way = caches.directory / "held.sock"
    document = caches.document()
    document["caches"][name]["url"] = f"unix://{way}"
    agent = start_agent(config=toml(document))
    server = caches.redis if name == "sessions" else caches.memcached
    with Held(way, server.socket, word, answered=answered) as held:
        action_id = agent.schedule(KIND, {})
        assert held.reached.wait(10)
        agent.kill_all()
        held.release()
        agent.start()
        action = agent.await_final(action_id)["action"]
    assert action["state"] == "DONE" and action["state_payload"]["again"] == [name], action
    assert list(action["state_payload"]["cleared"]) == ["sessions", "items", "pages"]
    assert caches.held() == (0, None, False)


@pytest.mark.parametrize("how", ["kill", "cancel"])
def test_clearing_of_a_large_folder_can_be_interrupted(how: str, caches: Caches, agent: AgentProcess) -> None:
    many = caches.folder / "many"
    many.mkdir()
    for number in range(MANY):
        os.mknod(many / str(number))
    filled = many.stat().st_mtime_ns
    action_id = agent.schedule(KIND, {"caches": ["pages"]})
    eventually(lambda: many.stat().st_mtime_ns != filled, "it has begun")
    if how == "cancel":
        agent.cancel(action_id)
    else:
        agent.kill_all()
        agent.start()
    action = agent.await_final(action_id, timeout=30)["action"]
    payload = action["state_payload"]
    if how == "cancel":
        assert payload["cancelled"] and 0 < payload["payload"]["cleared"]["pages"]["files"] < MANY
        assert any(many.iterdir())
        by_schedule(agent, KIND)
    else:
        assert action["state"] == "DONE" and payload["again"] == ["pages"]
    assert list(caches.folder.iterdir()) == []


def offered(caches: Any) -> ClearCaches:
    return ClearCaches(config.parse({"caches": caches}))


@pytest.mark.parametrize(
    "cache, why",
    [
        ({"kind": "redis"}, 'caches.c.url: expected a value, as kind is "redis", got nothing'),
        ({"kind": "folder"}, 'caches.c.path: expected a value, as kind is "folder", got nothing'),
        ({"kind": "folder", "path": "/"}, "caches.c.path: expected a folder at least two levels below /"),
        ({"kind": "folder", "path": "/etc"}, "caches.c.path: expected a folder at least two levels below /"),
        ({"kind": "folder", "path": "/var/../etc"}, "caches.c.path: expected a folder at least two levels below /"),
        ({"kind": "folder", "path": "cache"}, "caches.c.path: expected an absolute path"),
        ({"kind": "redis", "url": "redis://:pw-staple@h:1"}, "caches.c.url: expected redis://host:port or"),
        ({"kind": "redis", "url": "unix:///s?password=pw-staple"}, "caches.c.url: expected redis://host:port or"),
        ({"kind": "redis", "url": "redis://h:1/3"}, "caches.c.url: expected redis://host:port or"),
        ({"kind": "redis", "url": "redis://h:99999"}, "caches.c.url: expected redis://host:port or"),
        ({"kind": "redis", "url": "memcached://h:1"}, "caches.c.url: expected redis://host:port or"),
        ({"kind": "memcached", "url": "h:1"}, "caches.c.url: expected memcached://host:port or unix:///path"),
        ({"kind": "memcached", "url": "unix://"}, "caches.c.url: expected memcached://host:port or unix:///path"),
    ],
)
def test_dangerous_cache_folder_stops_the_start(cache: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError) as refused:
        offered({"c": cache})
    assert why in str(refused.value) and "staple" not in str(refused.value)


def test_the_folder_of_the_agent_s_own_state_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    document = {"agent": {"db": str(tmp_path / "agent.db")}}
    for path in (tmp_path, tmp_path.parent, tmp_path / "link"):
        caches = {"c": {"kind": "folder", "path": str(path)}}
        with pytest.raises(ConfigError, match=r"caches\.c\.path: \S+ holds agent\.db, which is no cache"):
            ClearCaches(config.parse(document | {"caches": caches}))


def test_clear_caches_without_a_cache_is_not_offered() -> None:
    with pytest.raises(NotOffered, match=r"set \[caches\.NAME\] in the configuration"):
        offered({})


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.caches.memcached.find_spec", lambda name: None)
    with pytest.raises(NotOffered, match=r"install the agent with its extra \[memcached\]"):
        offered({"c": {"kind": "memcached", "url": "unix:///s"}})
