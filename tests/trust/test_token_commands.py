"""`agentctl token list|revoke|rotate`, also as root on the files of the agent's user."""

from __future__ import annotations

import os
import pwd
import subprocess
import sysconfig
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from agent import cli, clock
from agent.auth.tokens import Expired, Tokens
from agent.errors import ConfigError
from agent.store import Store, audit_events
from agent.util import drop_privileges
from tests.agent_process import CHECKOUT, PREFIX
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
    write_tokens,
)

NOBODY = 65534
NEW = "you@example.com"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The output of a command that must succeed."""
    assert cli.main(["token", *arguments]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    return printed.out.strip()


def fails(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 1) -> str:
    assert cli.main(["token", *arguments]) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err.strip()


def ids(file: Path, email: str) -> list[str]:
    return [each.id for each in Tokens(file)._current().by_email[email].tokens]


def test_second_token_of_an_identity_has_the_same_permissions(
    tokens_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = run(capsys, "create", PINGER, "--file", str(tokens_file))
    known = Tokens(tokens_file)
    for token in (PINGER_TOKEN, more):
        found = known.by_token(token)
        assert found is not None and found.email == PINGER and found.may("external.x") and not found.may("deploy")


def test_token_is_created_with_an_expiry(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tokens.toml"
    token = run(capsys, "create", NEW, "--kinds", "*", "--expires", "90d", "--file", str(file))
    (written,) = tomllib.loads(file.read_text())[NEW]["tokens"]
    assert round((written["expires"] - written["created"]).total_seconds()) == 90 * 86400
    assert Tokens(file).by_token(token)


def test_invalid_expiry_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["token", "create", NEW, "--kinds", "*", "--expires", "soon"]) == 2
    assert "expected a number and s, m, h or d, such as 90d" in capsys.readouterr().err


def test_one_token_is_revoked_and_the_others_stay(tokens_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = run(capsys, "create", PINGER, "--file", str(tokens_file))
    old, new = ids(tokens_file, PINGER)
    run(capsys, "revoke", PINGER, old, "--file", str(tokens_file))
    known = Tokens(tokens_file)
    assert known.by_token(PINGER_TOKEN) is None
    assert known.by_token(more) and known.by_token(DBA_TOKEN)
    run(capsys, "revoke", PINGER, new, "--file", str(tokens_file))
    assert PINGER not in tomllib.loads(tokens_file.read_text())


def test_identity_is_revoked_with_all_tokens_and_comments_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_tokens(tmp_path / "tokens.toml", "# mine\n\n" + THREE.replace('["', '# of one\n["', 1))
    run(capsys, "create", PINGER, "--file", str(file))
    comments = file.read_text().count("#")
    run(capsys, "revoke", PINGER, "--file", str(file))
    known = Tokens(file)
    assert known.by_token(PINGER_TOKEN) is None and known.by_token(DBA_TOKEN)
    assert file.read_text().count("#") == comments
    assert file.read_text().startswith("# mine\n")


def test_a_token_is_replaced_at_once_or_after_a_time(
    tokens_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(capsys, "rotate", DBA, "--file", str(tokens_file))
    assert Tokens(tokens_file).by_token(DBA_TOKEN) is None
    second = run(capsys, "rotate", DBA, "--overlap", "1h", "--expires", "2h", "--file", str(tokens_file))
    known, now = Tokens(tokens_file), clock.now()
    assert known.by_token(first) and known.by_token(second)
    monkeypatch.setattr(clock, "now", lambda: now + 3601 * 1_000_000)
    with pytest.raises(Expired):
        known.by_token(first)
    assert known.by_token(second)
    monkeypatch.setattr(clock, "now", lambda: now + 7201 * 1_000_000)
    with pytest.raises(Expired):
        known.by_token(second)


def test_expiry_of_an_identity_is_kept_when_its_token_is_rotated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_tokens(tmp_path / "tokens.toml", f"{THREE}expires = 2099-01-01T00:00:00Z\n")
    new = run(capsys, "rotate", READER, "--overlap", "1h", "--file", str(file))
    known = Tokens(file)
    assert known.by_token(new) and known.by_token(READER_TOKEN)
    assert known._current().by_email[READER].expires == 4070908800
    assert run(capsys, "list", "--file", str(file)).count("2099-01-01T00:00:00Z") == 1


def test_glob_that_matches_no_kind_causes_a_warning(tokens_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["token", "create", NEW, "--kinds", "deplyo", "--file", str(tokens_file)]) == 0
    warned = "warning: --kinds: no kind matches deplyo; the closest is deploy: the token gets no permission from it"
    assert capsys.readouterr().err.splitlines()[0] == warned


def test_ambiguous_or_unknown_token_is_refused(tokens_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "create", DBA, "--file", str(tokens_file))
    one, other = ids(tokens_file, DBA)
    before = tokens_file.read_text()
    message = fails(capsys, "rotate", DBA, "--file", str(tokens_file))
    assert message == f"{tokens_file}: name one of the tokens of {DBA}: {one}, {other}"
    assert "no identity " in fails(capsys, "revoke", NEW, "--file", str(tokens_file), status=7)
    assert "name one of the tokens" in fails(capsys, "revoke", DBA, "0" * 12, "--file", str(tokens_file))
    missing = fails(capsys, "revoke", DBA, "--file", f"{tokens_file}.not")
    assert missing.endswith("there is no such file; run agentctl token create")
    assert tokens_file.read_text() == before


@pytest.mark.parametrize("form", ["inline", "split"])
def test_tokens_file_in_another_layout_is_not_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    hashes = [f'{{sha256 = "{digit * 64}"}}' for digit in "ab"]
    text = (
        f'["{DBA}"]\ntokens = [{", ".join(hashes)}]\n'
        if form == "inline"
        else f'["{DBA}"]\ntokens = [\n{hashes[0]},\n{hashes[1]}]\n'
    )
    file = write_tokens(tmp_path / "tokens.toml", text)
    message = fails(capsys, "revoke", DBA, ids(file, DBA)[0], "--file", str(file))
    assert "edit it by hand" in message
    assert file.read_text() == text


def test_token_list_shows_permissions_and_last_use(
    start_guarded: StartGuarded,
    tokens_file: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guarded = start_guarded()
    monkeypatch.setenv("AGENT_CONFIG", str(guarded.directory / "agent.toml"))
    monkeypatch.setenv("AGENT_DB", str(guarded.db))
    expired = run(capsys, "create", NEW, "--kinds", "deploy", "--expires", "0s")
    guarded.get(f"{PREFIX}/queue", headers=bearer(expired))
    guarded.get(f"{PREFIX}/queue", headers=bearer(PINGER_TOKEN))
    lines = {line.split()[0]: line.split() for line in run(capsys, "list").splitlines()}
    today = clock.rfc3339(clock.now() - 3600 * 1_000_000)
    assert lines[PINGER][2] == "never" and lines[PINGER][3] > str(today)
    assert lines[PINGER][4:] == ["replicante.test.p?ng", "external.*"]
    assert lines[NEW][2:] == ["expired", "never", "deploy"]
    assert lines["reader@example.com"][-3:] == ["nothing,", "read", "only"]
    assert all(token not in str(lines) for token in (PINGER_TOKEN, expired))


# As root


def as_root(*arguments: str, cwd: Path = Path("/"), **env: str) -> subprocess.CompletedProcess[str]:
    """Run agentctl by a Python that every user can run."""
    path = os.pathsep.join((str(CHECKOUT), sysconfig.get_path("purelib")))
    return subprocess.run(
        ["/usr/bin/python3", "-B", "-m", "agent.cli", *arguments],
        cwd=cwd,
        env=dict(os.environ) | {"PYTHONPATH": path} | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def state() -> Iterator[Path]:
    """The folder of an agent that is not root's."""
    with TemporaryDirectory() as parent:
        os.chmod(parent, 0o755)
        folder = Path(parent, "state")
        folder.mkdir(0o700)
        os.chown(folder, NOBODY, NOBODY)
        yield folder


