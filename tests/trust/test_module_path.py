"""No module is imported from a folder that jobs may write; own kinds come from a folder of root."""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.agent_process import CHECKOUT, AgentProcess
from tests.test_config import started_in_vain

pytestmark = pytest.mark.usefixtures("cold_agents")

SHIPPED = CHECKOUT / "systemd"
SHADOWS = (
    "agent", "wsgi", "difflib", "gunicorn_log", "h2", "setproctitle", "sqlite3", "tomllib", "flask", "apscheduler",
    "marshmallow", "selectors", "concurrent", "asyncio", "uuid", "psycopg", "sitecustomize", "usercustomize",
)  # fmt: skip
"""Names of modules that the agent imports at some time; some are not installed everywhere."""
TRAP = "import pathlib\npathlib.Path({trace!r}).open('a').write(__name__ + '\\n')\nraise ImportError(__name__)\n"
MINE = (
    "from agent.kinds.base import Done, Kind\n\n\nclass Mine(Kind):\n    name = 'mine'\n\n    def step(self, step):\n"
)
MINE += "        return Done({}, 'mine')\n"


class Installed(AgentProcess):
    """An agent started by gunicorn's program, as by the unit; the package is the installed one."""

    def command(self) -> list[str]:
        program = Path(sysconfig.get_path("scripts")) / "gunicorn"
        return [str(program), "-c", str(CHECKOUT / "gunicorn.conf.py")]


@pytest.fixture
def trapped(tmp_path: Path) -> Iterator[Installed]:
    """An agent whose working directory has modules that record their import in `trace`."""
    directory = tmp_path / "state"
    directory.mkdir()
    for name in SHADOWS:
        (directory / f"{name}.py").write_text(TRAP.format(trace=str(tmp_path / "trace")))
    agent = Installed(directory)
    del agent.env["PYTHONPATH"]
    yield agent
    agent.close()
    assert not (tmp_path / "trace").exists(), (tmp_path / "trace").read_text()


def test_nothing_is_imported_from_the_working_directory(trapped: Installed) -> None:
    trapped.start()
    trapped.await_final(trapped.schedule("replicante.test.ping", {"count": 2}))
    assert trapped.post_schedule("replicante.test.pinng", {}).status == 404  # looks for close names
    (trapped.directory / "agent.toml").write_text("[actions]\nqueue_limit = 7\n")
    trapped.reload()
    assert "stays active" not in trapped.log_text()
    assert trapped.post_schedule("replicante.test.pinng", {}).status == 404
    assert trapped.queue() == []


def test_module_of_the_working_directory_is_not_imported_for_kinds(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    message = started_in_vain(tmp_path, '[agent]\nkinds = ["mine"]\n', PYTHONPATH=str(CHECKOUT))
    assert "agent.kinds: cannot import mine: No module named 'mine'" in message


def test_children_are_started_without_the_working_directory_in_sys_path() -> None:
    """Every Python started by the package excludes the working directory."""
    started = [
        (path.name, match[0])
        for path in (CHECKOUT / "agent").rglob("*.py")
        for match in re.finditer(r"sys\.executable, .{4}", path.read_text())
    ]
    assert len(started) >= 3
    assert all('"-P"' in words or '"-I"' in words for _, words in started), started


@pytest.mark.parametrize("unit", ["agent.service", "agent-job@.service"])
def test_units_run_in_the_root_folder(unit: str) -> None:
    assert "\nWorkingDirectory=/\n" in (SHIPPED / unit).read_text()


# The folder of kinds


@pytest.fixture
def kinds() -> Iterator[Path]:
    with TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        folder = Path(name) / "kinds"
        folder.mkdir(mode=0o755)
        (folder / "mine.py").write_text(MINE)
        yield folder


def configured(directory: Path, kinds: Path) -> str:
    text = f'[agent]\ndb = "{directory}/agent.db"\nkinds = ["mine"]\nkinds_path = "{kinds}"\n'
    (directory / "agent.toml").write_text(text)
    return text


def checked(directory: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sysconfig.get_path("scripts")) / "agentctl"), "config", "check", str(directory / "agent.toml")]
    return subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=60, check=False)


def test_gunicorn_and_agentctl_find_the_same_kinds(tmp_path: Path, kinds: Path) -> None:
    assert checked_text(tmp_path, kinds) == ""
    agent = AgentProcess(tmp_path, config=configured(tmp_path, kinds)).start()
    try:
        assert agent.await_final(agent.schedule("mine", {}))["action"]["state"] == "DONE"
        agent.reload()
        assert agent.await_final(agent.schedule("mine", {}))["action"]["state"] == "DONE"
    finally:
        agent.close()


def checked_text(directory: Path, kinds: Path) -> str:
    configured(directory, kinds)
    return checked(directory).stderr


def test_modules_of_kinds_path_do_not_shadow_others(tmp_path: Path, kinds: Path) -> None:
    (kinds / "difflib.py").write_text("raise SystemExit('the wrong one')\n")
    assert checked_text(tmp_path, kinds) == ""
    agent = AgentProcess(tmp_path, config=configured(tmp_path, kinds)).start()
    try:
        assert agent.post_schedule("min", {}).status == 404
    finally:
        agent.close()


@pytest.mark.parametrize("which", ["", "mine.py", "inner", "inner/deep.py", ".."])
def test_kinds_path_writable_by_another_user_is_refused_by_agent_and_agentctl(
    tmp_path: Path, kinds: Path, which: str
) -> None:
    (kinds / "inner").mkdir()
    (kinds / "inner" / "deep.py").touch()
    path = Path(os.path.normpath(kinds / which))
    path.chmod(0o777)
    expected = f"agent.kinds_path: {path}: users other than root may write it (mode 0777): run chmod go-w {path}"
    assert checked_text(tmp_path, kinds) == f"{expected}\n"
    assert started_in_vain(tmp_path, configured(tmp_path, kinds)) == f"agent: {expected}"
    path.chmod(0o755)
    os.chown(path, 65534, -1)
    expected = f"agent.kinds_path: {path}: it belongs to nobody, not to root: run chown root {path}"
    assert checked_text(tmp_path, kinds) == f"{expected}\n"


def test_missing_kinds_path_is_reported(tmp_path: Path, kinds: Path) -> None:
    message = checked_text(tmp_path, kinds / "nowhere")
    assert message == f"agent.kinds_path: {kinds}/nowhere: No such file or directory\n"
