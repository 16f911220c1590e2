"""`agentctl support-bundle`: the archive has the needed facts and none of the planted secrets."""

from __future__ import annotations

import json
import sqlite3
import stat
import tarfile
import time
from contextlib import closing
from pathlib import Path

import pytest

from agent.cli import support_bundle
from tests.agent_process import StartAgent
from tests.cli.calling import call

SECRETS = [f"staple-{number:03}-battery" for number in range(20)]
PARTS = {"actions.json", "configuration.json", "doctor.txt", "log.txt", "versions.json"}
LOG = """
connecting to redis://admin:{0}@db-1:6379/0?password={1}
Authorization: Bearer {2}
cookie: session={3}; other={4}
{{"password": "{5}", "api_key": "{6}", "kept": "useful words"}}
PGPASSWORD={7} pg_basebackup --secret='{8} and more'
-----BEGIN PRIVATE KEY-----
{9}
-----END PRIVATE KEY-----
the known password {10} in the middle
X-Token: {11}
a hash e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 and Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYg==
action 0bf49e27-62be-4946-a483-9f1445a4863f is DONE in /var/lib/agent/releases/0123456789abcdef0123456789abcdef
"""
CONFIG = """
[agent]
db = "{folder}/agent.db"
[datastore]
kind = "redis"
url = "redis://127.0.0.1:1"
password_file = "{folder}/password"
[callbacks]
urls = ["https://hooks.example.com/path/{13}?token={14}"]
[external_actions.vacuum]
action = ["true", "--password", "{15}"]
check = ["true", "{16}"]
description = "Vacuum with the password: {12}"
"""


def unpacked(archive: Path) -> dict[str, str]:
    with tarfile.open(archive) as opened:
        files = {each.name.removeprefix("agent-support/"): opened.extractfile(each) for each in opened}
        return {name: file.read().decode() for name, file in files.items() if file is not None}


def test_archive_contains_no_planted_secret(start_agent: StartAgent, tmp_path: Path) -> None:
    agent = start_agent(config='[external_actions.x]\naction = ["false"]\ncheck = ["true"]\n')
    secret_args = {"password": SECRETS[17], "list": [SECRETS[18]]}
    agent.await_final(agent.schedule("external.x", secret_args, headers={"Action-Reason": f"token={SECRETS[19]}"}))
    with closing(sqlite3.connect(agent.directory / "agent.db")) as source:
        source.execute("VACUUM INTO ?", (str(tmp_path / "agent.db"),))
    (tmp_path / "password").write_text(SECRETS[10])
    (tmp_path / "password").chmod(0o600)
    (tmp_path / "log").write_text(LOG.format(*SECRETS))
    (tmp_path / "agent.toml").write_text(CONFIG.format(*SECRETS, folder=tmp_path))
    archive = tmp_path / "bundle.tar.gz"
    words = ("--log", str(tmp_path / "log"), "--output", str(archive), str(tmp_path / "agent.toml"))
    ended = call(None, "support-bundle", *words)
    assert (ended.status, ended.stdout) == (0, f"{archive}\n"), ended.stderr
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    found = unpacked(archive)
    assert set(found) == PARTS
    everything = "".join(found.values())
    assert [each for each in SECRETS if each in everything] == []
    assert "e3b0c442" not in everything and "Zm9vYmFy" not in everything
    for useful in (
        "useful words",
        "0bf49e27-62be-4946-a483-9f1445a4863f is DONE",
        "external.x",
        "https://",
        "marshmallow",
    ):
        assert useful in everything, useful
    assert "FAULT  datastore" in found["doctor.txt"]
    assert json.loads(found["configuration.json"])["external_actions"]["vacuum"]["action"] == "true … (2 arguments)"
    again = call(None, "support-bundle", *words)
    assert again.status == 2, "an archive is never replaced"
    assert again.stderr == f"{archive} cannot be made: File exists: name another file with --output\n"