def test_root_creates_revokes_and_lists_tokens_of_the_agents_user(state: Path) -> None:
    file = state / "tokens.toml"
    for email in (DBA, NEW):
        made = as_root("token", "create", email, "--kinds", "*", "--file", str(file))
        assert (made.returncode, made.stderr) == (0, "")
        assert (file.stat().st_uid, file.stat().st_gid, file.stat().st_mode & 0o7777) == (NOBODY, NOBODY, 0o600)
    assert as_root("token", "revoke", NEW, "--file", str(file)).returncode == 0
    listed = as_root("token", "list", "--file", str(file))
    assert DBA in listed.stdout and NEW not in listed.stdout
    assert file.stat().st_uid == NOBODY


@pytest.mark.parametrize("command", [["create", NEW, "--kinds", "*"], ["revoke", DBA], ["rotate", DBA], ["list"]])
@pytest.mark.parametrize("planted", ["link", "link to nothing", "linked folder"])
def test_root_does_not_follow_a_link_of_the_agents_user(
    tmp_path: Path, state: Path, command: list[str], planted: str
) -> None:
    target = tmp_path / "roots"
    target.mkdir(0o700)
    file = state / "tokens.toml"
    if planted == "link":
        write_tokens(target / "tokens.toml")
        file.symlink_to(target / "tokens.toml")
    elif planted == "link to nothing":
        file.symlink_to(target / "nologin")
    else:
        write_tokens(target / "tokens.toml")
        (state / "inner").symlink_to(target)
        os.lchown(state / "inner", NOBODY, NOBODY)
        file = state / "inner" / "tokens.toml"
    before = {path: path.read_bytes() for path in target.iterdir()}
    ended = as_root("token", *command, "--file", str(file))
    assert ended.returncode != 0, ended
    assert "Traceback" not in ended.stderr
    assert {path: path.read_bytes() for path in target.iterdir()} == before


