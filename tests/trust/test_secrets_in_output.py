"""Secrets of the configuration printed by a command are masked, in the output and in the result of the action."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.auth import configured_secrets
from agent.config import NAMED_TABLES, TABLES, parse, validators
from tests.agent_process import PREFIX, with_test_kinds
from tests.kinds.configuring import toml
from tests.trust.certificates import Authority
from tests.trust.guarded import DBA_TOKEN, THREE, Encrypted, write_tokens

Document = dict[str, Any]

IN_URLS = ("url-staple-0001", "peer%20staple-0002", "peer staple-0002", "primary-staple-0003", "query-staple-0004")
GIT = "https://deploy:git-staple-0005@git.example.com"
FORMER = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----"


class Files:
    """Creates a file for each secret, and records both."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.options: set[str] = set()
        self.secrets: list[str] = []

    def of(self, option: str, secret: str | None = None) -> str:
        """The file of an option; its secret is generated unless given."""
        text = secret or f"{option}-correct-staple"
        self.options.add(option)
        self.secrets += [line for line in text.splitlines() if not line.startswith("-----")]
        path = self.directory / option
        path.write_text(f"{text}\n")
        path.chmod(0o600)
        return str(path)


def document(files: Files, authority: Authority) -> Document:
    """A configuration with each option that holds a secret."""
    certificate, key = authority.server()
    shop = {"repository": "/srv/shop.git", "path": "/srv/shop"}
    replication = {"replication_user": "rep", "replication_password_file": files.of("replication_password_file")}
    finished = ["echo", '{"status": "finished"}']
    every = files.directory / "every"
    slowly = f"for each in {files.directory}/part-*; do cat $each; sleep 0.02; done"
    failing = f"cat {every} >&2; exit 1"
    reporting = f"cat {files.directory}/report"
    return {
        "api": {
            "tokens": str(write_tokens(files.directory / "tokens.toml")),
            "tls": {"certificate": str(certificate), "key": str(key)},
        },
        "datastore": {
            "kind": "redis",
            "url": f"redis://agent:{IN_URLS[0]}@127.0.0.1:1",
            "password_file": files.of("password_file"),
            "primary": f"redis://agent:{IN_URLS[3]}@127.0.0.1:1?sslpassword={IN_URLS[4]}",
            "primary_password_file": files.of("primary_password_file"),
            "peers": {"db-2": {"url": f"redis://agent:{IN_URLS[1]}@127.0.0.1:1", **replication}},
        },
        "caches": {"page": {"kind": "redis", "url": "redis://127.0.0.1:1", "password_file": files.of("password_file")}},
        "applications": {
            "shop": shop | {
                "credentials": files.of("credentials", GIT),
                "hook_secret": files.of("hook_secret"),
                "ssh_key": files.of("ssh_key", FORMER),
            },
        },
        "callbacks": {
            "urls": ["http://127.0.0.1:1/"],
            "secret": files.of("secret"),
            "previous_secret": files.of("previous_secret"),
        },
        "external_actions": {
            "slowly": {"action": ["sh", "-c", slowly], "check": finished},
            "failing": {"action": ["sh", "-c", failing], "check": finished},
            "reporting": {"action": ["true"], "check": ["sh", "-c", reporting]},
        },
    }  # fmt: skip


class Site:
    """An agent with all these options, and the output of its commands."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        files = Files(directory)
        configured = document(files, authority)
        key = Path(configured["api"]["tls"]["key"]).read_text().splitlines()[1]
        digest = hashlib.sha256(DBA_TOKEN.encode()).hexdigest()
        self.secrets = [*files.secrets, *IN_URLS, "git-staple-0005", key, digest]
        assert digest in THREE
        self.options = files.options
        self.settings = parse(configured)
        self._write(directory)
        self.agent = Encrypted(directory, config=with_test_kinds(toml(configured)))
        self.agent.context, self.agent.token = authority.client(None), DBA_TOKEN

    def _write(self, directory: Path) -> None:
        """Write all secrets as lines, in parts split in the middle of a secret, and as a report."""
        text = "\n".join(["first", *self.secrets, "last"])
        (directory / "every").write_text(text)
        (directory / "report").write_text(json.dumps({"status": "finished", "said": self.secrets}))
        begins = 0
        for number, secret in enumerate(self.secrets):
            ends = text.index(f"\n{secret}\n", begins) + 1 + len(secret) // 2
            (directory / f"part-{number:02}").write_text(text[begins:ends])
            begins = ends
        (directory / "part-99").write_text(text[begins:])

    def performed(self, kind: str, state: str = "DONE") -> tuple[str, str]:
        """The output of an action that prints them, and all other answers about it."""
        action_id = self.agent.schedule(kind, {})
        info = self.agent.await_final(action_id, 60)
        assert info["action"]["state"] == state, info
        return self.agent.get(f"{PREFIX}/output/{action_id}").body.decode(), json.dumps(info)

    def shown(self, text: str) -> list[str]:
        return [secret for secret in self.secrets if secret in text]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"), authority)
    made.agent.start()
    yield made
    made.agent.close()


def test_every_option_with_a_secret_is_tested(site: Site) -> None:
    declared = {name for table in {**TABLES, **NAMED_TABLES}.values() for name in secret_options(table)}
    assert site.options == declared


def secret_options(table: type[Any]) -> Iterator[str]:
    """The options of a table and its subtables whose value is a file with a secret."""
    assert is_dataclass(table)
    for option in fields(table):
        if option.metadata["check"] is validators.secret_file:
            yield option.name
        if section := option.metadata.get("section"):
            yield from secret_options(section)


def test_secrets_are_masked_in_output_also_across_two_pieces(site: Site) -> None:
    output, info = site.performed("external.slowly")
    assert site.shown(output) == site.shown(info) == []
    assert "first" in output and output.endswith("last")
    assert output.count("********") >= len(site.secrets) - 1  # the lines of a git credential count once


def test_secrets_are_masked_in_the_message_of_a_failed_action(site: Site) -> None:
    output, info = site.performed("external.failing", "FAILED")
    assert site.shown(output) == site.shown(info) == []
    assert "last" in info


def test_secrets_are_masked_in_the_report_of_a_command(site: Site) -> None:
    _, info = site.performed("external.reporting")
    assert site.shown(info) == []


def test_ordinary_words_of_the_configuration_are_not_masked(site: Site) -> None:
    found = configured_secrets.read(configured_secrets.places(site.settings))
    assert not {"agent", "rep", "postgres", "127.0.0.1", "deploy", "-----BEGIN PRIVATE KEY-----"} & {*found}
    assert all(len(each) >= 8 for each in found)