def test_unavailable_part_does_not_prevent_the_others(tmp_path: Path) -> None:
    (tmp_path / "agent.db").write_bytes(b"no database at all " * 500)
    (tmp_path / "agent.db").chmod(0o600)
    (tmp_path / "agent.toml").write_text(f'[agent]\ndb = "{tmp_path}/agent.db"\n')
    archive = tmp_path / "bundle.tar.gz"
    words = ("--log", str(tmp_path / "none"), "--output", str(archive), str(tmp_path / "agent.toml"))
    assert call(None, "support-bundle", *words).status == 0
    found = unpacked(archive)
    assert found["actions.json"].startswith("not available: DatabaseError")
    assert found["log.txt"].startswith("not available: FileNotFoundError")
    assert "restore it" in found["doctor.txt"]


@pytest.mark.parametrize(
    "line",
    [
        "postgresql://u:staple@h/db", "password: staple", "secret_key='staple x'", "AUTHORIZATION: Basic staple",
        '"refresh_token":"staple"', "--password=staple", "set-cookie: a=staple", "passphrase = staple",
        "MYSQL_PWD=staple REDISCLI_AUTH=staple", "pass=staple", "password := staple", "password => staple",
        "the password is staple", "requirepass staple", 'masterauth "staple"', "AUTH app staple", "AUTH staple",
        "CREATE USER x IDENTIFIED VIA mysql_native_password USING 'staple'", "ALTER ROLE x PASSWORD 'sta''staple'",
        "SET PASSWORD FOR x = PASSWORD('staple')", "ACL SETUSER app on >staple ~*", "redis-cli -h a -a staple ping",
        "mysql -u root -pstaple", "mysql --password staple", "sshpass -p staple", "curl -u a:staple", "app:staple@db-1",
        r'{"message": "{\"password\": \"staple\"}"}', '{"passwords": {"app": "staple"}}', r'secret="a \" staple"',
        "conninfo = 'host=a password=''staple'' '", "{'Authorization': 'Token staple'}", "X-Auth-Key: staple",
        "password%3Dstaple", "https://hooks.example.com/services/T0/staple", "aws_access_key=staple",
        "redis://u:staple:x@h", "a,b://c,redis://u:staple@h", "1.2+e3b0c442staple0000e3b0c442e3b0c442",
        "e3b0c442staple0000e3b0c442e3b0c442+x.y",
        "0bf49e27-62be-4946-a483-9f1445a4863f+e3b0c442staple000e3b0c442e3b0c442",
    ],
)  # fmt: skip
def test_text_like_a_secret_is_masked(line: str) -> None:
    assert "staple" not in support_bundle.redacted(line, [])


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-27T07:00:00.123456Z INFO action 0bf49e27-62be-4946-a483-9f1445a4863f replicante.test.ping is DONE",
        "/usr/lib/python3/dist-packages/agent/datastores/postgresql/promotion.py line 12",
        "replicante.service.restart_after_upgrade_of_the_server",
    ],
)
def test_ordinary_lines_are_not_changed(line: str) -> None:
    assert support_bundle.redacted(line, []) == f"{line}\n"


@pytest.mark.parametrize(
    ("begin", "repeated"),
    [
        ("", "+"), ("", "a+"), (".", "1+"), ("", "0bf49e27-62be-4946-a483-9f1445a4863f+"), ("", "://"), ("://", ":"),
        ("", "://a:"), ('password=\\"', "\\"), ("password=\\", "\\"), ("password", " "), ("password=", "'"),
        ("password=", '"'), ("", "password=''"), ("", "password "), ("", "-p "), ("mysql", " -p"), ("", "mysql "),
        ("", "redis-cli -a "), ("AUTH", " "), ("", "identified by '"), ("", "cookie"), ("", "x-auth"), ("", "_"),
        ("--user", "="), ("", "http://"), ("", "-----BEGIN A"), ("", "a:"),
    ],
)  # fmt: skip
def test_redaction_time_grows_linearly_with_the_line(begin: str, repeated: str) -> None:
    """With a quadratic expression, a text eight times as long takes 64 times as long."""
    times = [shortest_time(begin + repeated * (length // len(repeated))) for length in (3000, 24000)]
    assert times[1] < 24 * times[0]


def shortest_time(line: str) -> float:
    def once() -> float:
        begin = time.process_time()
        support_bundle.redacted(line, [])
        return time.process_time() - begin

    return min(once() for _ in range(3))
