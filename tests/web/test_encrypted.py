"""The page over TLS: a cookie of this host only, and users authenticated by certificates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.trust.certificates import Authority
from tests.trust.guarded import DBA, DBA_TOKEN, PINGER, READER, THREE, Encrypted, write_tokens
from tests.web.test_access import FORM, NO_TOKEN, get, sign_in

Start = Callable[..., Encrypted]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def start(tmp_path: Path, authority: Authority) -> Iterator[Start]:
    started: list[Encrypted] = []

    def begin(*, certified: bool) -> Encrypted:
        certificate, key = authority.server()
        lines = ["[agent]", "test_kinds = true", "[api]", f'tokens = "{write_tokens(tmp_path / "tokens.toml", THREE)}"']
        lines += ["[api.tls]", f'certificate = "{certificate}"', f'key = "{key}"']
        lines += [f'clients_ca = "{authority.ca}"'] if certified else []
        agent = Encrypted(tmp_path, config="\n".join(lines))
        agent.context = authority.client(DBA)
        started.append(agent)
        agent.start()
        return agent

    yield begin
    for each in started:
        each.close()


def test_cookie_over_tls_is_secure_and_host_only(start: Start) -> None:
    agent = start(certified=False)
    cookie = sign_in(agent, DBA_TOKEN).headers["Set-Cookie"]
    assert cookie.startswith("__Host-agent-")
    for attribute in ("Secure", "HttpOnly", "Path=/", "SameSite=Strict"):
        assert attribute in cookie
    assert "Domain" not in cookie
    assert get(agent, "/ui/", cookie.partition(";")[0]).status == 200


def test_client_certificate_authenticates_the_page(start: Start, authority: Authority) -> None:
    agent = start(certified=True)
    assert DBA.encode() in get(agent, "/ui/").body
    assert get(agent, "/ui/sign-in").headers["Location"] == "/ui/"
    assert sign_in(agent, DBA_TOKEN).headers["Set-Cookie"] is None
    body = urlencode({"do": "plan"}).encode()
    assert agent.post("/ui/ask/replicante.test.fail", body=body, headers=NO_TOKEN | FORM).status == 200
    for email, status in ((PINGER, 403), (READER, 403), ("stranger@example.com", 403)):
        agent.context = authority.client(email)
        assert agent.post("/ui/ask/replicante.test.fail", body=body, headers=NO_TOKEN | FORM).status == status, email
    assert get(agent, "/ui/").status == 403
    agent.context = authority.client(DBA)


def test_expired_identity_is_refused_without_a_redirect_loop(start: Start, tmp_path: Path) -> None:
    agent = start(certified=True)
    write_tokens(tmp_path / "tokens.toml", THREE.replace("kinds", "expires = 2020-01-01T00:00:00Z\nkinds", 1))
    answer = get(agent, "/ui/")
    assert answer.status == 401
    assert b"expired" in answer.body
