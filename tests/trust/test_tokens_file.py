"""The tokens file: its format, its mistakes, and the cost of a lookup."""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.auth import tokens
from agent.auth.tokens import Tokens
from agent.errors import ConfigError
from tests.trust.guarded import DBA, DBA_TOKEN, table, write_tokens

DIGEST = "ab" * 32
MISTAKES: list[tuple[str, str]] = [
    ("[", "not TOML: "),
    ("[dba]\n", 'dba: expected an e-mail in quotes as the name of a table, got "dba"'),
    ("[dba.example]\n", "dba: expected an e-mail in quotes as the name of a table"),
    ('["a b@example.com"]\n', "a b@example.com: expected an e-mail in quotes"),
    ('"a@b.c" = 1\n', 'a@b.c: expected a table, got "int"'),
    ('["a@b.c"]\n', "a@b.c.sha256: expected the hash of a token, as api.tls.clients_ca is not set, got nothing"),
    ('["a@b.c"]\nsha256 = 7\n', 'a@b.c.sha256: expected 64 hexadecimal digits, got "int"'),
    (f'["a@b.c"]\nsha256 = "{DIGEST[1:]}"\n', 'a@b.c.sha256: expected 64 hexadecimal digits, got "63 characters"'),
    (f'["a@b.c"]\nsha256 = "{DIGEST}"\nkinds = "*"\n', 'a@b.c.kinds: expected a list of texts, got "*"'),
    (f'["a@b.c"]\nsha256 = "{DIGEST}"\nkinds = [""]\n', 'a@b.c.kinds: expected a list of texts, got [""]'),
    (f'["a@b.c"]\nsha256 = "{DIGEST}"\nread_only = "no"\n', 'a@b.c.read_only: expected true or false, got "no"'),
    (
        '["a@b.c"]\ntoken = "secret"\n',
        "a@b.c.token: unknown option, expected one of expires, kinds, permissions, read_only, sha256, tokens",
    ),
    (
        f'["a@b.c"]\nsha256 = "{DIGEST}"\n["d@e.f"]\nsha256 = "{DIGEST.upper()}"\n',
        "sha256: expected a token of its own for each identity",
    ),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_a_mistake_is_reported_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    file = write_tokens(tmp_path / "tokens.toml", text)
    with pytest.raises(ConfigError) as caught:
        tokens.read(file)
    assert str(caught.value).startswith(f"{file}: {message}")
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_identity_with_a_certificate_needs_no_token(tmp_path: Path) -> None:
    file = write_tokens(tmp_path / "tokens.toml", table(DBA, None, ["*"]))
    found, _ = tokens.read(file, certificates=True)
    assert found.by_email[DBA].may("deploy")
    known = Tokens(file, certificates=True)
    assert known.by_email(DBA) is not None
    assert known.by_token("") is None


def test_a_tokens_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_tokens(tmp_path / "tokens.toml")
    if os.geteuid() == 0:
        os.chown(file, 65534, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 65534)
    with pytest.raises(ConfigError, match=r": it belongs to .*, not to .*: run chown "):
        tokens.read(file)


def test_directory_or_pipe_in_place_of_the_tokens_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ConfigError):
            tokens.read(path)


@pytest.mark.parametrize(
    ("globs", "fit", "unfit"),
    [
        (["*"], ["deploy", "a.b/c", "external.x\ny"], []),
        ([], [], ["", "deploy"]),
        (["replicante.service.*"], ["replicante.service.stop"], ["replicante.service", "xreplicante.service.stop"]),
        (["deploy", "restart"], ["deploy", "restart"], ["deployed", "redeploy", "deploy\n", "Deploy", "deployrestart"]),
        (["external.[ab]?"], ["external.a1", "external.bx"], ["external.c1", "external.a", "external.a12"]),
        (["a.b"], ["a.b"], ["axb"]),
    ],
)
def test_glob_matches_the_whole_name_of_a_kind(
    tmp_path: Path, globs: list[str], fit: list[str], unfit: list[str]
) -> None:
    file = write_tokens(tmp_path / "tokens.toml", table(DBA, DBA_TOKEN, globs))
    identity = tokens.read(file)[0].by_email[DBA]
    assert all(identity.may(kind) for kind in fit)
    assert not any(identity.may(kind) for kind in unfit)


def test_read_only_identity_may_schedule_no_kind(tmp_path: Path) -> None:
    file = write_tokens(tmp_path / "tokens.toml", table(DBA, DBA_TOKEN, ["*"], read_only=True))
    assert not tokens.read(file)[0].by_email[DBA].may("deploy")


def test_every_entry_is_compared_for_every_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [table(f"{number}@example.com", str(number), ["*"]) for number in range(5)]
    known = Tokens(write_tokens(tmp_path / "tokens.toml", "".join(texts)))
    compared: list[bytes] = []
    compare = hmac.compare_digest

    def noted(one: bytes, other: bytes) -> bool:
        compared.append(other)
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", noted)
    for token in ("0", "2", "4", "nobody's", ""):
        compared.clear()
        known.by_token(token)
        assert len(compared) == 5


def test_lookup_of_an_identity_costs_one_stat_and_the_hash_comparisons(tmp_path: Path) -> None:
    texts = [table(f"{number}@example.com", f"token {number}", ["*"]) for number in range(10)]
    file = write_tokens(tmp_path / "tokens.toml", "".join(texts))
    os.utime(file, (1, 1))
    known = Tokens(file)
    hashes = [os.urandom(32) for _ in range(10)]

    def least() -> None:
        os.stat(file)
        digest = hashlib.sha256(b"token 7").digest()
        for each in hashes:
            hmac.compare_digest(digest, each)

    def seconds(work: Callable[[], object]) -> float:
        begun = time.process_time()
        for _ in range(200):
            work()
        return time.process_time() - begun

    # Processor time, measured alternately: a busy machine slows both equally.
    both = [(seconds(least), seconds(lambda: known.by_token("token 7"))) for _ in range(20)]
    assert min(taken for _, taken in both) < 10 * min(needed for needed, _ in both)
