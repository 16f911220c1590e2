"""Makes the environment of a package: /opt/agent, with the agent and its locked dependencies."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

PREFIX = "opt/agent"
PYTHON = "3.11"
"""The Python version of the binary wheels: as in Debian 12, and in python3.11 of the RPM distributions."""
GLIBC = "manylinux_2_34"
"""The oldest C library of these distributions; wheels for older ones are accepted too."""
SITE = f"{PREFIX}/lib/python{PYTHON}/site-packages"
OF_INSTALLER = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json")
"""Files of the installer about the source of the installation; RECORD has hashes of files that are moved later."""
PROGRAMS = {
    "agentctl": "from agent.cli import main\n\nsys.exit(main())\n",
    "gunicorn": "from gunicorn.app.wsgiapp import run\n\nsys.exit(run())\n",
}


def make(wheel: Path, lock: Path, root: Path) -> None:
    """Install `wheel` and the dependencies in `lock` below `root`."""
    site, prefix = root / SITE, root / PREFIX
    _install(site, "--require-hashes", "--requirement", str(lock))
    _install(site, str(wheel))
    shutil.move(site / "share", prefix / "share")
    shutil.rmtree(site / "bin")
    _remove_notes(site)
    _make_readable(site)
    (prefix / "pyvenv.cfg").write_text(f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {PYTHON}\n")
    _make_programs(prefix / "bin")


def _install(site: Path, *wanted: str) -> None:
    uv = str(Path(sys.executable).with_name("uv"))
    target = [f"--target={site}", f"--python-version={PYTHON}", f"--python-platform={platform.machine()}-{GLIBC}"]
    quiet = ["--quiet", "--no-config", "--only-binary=:all:", "--no-deps", "--link-mode=copy"]
    subprocess.run([uv, "pip", "install", f"--python={sys.executable}", *quiet, *target, *wanted], check=True)


def _remove_notes(site: Path) -> None:
    for note in OF_INSTALLER:
        for each in site.glob(f"*.dist-info/{note}"):
            each.unlink()


def _make_readable(site: Path) -> None:
    """Set modes for modules and libraries; none of them is a program."""
    for each in site.rglob("*"):
        each.chmod(0o755 if each.is_dir() else 0o644)


def _make_programs(folder: Path) -> None:
    folder.mkdir()
    (folder / "python").symlink_to(f"/usr/bin/python{PYTHON}")
    for name, body in PROGRAMS.items():
        program = folder / name
        # -I: ignore modules of the working directory and of the caller's environment.
        program.write_text(f"#!/{PREFIX}/bin/python -I\nimport sys\n\n{body}")
        program.chmod(0o755)
