"""Adds the files of a package outside of /opt/agent: units, users, the manual page, completion, documentation."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
from email.utils import formatdate
from pathlib import Path

from environment import PREFIX, SITE

NAME = "datastore-host-agent"
MAINTAINER = f"{NAME} <{NAME}@localhost>"
COPIES = {
    "systemd/agent.service": "usr/lib/systemd/system/agent.service",
    "systemd/agent-job@.service": "usr/lib/systemd/system/agent-job@.service",
    "systemd/agent-polkit.path": "usr/lib/systemd/system/agent-polkit.path",
    "systemd/agent-polkit.service": "usr/lib/systemd/system/agent-polkit.service",
    "systemd/agent-dbus.conf": "usr/share/dbus-1/system.d/agent.conf",
    "systemd/agent.sysusers": "usr/lib/sysusers.d/agent.conf",
    "systemd/agent.tmpfiles": "usr/lib/tmpfiles.d/agent.conf",
    "systemd/agent.toml": f"usr/share/doc/{NAME}/agent.toml",
    "packaging/lintian-overrides": f"usr/share/lintian/overrides/{NAME}",
    "packaging/copyright": f"usr/share/doc/{NAME}/copyright",
    "CHANGES.rst": f"usr/share/doc/{NAME}/CHANGES.rst",
    "README.rst": f"usr/share/doc/{NAME}/README.rst",
}
COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/agentctl",
    "zsh": "usr/share/zsh/vendor-completions/_agentctl",
    "fish": "usr/share/fish/vendor_completions.d/agentctl.fish",
}
COMPRESSED = {"docs/agentctl.1": "usr/share/man/man1/agentctl.1.gz"}


def add(tree: Path, root: Path, version: str, epoch: int) -> None:
    """Copy the files of `tree` to their places below `root`; `epoch`: the time of this version."""
    for source, place in COPIES.items():
        shutil.copyfile(tree / source, _parent(root / place))
    for source, place in COMPRESSED.items():
        _compress((tree / source).read_bytes(), _parent(root / place))
    _compress(_changelog(version, epoch).encode(), _parent(root / f"usr/share/doc/{NAME}/changelog.gz"))
    for page in sorted((tree / "docs").glob("*.rst")):
        shutil.copyfile(page, _parent(root / f"usr/share/doc/{NAME}/docs/{page.name}"))
    _add_completions(root)
    program = _parent(root / "usr/bin/agentctl")
    program.symlink_to(f"/{PREFIX}/bin/agentctl")


def _add_completions(root: Path) -> None:
    for shell, place in COMPLETIONS.items():
        command = [sys.executable, "-B", "-m", "agent.cli", "completion", shell]
        script = subprocess.run(command, check=True, capture_output=True, text=True, cwd=root / SITE)
        _parent(root / place).write_text(script.stdout)


def _changelog(version: str, epoch: int) -> str:
    """A changelog in Debian's format with only this version; CHANGES.rst has the details."""
    return f"""\
{NAME} ({version}) unstable; urgency=medium

  * See /usr/share/doc/{NAME}/CHANGES.rst.

 -- {MAINTAINER}  {formatdate(epoch)}
"""


def _compress(text: bytes, to: Path) -> None:
    with to.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as packed:
        packed.write(text)


def _parent(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
