"""Callers authenticated by certificates of the test's own authority."""

from __future__ import annotations

import socket
import ssl
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from pathlib import Path

import pytest

from agent.server.revocation_list import valid_until
from tests.agent_process import PREFIX, AgentProcess, eventually
from tests.conformance.shapes import PING, SUCCESS
from tests.conftest import STARTED, close_all
from tests.test_config import started_in_vain
from tests.trust.certificates import DAY, Authority
from tests.trust.guarded import (
    DBA,
    DBA_TOKEN,
    PINGER,
    READER,
    THREE,
    Encrypted,
    assert_refused,
    bearer,
    table,
    write_tokens,
)

NOT_SERVED = (OSError, HTTPException)
StartEncrypted = Callable[..., Encrypted]


@pytest.fixture
def start_encrypted(tmp_path: Path, authority: Authority, request: pytest.FixtureRequest) -> Iterator[StartEncrypted]:
    agents = request.node.stash.setdefault(STARTED, [])

    def start(
        tokens: str | None = THREE, *, clients: Authority | None = authority, crl: Path | None = None
    ) -> Encrypted:
        certificate, key = authority.server()
        lines = ["[api]"]
        if tokens is not None:
            lines.append(f'tokens = "{write_tokens(tmp_path / "tokens.toml", tokens)}"')
        lines += ["[api.tls]", f'certificate = "{certificate}"', f'key = "{key}"']
        lines += [f'clients_ca = "{clients.ca}"'] if clients else []
        lines += [f'crl = "{crl}"'] if crl else []
        encrypted = Encrypted(tmp_path / "agent", config="\n".join(lines))
        encrypted.context = authority.client(DBA)
        encrypted.env["AGENT_BIND"] = f"0.0.0.0:{encrypted.port}"
        agents.append(encrypted)
        encrypted.start()
        return encrypted

    (tmp_path / "agent").mkdir()
    yield start
    close_all(agents)


def test_email_of_the_certificate_is_the_user(start_encrypted: StartEncrypted) -> None:
    agent = start_encrypted()
    action_id = agent.schedule(PING, {}, headers={"From": "somebody.else@example.com"})
    agent.await_final(action_id)
    (action,) = agent.get("/api/3/stacks/default/actions").json["response"]
    assert action["user"] == DBA
    assert f"action {action_id} {PING} scheduled by {DBA} via API" in agent.log_text()
    assert "WARNING" not in agent.whole_log()


def test_permissions_of_a_certificate_come_from_the_tokens_file(
    start_encrypted: StartEncrypted, authority: Authority
) -> None:
    agent = start_encrypted(table(PINGER, None, [PING]) + table(READER, None, ["*"], read_only=True))
    agent.context = authority.client(PINGER)
    assert agent.post_schedule(PING, {}).status == 200
    assert_refused(agent.post_schedule(SUCCESS, {}), 403, "Forbidden")
    agent.context = authority.client(READER)
    assert agent.get(f"{PREFIX}/queue").status == 200
    assert_refused(agent.post_schedule(PING, {}), 403, "Forbidden")


def test_certificate_of_an_unknown_identity_gets_403(start_encrypted: StartEncrypted, authority: Authority) -> None:
    agent = start_encrypted()
    agent.context = authority.client("somebody.else@example.com")
    assert_refused(agent.get(f"{PREFIX}/queue"), 403, "Forbidden")
    assert_refused(agent.get(f"{PREFIX}/queue", headers=bearer(DBA_TOKEN)), 403, "Forbidden")


def test_subject_alternative_name_precedes_the_subject(start_encrypted: StartEncrypted, authority: Authority) -> None:
    agent = start_encrypted()
    agent.context = authority.client(None, subject=DBA)
    assert agent.post_schedule(SUCCESS, {}).status == 200
    agent.context = authority.client(PINGER, subject=DBA)
    assert_refused(agent.post_schedule(SUCCESS, {}), 403, "Forbidden")


