"""`agentctl doctor --fix` shows each command, then repairs modes, folders and the polkit rule, never the data."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from agent import config
from agent.cli import agent_unit
from agent.cli.doctor import repairs, units
from agent.tools import polkit
from tests.cli.calling import Ended, Typed, call
from tests.servers.process import free_port


def fixed(folder: Path, text: str = "", *words: str, stdin: str | Typed = "") -> Ended:
    file = folder / "agent.toml"
    bind = f'[api]\nbind = "127.0.0.1:{free_port()}"\n'
    file.write_text(text if "[agent]" in text else f'[agent]\ndb = "{folder}/agent.db"\n{bind}{text}')
    return call(None, "doctor", "--faults", "--fix", *words, str(file), stdin=stdin)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def open_files(tmp_path: Path) -> dict[str, int]:
    """Files that other users may use, and the modes that they should have."""
    wanted = {"agent.db": 0o644, "agent.db.lock": 0o600, "password": 0o644}
    for name, right in wanted.items():
        (tmp_path / name).write_bytes(b"" if name != "password" else b"battery-staple")
        (tmp_path / name).chmod(right | 0o066)
    return wanted


REDIS = '[datastore]\nkind = "redis"\nurl = "redis://127.0.0.1:1"\npassword_file = "{}/password"\n'


@pytest.mark.parametrize(("words", "stdin"), [(("--yes",), ""), ((), Typed("y\n"))])
def test_file_modes_are_repaired_after_the_commands_were_shown(
    tmp_path: Path, open_files: dict[str, int], words: tuple[str, ...], stdin: str | Typed
) -> None:
    ended = fixed(tmp_path, REDIS.format(tmp_path), *words, stdin=stdin)
    assert "trust" not in ended.stdout and "password" not in ended.stdout.partition("datastore")[0]
    for name, right in open_files.items():
        assert mode(tmp_path / name) == right, name
        would, done = (f"{verb}: chmod {right:o} {tmp_path}/{name}\n" for verb in ("would run", "done"))
        assert ended.stderr.index(would) < ended.stderr.index("done: ") <= ended.stderr.index(done)


@pytest.mark.parametrize(("stdin", "status"), [("", 2), (Typed("n\n"), 1), (Typed(""), 1)])
def test_nothing_is_repaired_without_a_confirmation(
    tmp_path: Path, open_files: dict[str, int], stdin: str | Typed, status: int
) -> None:
    ended = fixed(tmp_path, REDIS.format(tmp_path), stdin=stdin)
    assert (ended.status, "would run: " in ended.stderr, "done: " in ended.stderr) == (status, True, False)
    if status == 2:
        assert ended.stderr.endswith("\nadd --yes to repair without a terminal; nothing was changed\n")
    assert [mode(tmp_path / name) for name in open_files] == [right | 0o066 for right in open_files.values()]


def folders_in(folder: Path) -> str:
    return f'[agent]\ndb = "{folder}/state/agent.db"\n[api]\nbind = "unix:{folder}/run/agent.sock"\n'


def test_missing_folders_are_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_unit, "user", lambda: "no-such-user")
    ended = fixed(tmp_path, folders_in(tmp_path), "--yes")
    assert (ended.status, ended.stdout) == (0, ""), ended.stdout + ended.stderr
    assert (mode(tmp_path / "state"), mode(tmp_path / "run")) == (0o750, 0o755)


def test_folders_created_by_root_belong_to_the_user_of_the_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_unit, "user", lambda: "nobody")
    (tmp_path / "agent.toml").write_text(folders_in(tmp_path))
    settings = config.load({"AGENT_CONFIG": str(tmp_path / "agent.toml")})
    found = list(repairs.files(settings, None))
    assert found[0].command == f"install -d -o nobody -g 65534 -m 0750 {tmp_path}/state"
    for each in found:
        each.do()
    assert {(tmp_path / name).stat().st_uid for name in ("state", "run")} == {65534}


def test_mount_points_and_deeper_paths_are_not_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fstab").write_text(f"# comment\n/dev/vdb1 {tmp_path}/state ext4 defaults 0 2\n")
    monkeypatch.setattr(repairs, "FSTAB", tmp_path / "fstab")
    for folder in ("state", "a/b"):
        ended = fixed(tmp_path, f'[agent]\ndb = "{tmp_path}/{folder}/agent.db"\n', "--yes")
        assert "no fault that --fix can repair" in ended.stderr
        assert not (tmp_path / folder).exists()


def test_database_is_never_repaired(tmp_path: Path) -> None:
    content = b"no database at all " * 500
    (tmp_path / "agent.db").write_bytes(content)
    (tmp_path / "agent.db").chmod(0o600)
    ended = fixed(tmp_path, "", "--yes")
    assert ended.status == 1 and "restore it" in ended.stdout
    assert (tmp_path / "agent.db").read_bytes() == content


def test_symbolic_links_and_files_of_other_users_are_left(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").touch()
    (tmp_path / "elsewhere").chmod(0o666)
    (tmp_path / "agent.db.lock").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "agent.db.key").touch()
    (tmp_path / "agent.db.key").chmod(0o666)
    os.chown(tmp_path / "agent.db.key", 65534, 65534)
    fixed(tmp_path, "", "--yes")
    assert mode(tmp_path / "elsewhere") == mode(tmp_path / "agent.db.key") == 0o666


def test_stale_polkit_rule_is_replaced_and_a_foreign_one_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polkit, "FILE", tmp_path / "50-agent.rules")
    text = '[host]\nservices = ["redis.service"]\n'
    wanted = polkit.rule(config.parse({"host": {"services": ["redis.service"]}}), "agent", "here")
    for present, replaced in ((polkit.rule(config.parse({}), "agent", "here"), True), ("// by hand\n", False)):
        polkit.FILE.write_text(present)
        ended = fixed(tmp_path, text, "--yes")
        assert ("done: agentctl polkit --write" in ended.stderr) == replaced
        same = units.same(polkit.FILE.read_text(), wanted)
        assert same == replaced and (replaced or polkit.FILE.read_text() == present)
    polkit.FILE.unlink()
    fixed(tmp_path, text, "--yes")
    assert not polkit.FILE.exists()