def test_root_gets_the_command_for_a_folder_unwritable_by_the_agents_user(state: Path) -> None:
    roots = state / "roots"
    roots.mkdir(0o755)
    file = roots / "tokens.toml"
    made = as_root("token", "create", NEW, "--kinds", "*", "--file", str(file))
    assert made.returncode == 1
    user = owner_name()
    expected = f"{file}: cannot be written: Permission denied for user {user}, who owns a folder above it"
    assert made.stderr == f"{expected}: run chown {user} {roots}\n"
    subprocess.run(made.stderr.rpartition("run ")[2].split(), check=True)
    assert as_root("token", "create", NEW, "--kinds", "*", "--file", str(file)).returncode == 0


def test_missing_folder_is_named_with_the_command_that_creates_it(state: Path) -> None:
    file = state / "missing" / "tokens.toml"
    made = as_root("token", "create", NEW, "--kinds", "*", "--file", str(file))
    folder = file.parent
    assert made.returncode == 1
    assert made.stderr == f"{file}: there is no folder {folder}: run install -d -o {owner_name()} -m 0700 {folder}\n"
    subprocess.run(made.stderr.rpartition("run ")[2].split(), check=True)
    assert as_root("token", "create", NEW, "--kinds", "*", "--file", str(file)).returncode == 0


def owner_name() -> str:
    return pwd.getpwuid(NOBODY).pw_name


def test_symbolic_link_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tokens(tmp_path / "real.toml")
    (tmp_path / "tokens.toml").symlink_to("real.toml")
    message = fails(capsys, "revoke", DBA, "--file", str(tmp_path / "tokens.toml"))
    assert message == f"{tmp_path}/tokens.toml is a symbolic link: name the file itself"


