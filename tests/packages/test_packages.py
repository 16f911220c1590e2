"""The built packages: reproducible, free of files of an earlier build, complete, and accepted by lintian."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.servers.agent_venv import NOT_INSTALLED
from tests.servers.packages import CHECKOUT, build
from tests.servers.process import run

LOCK = CHECKOUT / "packaging/requirements.lock"
OF_SDIST = (
    "packaging/nfpm.yaml",
    "packaging/requirements.lock",
    "systemd/agent.service",
    "docs/agentctl.1",
    "setup.cfg",
)
OF_WHEEL = (
    "agent/store/migrations/0001_initial.sql",
    "agent/web/static/page.js",
    "agent/web/templates/home.html",
    "agent/py.typed",
    "wsgi.py",
)
OF_SYSTEM = (
    "etc/agent/agent.toml",
    "opt/agent/bin/agentctl",
    "opt/agent/share/agent/gunicorn.conf.py",
    "opt/agent/share/agent/monitoring/agent.rules.yml",
    "usr/bin/agentctl",
    "usr/lib/systemd/system/agent.service",
    "usr/lib/systemd/system/agent-job@.service",
    "usr/lib/systemd/system/agent-polkit.path",
    "usr/lib/sysusers.d/agent.conf",
    "usr/lib/tmpfiles.d/agent.conf",
    "usr/share/bash-completion/completions/agentctl",
    "usr/share/dbus-1/system.d/agent.conf",
    "usr/share/man/man1/agentctl.1.gz",
)


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of this checkout in another folder, with new file times."""
    return Path(shutil.copytree(CHECKOUT, tmp_path / "copy", ignore=NOT_INSTALLED, copy_function=shutil.copy))


def test_two_builds_are_the_same_bytes(packages: Path, checkout: Path, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        for each in checkout.rglob("*.py"):
            each.chmod(0o600)
        build(tmp_path / "again", checkout)
    finally:
        os.umask(before)
    names = sorted(each.name for each in packages.iterdir() if not each.name.startswith("."))
    assert [name.rpartition(".")[2] for name in names] == ["rpm", "deb", "whl", "gz"]
    differ = [name for name in names if (packages / name).read_bytes() != (tmp_path / "again" / name).read_bytes()]
    assert differ == []


def test_a_deleted_module_of_an_earlier_build_is_in_no_wheel(checkout: Path, tmp_path: Path) -> None:
    left = checkout / "build/lib/agent/deleted.py"
    left.parent.mkdir(parents=True)
    left.write_text("deleted = True\n")
    run([sys.executable, "-m", "build", "--installer=uv", "--wheel", "--outdir", tmp_path, checkout], timeout=300)
    with zipfile.ZipFile(only(tmp_path, "*.whl")) as wheel:
        names = wheel.namelist()
    assert "agent/deleted.py" not in names and "agent/client.py" in names


def test_the_sdist_and_the_wheel_are_complete(packages: Path) -> None:
    with tarfile.open(only(packages, "*.tar.gz")) as sdist:
        have = {name.partition("/")[2] for name in sdist.getnames()}
    assert [each for each in OF_SDIST if each not in have] == []
    with zipfile.ZipFile(only(packages, "*.whl")) as wheel:
        names = wheel.namelist()
    assert [each for each in OF_WHEEL if each not in names] == []
    shipped = {name.rpartition("/")[2] for name in names if "/data/share/agent/" in name}
    assert shipped >= {each.name for each in (CHECKOUT / "systemd").iterdir()} - {"agent.toml"}
    assert {name.partition("/")[0] for name in names if "/" in name and "dist-info" not in name} == {
        "agent",
        only(packages, "*.whl").name.partition("-py3")[0] + ".data",
    }


def test_deb_and_rpm_are_complete(packages: Path) -> None:
    lines = run(["dpkg-deb", "--contents", only(packages, "*.deb")]).splitlines()
    have = {line.split()[5].removeprefix("./") for line in lines}
    assert [each for each in OF_SYSTEM if each not in have] == []
    assert [each for each in have if each.endswith((".pyc", "/RECORD"))] == []
    conffiles = run(["dpkg-deb", "--info", only(packages, "*.deb"), "conffiles"])
    assert conffiles.split() == ["/etc/agent/agent.toml"]


def test_lintian_finds_no_error(packages: Path, tmp_path: Path) -> None:
    found = subprocess.run(
        ["lintian", "--fail-on", "error", "--allow-root", "--tag-display-limit", "0", only(packages, "*.deb")],
        capture_output=True, text=True, timeout=800,
    )  # fmt: skip
    errors = [line for line in found.stdout.splitlines() if line.startswith("E:")]
    assert (found.returncode, errors) == (0, []), found.stderr


def test_lock_file_has_every_requirement_of_setup_cfg() -> None:
    locked = dict(re.findall(r"^([a-z0-9-]+)==([\w.]+) \\$", LOCK.read_text(), re.M))
    wanted = list(requirements())
    assert len(wanted) > 10
    for name, least, below in wanted:
        assert least <= numbers(locked[name]), f"{name}: run make lock"
        assert below is None or numbers(locked[name]) < below, f"{name}: run make lock"
    assert LOCK.read_text().count("--hash=sha256:") > len(locked)


def requirements() -> list[tuple[str, tuple[int, ...], tuple[int, ...] | None]]:
    """Name, least version and first version that is too new, of the core and of all extras that `all` has."""
    parser = configparser.ConfigParser()
    parser.read(CHECKOUT / "setup.cfg")
    extras = parser["options.extras_require"]
    lines = parser["options"]["install_requires"].split("\n") + extras["all"].split("\n")
    found = []
    for line in lines:
        if match := re.fullmatch(r"([\w.-]+)(?:\[\w+\])? >=([\d.]+)(?:,<([\d.]+))?", line.strip()):
            name, least, below = match.groups()
            found.append((name.lower().replace("_", "-"), numbers(least), numbers(below) if below else None))
    return found


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(each) for each in re.findall(r"\d+", version))
