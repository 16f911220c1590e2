"""Rolling runs over three booted nodes, by hand: they take minutes, more than a test may.

    python -m tests.fleet [--packages FOLDER] [upgrade] [postgresql] [mariadb] [redis]

Runs the named parts, or all of them, as root. Each prints its figures, and stops at the first difference. The folder
keeps the packages for the next time.
"""

from __future__ import annotations

import argparse
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fleet import nodes, rolling, upgrade
from tests.fleet.nodes import Nodes
from tests.fleet.servers import MariaDB, PostgreSQL, Redis
from tests.servers.agent_venv import NOT_INSTALLED
from tests.servers.packages import CHECKOUT, build

NEWER = "99.0.0"
PARTS: dict[str, Callable[[Nodes, Path, Path], None]] = {
    "upgrade": upgrade.run,
    "postgresql": rolling.over(PostgreSQL),
    "mariadb": rolling.over(MariaDB),
    "redis": rolling.over(Redis),
}


def main() -> None:
    """Print the figures; `AssertionError` with the output of Ansible for every difference."""
    parser = argparse.ArgumentParser(prog="python -m tests.fleet")
    parser.add_argument("--packages", type=Path, help="a folder for the packages, built there unless it has them")
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all unless given")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown part {', '.join(sorted(unknown))}: expected {', '.join(PARTS)}")
    with TemporaryDirectory(prefix="agent-fleet-") as folder:
        directory = Path(folder)
        directory.chmod(0o755)
        package, newer = built(options.packages or directory / "packages", directory)
        for name in options.parts or PARTS:
            (own := directory / name).mkdir()
            began = time.monotonic()
            with nodes.booted(own) as three:
                PARTS[name](three, package, newer)
            print(f"{name}: done in {time.monotonic() - began:.0f} s", flush=True)


def built(folder: Path, work: Path) -> tuple[Path, Path]:
    """The .deb of the checkout and one with a higher version. Built on this machine, which has a package index."""
    if not folder.exists():
        folder.mkdir(parents=True)
        build(folder, CHECKOUT, "deb")
        copy = shutil.copytree(CHECKOUT, work / "newer", ignore=NOT_INSTALLED)
        setup = copy / "setup.cfg"
        setup.write_text(re.sub(r"(?m)^version = .*", f"version = {NEWER}", setup.read_text()))
        build(folder, copy, "deb")
    (newer,) = folder.glob(f"*_{NEWER}_*.deb")
    (package,) = set(folder.glob("*.deb")) - {newer}
    return package, newer


if __name__ == "__main__":
    main()