def test_path_through_folders_of_several_users_is_refused(tmp_path: Path) -> None:
    inner = tmp_path / "of-nobody" / "of-another"
    inner.mkdir(parents=True)
    os.chown(inner.parent, NOBODY, -1)
    os.chown(inner, NOBODY - 1, -1)
    with pytest.raises(ConfigError, match="belong to several users"):
        drop_privileges.become(inner / "tokens.toml")


def test_root_checks_a_configuration_as_the_agents_user_would(state: Path) -> None:
    file = state / "tokens.toml"
    assert as_root("token", "create", DBA, "--kinds", "*", "--file", str(file)).returncode == 0
    config = state.parent / "agent.toml"
    config.write_text(f'[agent]\ndb = "{state}/agent.db"\n[api]\ntokens = "{file}"\n')
    checked = as_root("config", "check", str(config))
    assert (checked.returncode, checked.stderr) == (0, "")
    os.chown(file, 0, 0)
    refused = as_root("config", "check", str(config))
    assert "cannot be read: Permission denied" in refused.stderr


@pytest.mark.parametrize("command", [["token", "create", NEW, "--kinds", "*"], ["config", "check"]])
def test_root_ignores_paths_in_a_configuration_of_another_user(tmp_path: Path, state: Path, command: list[str]) -> None:
    """agentctl reads agent.toml of the working directory, whose owner chooses the files of the command."""
    tmp_path.chmod(0o755)
    file = state / "agent.toml"
    file.write_text(f'[agent]\ndb = "{tmp_path}/agent.db"\n[api]\ntokens = "{tmp_path}/nologin"\n')
    os.chown(file, NOBODY, NOBODY)
    ended = as_root(*command, cwd=state)
    assert ended.returncode != 0, ended
    assert "Traceback" not in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_root_refuses_a_configuration_writable_by_others(state: Path) -> None:
    config = state.parent / "agent.toml"
    config.write_text(f'[api]\ntokens = "{state}/tokens.toml"\n')
    config.chmod(0o666)
    ended = as_root("token", "create", NEW, "--kinds", "*", AGENT_CONFIG=str(config))
    assert ended.returncode != 0
    assert "users other than its owner may write it (mode 0666)" in ended.stderr


def test_root_writes_the_audit_trail_as_the_agents_user(tmp_path: Path, state: Path) -> None:
    """The tokens file belongs to root here, the database beside it does not."""
    config, tokens = state.parent / "agent.toml", state.parent / "tokens.toml"
    config.write_text(f'[agent]\ndb = "{state}/agent.db"\n[api]\ntokens = "{tokens}"\n')
    roots = tmp_path / "agent.db"
    with closing(Store(roots)) as store:
        store.open()
        before = audit_events.newest(store)
    (state / "agent.db").symlink_to(roots)
    os.lchown(state / "agent.db", NOBODY, NOBODY)
    made = as_root("token", "create", NEW, "--kinds", "*", AGENT_CONFIG=str(config))
    assert made.returncode == 0, made.stderr
    assert "not recorded in the audit trail" in made.stderr
    with closing(Store(roots)) as store:
        assert audit_events.newest(store) == before


def test_audit_trail_names_root_for_a_command_run_as_the_agents_user(state: Path) -> None:
    config, db = state.parent / "agent.toml", state / "agent.db"
    config.write_text(f'[agent]\ndb = "{db}"\n[api]\ntokens = "{state}/tokens.toml"\n')
    with closing(Store(db)) as store:
        store.open()
    for each in state.iterdir():
        os.chown(each, NOBODY, NOBODY)
    made = as_root("token", "create", NEW, "--kinds", "*", AGENT_CONFIG=str(config), SUDO_USER="")
    assert (made.returncode, made.stderr) == (0, "")
    with closing(Store(db)) as store:
        assert audit_events.after(store, 0, 10)[-1]["user"] == "root"