@pytest.mark.parametrize("email", [None, "", "not an e-mail", f"{DBA}\0.example.org"])
def test_a_certificate_without_an_e_mail_is_refused(
    start_encrypted: StartEncrypted, authority: Authority, email: str | None
) -> None:
    agent = start_encrypted()
    agent.context = authority.client(email) if email != "" else authority.client(None, subject=" ")
    assert_refused(agent.get(f"{PREFIX}/queue"), 401, "Unauthenticated")


def test_connection_without_a_certificate_is_refused(start_encrypted: StartEncrypted, authority: Authority) -> None:
    agent = start_encrypted()
    agent.context = ssl.create_default_context(cafile=authority.ca)
    with pytest.raises(NOT_SERVED):
        agent.get(f"{PREFIX}/queue", headers=bearer(DBA_TOKEN))


def test_a_certificate_of_another_authority_is_not_served(
    start_encrypted: StartEncrypted, authority: Authority, stranger: Authority
) -> None:
    agent = start_encrypted()
    agent.context = stranger.client(DBA, server=authority)
    with pytest.raises(NOT_SERVED):
        agent.get(f"{PREFIX}/queue")


def test_a_certificate_that_has_expired_is_not_served(start_encrypted: StartEncrypted, authority: Authority) -> None:
    agent = start_encrypted()
    agent.context = authority.client(DBA, left=-DAY / 2)
    with pytest.raises(NOT_SERVED):
        agent.get(f"{PREFIX}/queue")


def test_certificate_that_expires_on_a_kept_connection_is_refused(
    start_encrypted: StartEncrypted, authority: Authority
) -> None:
    agent = start_encrypted()
    agent.context = authority.client(DBA, left=timedelta(seconds=3))
    connection = agent.connect()
    assert agent.get(f"{PREFIX}/queue", connection=connection).status == 200

    def refused() -> bool:
        return agent.get(f"{PREFIX}/queue", connection=connection).status == 401

    eventually(refused, "the certificate has expired")
    connection.close()


