"""A page in a browser cannot reach the agent of this machine, whatever address its name resolves to."""

from __future__ import annotations

import socket

import pytest

from agent.api.hosts import Hosts
from tests.agent_process import PREFIX, AgentProcess, StartAgent
from tests.conformance.shapes import SUCCESS
from tests.trust.guarded import StartGuarded, assert_refused

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
PING_BY_FORM = b"command=replicante.test.ping&count=1"
BEGIN = "/api/3/stacks/default/actions"

OWN = ["127.0.0.1", "127.0.0.1:8000", "localhost", "LocalHost:9", "localhost.", "[::1]", "[::1]:8000"]
FOREIGN = [
    "",
    "rebound.example.com",
    "rebound.example.com:8000",
    "localhost.example.com",
    "127.0.0.1.example.com",
    "localhost@example.com",
    "example.com#localhost",
    "localhost:8000@example.com",
    "localhost:8000.example.com",
    "localhost example.com",
    "localhost,example.com",
    "[::1].example.com",
    "[::1",
    "::1",
    "169.254.1.1",
    "localhost:",
]


@pytest.mark.parametrize("host", OWN)
@pytest.mark.parametrize("bound", ["127.0.0.1", "localhost", "::1", "127.3.2.1"])
def test_names_of_loopback_are_accepted_on_loopback(bound: str, host: str) -> None:
    assert Hosts((bound,), ()).has(host)


@pytest.mark.parametrize("host", FOREIGN)
@pytest.mark.parametrize("bound", ["127.0.0.1", "localhost"])
def test_other_names_are_refused_on_loopback(bound: str, host: str) -> None:
    assert not Hosts((bound,), ("db-1.example.com",)).has(host)


def test_bound_address_is_accepted_and_names_are_refused() -> None:
    hosts = Hosts(("192.0.2.1",), ())
    assert hosts.has("192.0.2.1:8000")
    assert not any(hosts.has(host) for host in ["localhost", "192.0.2.2", "example.com"])


@pytest.mark.parametrize("bound", ["0.0.0.0", "::"])
def test_any_address_is_accepted_on_a_wildcard_and_names_are_refused(bound: str) -> None:
    hosts = Hosts((bound,), ())
    assert all(hosts.has(host) for host in ["192.0.2.1", "[2001:db8::1]:80", "localhost", "127.0.0.1"])
    assert not any(hosts.has(host) for host in ["example.com", "192.0.2.1.example.com", ""])


def test_allowed_hosts_are_accepted_with_any_port() -> None:
    hosts = Hosts(("192.0.2.1",), ("db-1.example.com", "[2001:db8::1]"))
    assert all(hosts.has(host) for host in ["db-1.example.com", "DB-1.example.com:99", "[2001:db8::1]:8000"])


# Over the wire


@pytest.mark.parametrize("host", ["rebound.example.com", "rebound.example.com:8000", "localhost.example.com"])
def test_foreign_host_name_is_refused_for_any_request(shared_agent: AgentProcess, host: str) -> None:
    before = shared_agent.queue() + shared_agent.finished()
    for method, path in [("GET", f"{PREFIX}/queue"), ("POST", f"{PREFIX}/schedule/{SUCCESS}"), ("GET", "/nothing")]:
        answer = shared_agent.request(method, path, json={}, headers={"Host": host})
        assert_refused(answer, 421, "MisdirectedRequest")
    assert shared_agent.queue() + shared_agent.finished() == before


def test_request_without_a_host_is_refused(shared_agent: AgentProcess) -> None:
    with socket.create_connection(("127.0.0.1", shared_agent.port), timeout=10) as client:
        client.sendall(f"GET {PREFIX}/queue HTTP/1.0\r\n\r\n".encode())
        assert b" 421 " in client.recv(65536)


def test_configured_host_name_is_accepted(start_agent: StartAgent) -> None:
    agent = start_agent(config='[api]\nallowed_hosts = ["db-1.example.com"]\n')
    assert agent.get(f"{PREFIX}/queue", headers={"Host": "db-1.example.com:8000"}).status == 200
    assert agent.get(f"{PREFIX}/queue", headers={"Host": "db-2.example.com"}).status == 421


@pytest.mark.parametrize("request_line", ["HTTP/1.0\r\n", "HTTP/1.1\r\nHost: whatever.example.com\r\n"])
def test_any_or_no_host_name_is_accepted_on_a_unix_socket(start_agent: StartAgent, request_line: str) -> None:
    agent = start_agent(unix=True)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(agent.socket))
        client.sendall(f"GET {PREFIX}/queue {request_line}Connection: close\r\n\r\n".encode())
        assert b" 200 " in client.recv(65536)


@pytest.mark.parametrize("origin", ["http://evil.example.com", "null", "http://localhost:3000", "", "file://"])
def test_form_of_another_origin_schedules_nothing(shared_agent: AgentProcess, origin: str) -> None:
    before = shared_agent.queue() + shared_agent.finished()
    answer = shared_agent.post(BEGIN, body=PING_BY_FORM, headers=FORM | {"Origin": origin})
    assert_refused(answer, 403, "Forbidden")
    assert shared_agent.queue() + shared_agent.finished() == before


def test_form_of_the_agents_own_page_is_accepted(shared_agent: AgentProcess) -> None:
    own = f"http://127.0.0.1:{shared_agent.port}"
    assert shared_agent.post(BEGIN, body=PING_BY_FORM, headers=FORM | {"Origin": own}).status == 200


def test_no_other_origin_is_ever_allowed(shared_agent: AgentProcess, start_guarded: StartGuarded) -> None:
    headers = {"Origin": "http://evil.example.com", "Access-Control-Request-Method": "POST"}
    for agent in (shared_agent, start_guarded()):
        for method in ("OPTIONS", "GET"):
            answer = agent.request(method, f"{PREFIX}/queue", headers=headers)
            assert answer.status == 403
            assert not [name for name in answer.headers if name.lower().startswith("access-control")]
