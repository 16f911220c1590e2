"""The agent installed as on a real host: Debian's Python and a virtualenv that every user can run."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from tests.servers.cache import cache_dir
from tests.servers.process import run

PYTHON = "/usr/bin/python3"
CHECKOUT = Path(__file__).parents[2]
NOT_INSTALLED = shutil.ignore_patterns(".*", "__pycache__", "tests", "bench", "build", "*.egg-info")


def make_agent_venv(*extras: str, checkout: Path = CHECKOUT) -> Path:
    """A new virtualenv with the checkout and these extras in it; whoever makes it removes it.

    It lies in the cache directory, which a node shows at the same path (unlike /tmp and root's
    home): make it before the node. Its programs are in `bin`. RuntimeError if pip fails.
    """
    parent = cache_dir()
    parent.mkdir(parents=True, exist_ok=True)
    venv = Path(tempfile.mkdtemp(prefix="agent-venv-", dir=parent))
    venv.chmod(0o755)
    try:
        run([PYTHON, "-m", "venv", "--without-pip", venv])
        install(venv, extras, checkout)
    except BaseException:
        shutil.rmtree(venv)
        raise
    return venv


def install(venv: Path, extras: tuple[str, ...], checkout: Path) -> None:
    """Install a copy of the checkout: a build writes beside its sources."""
    with tempfile.TemporaryDirectory() as building:
        copy = Path(building) / "agent"
        shutil.copytree(checkout, copy, ignore=NOT_INSTALLED)
        wanted = f"{copy}[{','.join(extras)}]" if extras else str(copy)
        pip = [sys.executable, "-m", "pip", "--python", str(venv / "bin/python")]
        run([*pip, "install", "--quiet", "--disable-pip-version-check", wanted], timeout=300)
