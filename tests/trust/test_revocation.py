"""A missing or broken tokens file admits fewer callers, never more."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import clock, log
from agent.auth import identities
from agent.auth.tokens import CERTAIN, Expired, Tokens
from tests.agent_process import PREFIX, AgentProcess
from tests.trust.guarded import (
    DBA,
    DBA_TOKEN,
    PINGER,
    PINGER_TOKEN,
    READER,
    READER_TOKEN,
    THREE,
    StartGuarded,
    bearer,
    table,
    write_tokens,
)

FOUR = f'{THREE}["last@example.com"]\nsha256 = "{"0" * 64}"\nkinds = ["*"]\n'
TOKENS = (DBA_TOKEN, PINGER_TOKEN, READER_TOKEN)

BROKEN: list[tuple[str, str | bytes | int, tuple[str, ...]]] = [
    ("a mistake at the end", f"{THREE}[broken\n", TOKENS),
    ("a line that is no TOML in the last table", f"{THREE}kinds := 7\n", TOKENS[:2]),
    ("a mistake in the first table", f'["{DBA}"\n{THREE}', ()),
    ("kinds that are no list", THREE.replace('["replicante.test.p?ng", "external.*"]', "7"), (DBA_TOKEN, READER_TOKEN)),
    ("an unknown member", THREE.replace("read_only = true", "read_only = true\ngroup = 1"), TOKENS[:2]),
    ("one token for two", f"{THREE}{table('new@example.com', DBA_TOKEN, ['*'])}", TOKENS[1:]),
    ("an identity that comes again", f'{THREE}["{DBA}"]\nread_only = true\n', TOKENS[1:]),
    ("an identity that comes again after a mistake", f'{THREE}x = [\n["{PINGER}"]\nread_only = true\n', (DBA_TOKEN,)),
    ("a text that does not end", THREE.replace(f'["{PINGER}"]', f'["{PINGER}"]\nnote = """'), (DBA_TOKEN,)),
    ("no UTF-8", THREE.encode().replace(b"pinger@", b"ping\xff@"), (DBA_TOKEN,)),
    ("nested too deeply", f"{THREE}x = {'[' * 5000}", TOKENS[:2]),
    ("readable by others", 0o644, TOKENS),
    ("writable by others", 0o660, ()),
    ("writable by all", 0o606, ()),
]


def admitted(agent: AgentProcess, token: str) -> bool:
    status = agent.get(f"{PREFIX}/queue", headers=bearer(token)).status
    assert status in (200, 401)
    return status == 200


def change(file: Path, how: str | bytes | int) -> None:
    if isinstance(how, int):
        os.chmod(file, how)
    else:
        file.write_bytes(how if isinstance(how, bytes) else how.encode())


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Seconds of the monotonic clock, to be set."""
    now = [1000.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])
    yield now


@pytest.fixture
def complaints(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    heard: list[tuple[str, int]] = []
    monkeypatch.setattr(log, "tokens_not_read", lambda reason, kept, seconds: heard.append((reason, kept)))
    return heard


def valid(tokens: Tokens) -> tuple[str, ...]:
    return tuple(each for each in TOKENS if tokens.by_token(each))


@pytest.mark.parametrize(("what", "how", "certain"), BROKEN, ids=[each[0] for each in BROKEN])
def test_broken_tokens_file_admits_only_identities_read_with_certainty(
    tmp_path: Path,
    at: list[float],
    complaints: list[tuple[str, int]],
    what: str,
    how: str | bytes | int,
    certain: tuple[str, ...],
) -> None:
    file = write_tokens(tmp_path / "tokens.toml")
    tokens = Tokens(file)
    assert valid(tokens) == TOKENS
    change(file, how)
    assert valid(tokens) == certain
    assert [kept for _, kept in complaints] == [len(certain)]
    assert str(file) in complaints[0][0]


def test_broken_tokens_file_is_logged_again_and_counts_for_ten_minutes_only(
    tmp_path: Path, at: list[float], complaints: list[tuple[str, int]]
) -> None:
    file = write_tokens(tmp_path / "tokens.toml")
    tokens = Tokens(file)
    file.write_text(f"{THREE}[broken\n")
    for number in range(9):
        assert valid(tokens) == TOKENS
        assert len(complaints) == number + 1
        at[0] += 61
    at[0] = 1000 + CERTAIN - 1
    assert valid(tokens) == TOKENS
    at[0] = 1000 + CERTAIN
    assert valid(tokens) == ()
    assert complaints[-1][1] == 0
    file.write_text(f"{THREE}[broken in another way\n")
    assert valid(tokens) == ()
    write_tokens(file)
    assert valid(tokens) == TOKENS


def test_further_mistake_does_not_extend_the_ten_minutes(tmp_path: Path, at: list[float]) -> None:
    file = write_tokens(tmp_path / "tokens.toml")
    tokens = Tokens(file)
    for number in range(12):
        file.write_text(f"{THREE}[broken {number}\n")
        assert valid(tokens) == (TOKENS if number < 10 else ())
        at[0] += 60


def test_deleted_tokens_file_ends_the_ten_minutes(tmp_path: Path, at: list[float]) -> None:
    file = write_tokens(tmp_path / "tokens.toml")
    tokens = Tokens(file)
    file.unlink()
    assert valid(tokens) == ()
    write_tokens(file, f"{THREE}[broken\n")
    assert valid(tokens) == ()


def test_identity_removed_by_the_breaking_change_is_refused(tmp_path: Path) -> None:
    file = write_tokens(tmp_path / "tokens.toml")
    tokens = Tokens(file)
    file.write_text(table(PINGER, PINGER_TOKEN, ["*"]) + "[broken\n")
    assert valid(tokens) == (PINGER_TOKEN,)


@pytest.mark.parametrize("broken", [None, 0o660, f'["{DBA}"\n'])
def test_a_running_agent_admits_no_caller_without_a_valid_tokens_file(
    start_guarded: StartGuarded, tokens_file: Path, broken: str | int | None
) -> None:
    guarded = start_guarded()
    assert admitted(guarded, DBA_TOKEN)
    if broken is None:
        tokens_file.unlink()
    else:
        change(tokens_file, broken)
    assert not any(admitted(guarded, token) for token in TOKENS)
    message = [
        line for line in guarded.log_text().splitlines() if "no token is valid until the file is corrected" in line
    ]
    assert len(message) == 1
    assert str(tokens_file) in message[0]
    tokens_file.unlink(missing_ok=True)
    write_tokens(tokens_file, table("new@example.com", "new", ["*"]))
    assert admitted(guarded, "new")
    assert not admitted(guarded, DBA_TOKEN)


def test_running_agent_logs_how_many_identities_stay_valid(start_guarded: StartGuarded, tokens_file: Path) -> None:
    guarded = start_guarded()
    tokens_file.write_text(f"{THREE}[broken\n")
    assert all(admitted(guarded, token) for token in TOKENS)
    message = "only the 3 identities without mistakes stay valid, for 600 seconds"
    assert guarded.log_text().count(message) == 1


def test_parsing_of_a_long_broken_file_terminates(tmp_path: Path) -> None:
    text = "".join(f'["{number}@example.com"]\nkinds = []\n' for number in range(2000))
    assert len(identities.tables_before_mistake(f"{text}[broken\n")) == 2000
    assert identities.tables_before_mistake(f'["a@b.c"]\nnote = """\n{text}') == {}


