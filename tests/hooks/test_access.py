"""Hooks of an agent with authentication: no token, but the client certificate of the connection."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from tests.agent_process import PREFIX
from tests.conftest import STARTED, close_all
from tests.hooks.pushing import deliver, encoded, hooked, push, taken
from tests.trust.certificates import Authority
from tests.trust.conftest import authority, start_guarded, stranger, tokens_file
from tests.trust.guarded import DBA_TOKEN, READER, Encrypted, StartGuarded, assert_refused, bearer, table, write_tokens

__all__ = ["authority", "start_guarded", "stranger", "tokens_file"]


def test_a_hook_needs_no_token_and_opens_nothing_else(start_guarded: StartGuarded, tmp_path: Path) -> None:
    guarded = start_guarded(hooked(tmp_path))
    guarded.token = None
    for headers in ({}, bearer("nobody's"), bearer(DBA_TOKEN)):
        action = taken(deliver(guarded, encoded(push()), headers=headers))
        assert action["user"] == "hook:shop"
    assert_refused(deliver(guarded, encoded(push()), headers={"X-Hub-Signature-256": None}), 401, "Unauthenticated")
    assert_refused(deliver(guarded, encoded(push()), "nobody"), 401, "Unauthenticated")
    for method, path in (
        ("GET", "/hooks/deploy/shop"),
        ("POST", "/hooks/deploy/"),
        ("POST", "/hooks"),
        ("POST", f"{PREFIX}/schedule/deploy"),
        ("GET", f"{PREFIX}/queue"),
    ):
        answer = guarded.request(method, path, headers={"X-GitHub-Event": "push"})
        assert_refused(answer, 401, "Unauthenticated")
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_hooks_need_the_client_certificate_of_every_connection(
    tmp_path: Path, authority: Authority, stranger: Authority, request: pytest.FixtureRequest
) -> None:
    """The identity of the certificate does not matter: tested with a reader and with an unknown e-mail."""
    certificate, key = authority.server()
    tokens = write_tokens(tmp_path / "tokens.toml", table(READER, None, ["*"], read_only=True))
    lines = [f'[api]\ntokens = "{tokens}"\n[api.tls]', f'certificate = "{certificate}"', f'key = "{key}"']
    (tmp_path / "agent").mkdir()
    agent = Encrypted(
        tmp_path / "agent", config=hooked(tmp_path, "\n".join([*lines, f'clients_ca = "{authority.ca}"']))
    )
    agent.context = authority.client(READER)
    request.node.stash.setdefault(STARTED, []).append(agent)
    agent.start()
    try:
        for email in (READER, "unknown@example.com"):
            agent.context = authority.client(email)
            assert taken(deliver(agent, encoded(push())))
        agent.context = authority.client(None)
        assert_refused(deliver(agent, encoded(push())), 401, "Unauthenticated")
        for context in (stranger.client(READER, server=authority), ssl.create_default_context(cafile=authority.ca)):
            agent.context = context
            with pytest.raises(OSError):
                deliver(agent, encoded(push()))
    finally:
        close_all([agent])
