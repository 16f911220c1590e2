"""agentctl over TLS: the authority of the agent's certificate, and a client certificate."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.x509 import load_pem_x509_certificate
from prometheus_client.parser import text_string_to_metric_families

from tests.cli.calling import call
from tests.conformance.shapes import FAIL, PING, SUCCESS
from tests.trust.certificates import DAY, Authority
from tests.trust.guarded import DBA, PINGER, THREE, Encrypted, write_tokens

APPROVER = "approver@example.com"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def encrypted(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encrypted]:
    """An agent that knows its callers by their certificates."""
    directory = tmp_path_factory.mktemp("encrypted")
    certificate, key = authority.server()
    approver = f'["{APPROVER}"]\nread_only = false\nkinds = ["{PING}"]\npermissions = ["approve"]\n'
    tokens = write_tokens(directory / "tokens.toml", THREE + approver)
    tls = f'[api.tls]\ncertificate = "{certificate}"\nkey = "{key}"\nclients_ca = "{authority.ca}"\n'
    held = f'[actions]\napproval = ["{FAIL}"]\n'
    agent = Encrypted(directory, config=f'[api]\ntokens = "{tokens}"\n{tls}{held}')
    agent.context = authority.client(DBA)
    agent.start()
    yield agent
    agent.close()


def files(authority: Authority, email: str) -> tuple[str, ...]:
    certificate, key = authority.client_files(email)
    return "--ca", str(authority.ca), "--certificate", str(certificate), "--key-file", str(key)


def test_caller_is_authenticated_by_its_certificate(encrypted: Encrypted, authority: Authority, tmp_path: Path) -> None:
    url = f"https://127.0.0.1:{encrypted.port}"
    ended = call(url, "schedule", "success", "--wait", *files(authority, DBA), "-o", "name")
    assert ended.status == 0, ended.stderr
    assert encrypted.info(ended.stdout.strip())["action"]["user"] == DBA
    assert call(url, "can", PING, *files(authority, PINGER)).status == 0
    refused = call(url, "can", SUCCESS, *files(authority, PINGER))
    assert (refused.status, refused.stderr) == (4, f"{PINGER} may not schedule or cancel {SUCCESS}\n")
    env = {"AGENT_CONTEXTS": str(tmp_path / "contexts.toml")}
    assert call(None, "context", "add", "db-1", url, *files(authority, DBA), **env).status == 0
    assert call(None, "-c", "db-1", "queue", **env).status == 0


def test_whoami_shows_the_identity_and_expiry_of_a_certificate(encrypted: Encrypted, authority: Authority) -> None:
    url = f"https://127.0.0.1:{encrypted.port}"
    found = json.loads(call(url, "whoami", *files(authority, PINGER), "-o", "json").stdout)
    end = datetime.fromisoformat(found.pop("expires_ts"))
    assert timedelta(0) < end - datetime.now(UTC) <= DAY
    kinds = ["replicante.test.p?ng", "external.*"]
    known = {"user": PINGER, "authenticated_by": "certificate", "read_only": False, "kinds": kinds, "permissions": []}
    assert found == known
    assert call(url, "whoami", *files(authority, APPROVER), "-o", "name").stdout == f"{APPROVER}\n"


def test_metrics_have_the_expiry_of_the_agents_certificate(encrypted: Encrypted) -> None:
    metrics = {
        metric.name: metric for metric in text_string_to_metric_families(encrypted.get("/metrics").body.decode())
    }
    (end,) = metrics["agent_tls_certificate_end_timestamp_seconds"].samples
    with closing(encrypted.connect()) as connected:
        connected.connect()
        assert isinstance(connected.sock, ssl.SSLSocket)
        shown = ssl.DER_cert_to_PEM_cert(connected.sock.getpeercert(binary_form=True) or b"")
    not_after = load_pem_x509_certificate(shown.encode()).not_valid_after_utc
    assert end.value == not_after.timestamp()


def test_another_identity_approves_an_action(encrypted: Encrypted, authority: Authority) -> None:
    url = f"https://127.0.0.1:{encrypted.port}"
    dba, approver = files(authority, DBA), files(authority, APPROVER)
    held = call(url, "schedule", FAIL, *dba).stdout.strip()
    assert "waits for the approval of another identity" in call(url, "queue", *dba).stdout
    for who, name in ((dba, DBA), (files(authority, PINGER), PINGER)):
        refused = call(url, "approve", held, *who)
        assert (refused.status, refused.stderr) == (4, f"{held}: {name} does not have the permission approve\n")
    assert call(url, "approve", held[:9], *approver).stdout.startswith(f"{held}  ")
    assert call(url, "wait", held, *dba).status == 1
    again = call(url, "approve", held, *approver)
    assert (again.status, again.stderr.startswith(f"{held}: ")) == (8, True)


def test_agent_with_an_unknown_authority_is_not_called(encrypted: Encrypted, tmp_path: Path) -> None:
    url = f"https://127.0.0.1:{encrypted.port}"
    other = Authority(tmp_path)
    ended = call(url, "queue", *files(other, DBA))
    assert (ended.status, ended.stderr) == (2, f"{url}: TLS failed: certificate signature failure\n")
    missing = call(url, "queue", "--ca", str(tmp_path / "none.pem"))
    assert missing.stderr == f"{tmp_path}/none.pem: No such file or directory\n"
    (empty := tmp_path / "empty.pem").touch()
    unusable = call(url, "queue", "--ca", str(empty))
    assert unusable.stderr.startswith(f"TLS cannot use {empty}: ")