# The end of a token


def test_token_is_valid_until_it_expires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = table(DBA, DBA_TOKEN, ["*"]) + "expires = 2030-01-01T00:00:00Z\n"
    tokens = Tokens(write_tokens(tmp_path / "tokens.toml", text))
    end = 1893456000 * 1_000_000
    monkeypatch.setattr(clock, "now", lambda: end - 1)
    assert tokens.by_token(DBA_TOKEN)
    monkeypatch.setattr(clock, "now", lambda: end)
    with pytest.raises(Expired, match=f"the credentials of {DBA} have expired"):
        tokens.by_token(DBA_TOKEN)


def test_expired_token_is_refused_with_the_reason(start_guarded: StartGuarded, tokens_file: Path) -> None:
    guarded = start_guarded()
    write_tokens(tokens_file, table(DBA, DBA_TOKEN, ["*"]) + 'expires = "2020-01-01T00:00:00+01:00"\n')
    answer = guarded.get(f"{PREFIX}/queue")
    assert (answer.status, answer.json["variant"]) == (401, "Unauthenticated")
    assert answer.json["error"] == f"the credentials of {DBA} have expired"


def test_tokens_of_an_identity_expire_separately(tmp_path: Path) -> None:
    one, other = (f'sha256 = "{line.split(chr(34))[1]}"' for line in (line_of(DBA_TOKEN), line_of(READER_TOKEN)))
    text = f'["{READER}"]\nkinds = ["*"]\ntokens = [{{{one}}}, {{{other}, expires = 2020-01-01T00:00:00Z}}]\n'
    tokens = Tokens(write_tokens(tmp_path / "tokens.toml", text))
    found = tokens.by_token(DBA_TOKEN)
    assert found is not None and found.email == READER
    with pytest.raises(Expired):
        tokens.by_token(READER_TOKEN)


def test_expiry_of_an_identity_ends_all_its_tokens(tmp_path: Path) -> None:
    text = f'["{READER}"]\nkinds = ["*"]\nexpires = 2020-01-01T00:00:00Z\ntokens = [{{{line_of(DBA_TOKEN)}}}]\n'
    tokens = Tokens(write_tokens(tmp_path / "tokens.toml", text), certificates=True)
    with pytest.raises(Expired):
        tokens.by_token(DBA_TOKEN)
    with pytest.raises(Expired):
        tokens.by_email(READER)


def line_of(token: str) -> str:
    return table(DBA, token, []).splitlines()[1]


@pytest.mark.parametrize("expires", ["2030-01-01", "2030-01-01T00:00:00", '"soon"', "7", '"2030-01-01"'])
def test_expiry_that_is_not_a_time_with_a_zone_is_refused(tmp_path: Path, expires: str) -> None:
    tokens = Tokens(write_tokens(tmp_path / "tokens.toml", table(DBA, DBA_TOKEN, ["*"]) + f"expires = {expires}\n"))
    assert tokens.by_token(DBA_TOKEN) is None