def test_plain_http_is_refused(start_encrypted: StartEncrypted) -> None:
    agent = start_encrypted()
    with socket.create_connection(("127.0.0.1", agent.port), timeout=10) as client:
        client.sendall(f"GET {PREFIX}/queue HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert b"200 OK" not in client.recv(65536)
    assert agent.queue() == []


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_tls_before_1_2_is_refused(start_encrypted: StartEncrypted) -> None:
    agent = start_encrypted()
    agent.context.minimum_version = ssl.TLSVersion.TLSv1
    agent.context.maximum_version = ssl.TLSVersion.TLSv1_1
    agent.context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(NOT_SERVED):
        agent.get(f"{PREFIX}/queue")


def test_every_certificate_may_do_everything_without_a_tokens_file_with_a_warning(
    start_encrypted: StartEncrypted,
) -> None:
    agent = start_encrypted(None)
    assert agent.post_schedule(SUCCESS, {}).status == 200
    assert agent.log_text().count("api.tokens is not set: every client with a certificate of api.tls.clients_ca") == 1


def test_token_over_tls_is_accepted_without_a_client_certificate(
    start_encrypted: StartEncrypted, authority: Authority
) -> None:
    agent = start_encrypted(clients=None)
    agent.context = ssl.create_default_context(cafile=authority.ca)
    assert_refused(agent.get(f"{PREFIX}/queue"), 401, "Unauthenticated")
    assert agent.get(f"{PREFIX}/queue", headers=bearer(DBA_TOKEN)).status == 200
    assert "WARNING" not in agent.whole_log().replace("WARNING a caller", "")


def test_unfinished_handshakes_block_no_other_client(start_encrypted: StartEncrypted) -> None:
    agent = start_encrypted()
    with ExitStack() as stack:
        for sent in (b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03") * 4:
            client = stack.enter_context(socket.create_connection(("127.0.0.1", agent.port), timeout=20))
            client.sendall(sent)
        assert agent.get(f"{PREFIX}/queue", timeout=15).status == 200
    assert "Traceback" not in agent.whole_log()


def test_a_request_that_never_ends_on_an_encrypted_connection_is_cut_off(start_encrypted: StartEncrypted) -> None:
    agent = start_encrypted()
    with ExitStack() as stack:
        for _ in range(8):
            plain = stack.enter_context(socket.create_connection(("127.0.0.1", agent.port), timeout=20))
            client = stack.enter_context(agent.context.wrap_socket(plain, server_hostname="127.0.0.1"))
            client.sendall(b"GET / HTTP/1.1\r\n")
        assert agent.get(f"{PREFIX}/queue", timeout=15).status == 200
    assert "Traceback" not in agent.whole_log()


def test_renewed_certificate_is_used_after_a_reload(
    start_encrypted: StartEncrypted, authority: Authority, stranger: Authority
) -> None:
    agent = start_encrypted()
    config = (agent.directory / "agent.toml").read_text()
    certificate = Path(tomllib.loads(config)["api"]["tls"]["certificate"])
    key = Path(tomllib.loads(config)["api"]["tls"]["key"])
    for old, new in zip((certificate, key), stranger.server(), strict=True):
        old.write_bytes(new.read_bytes())
    assert agent.get(f"{PREFIX}/queue").status == 200
    agent.context = authority.client(DBA, server=stranger)
    agent.reload()
    assert agent.get(f"{PREFIX}/queue").status == 200


# Certificates that were revoked


def test_a_revoked_certificate_is_not_served_and_others_are(
    start_encrypted: StartEncrypted, authority: Authority, tmp_path: Path
) -> None:
    pinger = authority.client(PINGER)
    agent = start_encrypted(crl=authority.revoke(tmp_path / "crl.pem", PINGER))
    assert agent.get(f"{PREFIX}/queue").status == 200
    agent.context = pinger
    with pytest.raises(NOT_SERVED):
        agent.get(f"{PREFIX}/queue")


def test_certificate_revoked_later_is_refused_even_on_a_kept_connection(
    start_encrypted: StartEncrypted, authority: Authority, tmp_path: Path
) -> None:
    crl = authority.revoke(tmp_path / "crl.pem")
    agent = start_encrypted(crl=crl)
    dba, agent.context = agent.context, authority.client(PINGER)
    connection = agent.connect()
    assert agent.get(f"{PREFIX}/queue", connection=connection).status == 200
    authority.revoke(crl, PINGER)
    answer = agent.get(f"{PREFIX}/queue", connection=connection)
    assert_refused(answer, 401, "Unauthenticated")
    assert "connect again" in answer.json["error"]

    def ended() -> bool:
        try:
            assert_refused(agent.get(f"{PREFIX}/queue", connection=connection), 401, "Unauthenticated")
        except NOT_SERVED:
            return True
        return False

    eventually(ended, "the connection ends with the answer")
    connection.close()
    with pytest.raises(NOT_SERVED):
        agent.get(f"{PREFIX}/queue")
    agent.context = dba
    assert agent.get(f"{PREFIX}/queue").status == 200


@pytest.mark.parametrize("broken", ["gone", "no list", "another authority's", "expired"])
def test_no_certificate_is_accepted_without_a_valid_revocation_list(
    start_encrypted: StartEncrypted, authority: Authority, stranger: Authority, tmp_path: Path, broken: str
) -> None:
    crl = authority.revoke(tmp_path / "crl.pem")
    agent = start_encrypted(crl=crl)
    agent.get(f"{PREFIX}/queue")
    if broken == "gone":
        crl.unlink()
    elif broken == "no list":
        crl.write_bytes(authority.ca.read_bytes())
    elif broken == "expired":
        authority.revoke(crl, left=-DAY)
    else:
        stranger.revoke(crl)
    with pytest.raises(NOT_SERVED):
        agent.get(f"{PREFIX}/queue")
    authority.revoke(crl)

    def served() -> bool:
        try:
            return agent.get(f"{PREFIX}/queue").status == 200
        except NOT_SERVED:
            return False

    eventually(served, "it is served again")
    if broken in ("gone", "no list"):
        assert agent.log_text().count("no certificate is accepted until the list is corrected") == 1


def test_expired_revocation_list_ends_existing_connections(
    start_encrypted: StartEncrypted, authority: Authority, tmp_path: Path
) -> None:
    crl = authority.revoke(tmp_path / "crl.pem")
    agent = start_encrypted(crl=crl)
    authority.revoke(crl, left=timedelta(seconds=8))
    connection = agent.connect()
    assert agent.get(f"{PREFIX}/queue", connection=connection).status == 200

    def refused() -> bool:
        try:
            return agent.get(f"{PREFIX}/queue", connection=connection).status == 401
        except NOT_SERVED:
            return True

    eventually(refused, "the connection that was made with the list is refused", 30)
    connection.close()
    assert f"api.tls.crl {crl} is out of date since " in agent.log_text()
    authority.revoke(crl)

    def served() -> bool:
        try:
            return agent.get(f"{PREFIX}/queue").status == 200
        except NOT_SERVED:
            return False

    eventually(served, "a list of now is taken")


@pytest.mark.parametrize("left", [timedelta(days=1), timedelta(days=365 * 40)], ids=["UTCTime", "GeneralizedTime"])
def test_expiry_of_a_revocation_list_is_read(authority: Authority, tmp_path: Path, left: timedelta) -> None:
    written = authority.revoke(tmp_path / "crl.pem", left=left).read_bytes()
    older = authority.revoke(tmp_path / "older.pem", left=-timedelta(days=1)).read_bytes()
    expected = datetime.now(UTC) + left
    for text in (written, older + written, written + older):
        assert abs(valid_until(text) - expected.timestamp()) < 60
    assert valid_until(older) < datetime.now(UTC).timestamp()


@pytest.mark.parametrize("text", [b"", b"no list", b"-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n"])
def test_text_that_is_not_a_revocation_list_has_no_expiry(text: bytes) -> None:
    assert valid_until(text) == float("inf")


def test_revocation_list_needs_clients_ca(tmp_path: Path, authority: Authority) -> None:
    certificate, key = authority.server()
    text = f'[api.tls]\ncertificate = "{certificate}"\nkey = "{key}"\ncrl = "x"\n'
    assert "api.tls.clients_ca: expected a value, as crl is set" in started_in_vain(tmp_path, text)


# Together with a unix socket


def test_local_users_use_the_socket_and_remote_callers_certificates(tmp_path: Path, authority: Authority) -> None:
    certificate, key = authority.server()
    tokens = write_tokens(tmp_path / "tokens.toml", f'{table(DBA, None, ["*"])}[unix."root"]\nkinds = ["{PING}"]\n')
    config = f'[agent]\nnode = "db-7"\n[api]\ntokens = "{tokens}"\n[api.tls]\ncertificate = "{certificate}"\n'
    config += f'key = "{key}"\nclients_ca = "{authority.ca}"\n'
    for name in ("network", "socket"):
        (tmp_path / name).mkdir()
    network = Encrypted(tmp_path / "network")
    network.context = authority.client(DBA)
    here = AgentProcess(tmp_path / "socket", config=config, unix=True)
    here.env["AGENT_BIND"] += f",0.0.0.0:{network.port}"
    try:
        here.start()
        by_socket, by_network = here.schedule(PING, {}), network.schedule(PING, {})
        assert_refused(here.post_schedule(SUCCESS, {}), 403, "Forbidden")
        here.await_final(by_network)
        listed = here.get("/api/3/stacks/default/actions").json["response"]
        assert {each["user"]: each["started_via"] for each in listed} == {"root@db-7": "cli", DBA: "api"}
        assert here.state(by_socket) == "DONE"
        network.context = ssl.create_default_context(cafile=authority.ca)
        with pytest.raises(NOT_SERVED):
            network.get(f"{PREFIX}/queue")
    finally:
        here.close()
