"""The agent installed as on a real host: Debian's Python and a virtual environment for every user."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.cache import cache_dir
from tests.servers.process import run
from tests.servers.shared import shared

PYTHON = "/usr/bin/python3"
CHECKOUT = Path(__file__).parents[2]
NOT_INSTALLED = shutil.ignore_patterns(".*", "__pycache__", "tests", "bench", "build", "*.egg-info")


@contextmanager
def shared_agent_venv(run_id: str) -> Iterator[Path]:
    """A virtualenv with the checkout and all its extras, made once for all processes of a test run.

    It lies in the cache directory, which a node shows at the same path (unlike /tmp and root's home): make it before
    the node. Its programs are in `bin`. The last process removes it. Raises RuntimeError if pip fails.
    """
    folder, make = cache_dir() / f"agent-venv-{run_id}", lambda venv: make_agent_venv(venv, "all")
    with shared(folder, make, Path(__file__)) as venv:
        yield venv


def make_agent_venv(venv: Path, *extras: str, checkout: Path = CHECKOUT) -> None:
    """A new virtualenv with the checkout and these extras in it."""
    venv.parent.mkdir(parents=True, exist_ok=True)
    try:
        run([PYTHON, "-m", "venv", "--without-pip", venv])
        venv.chmod(0o755)
        install(venv, extras, checkout)
    except BaseException:
        shutil.rmtree(venv, ignore_errors=True)
        raise


def install(venv: Path, extras: tuple[str, ...], checkout: Path) -> None:
    """Install a copy of the checkout, because a build writes beside its sources."""
    with tempfile.TemporaryDirectory() as building:
        copy = Path(building) / "agent"
        shutil.copytree(checkout, copy, ignore=NOT_INSTALLED)
        wanted = f"{copy}[{','.join(extras)}]" if extras else str(copy)
        pip = [sys.executable, "-m", "pip", "--python", str(venv / "bin/python")]
        run([*pip, "install", "--quiet", "--disable-pip-version-check", wanted], timeout=300)
