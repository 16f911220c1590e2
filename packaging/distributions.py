"""Builds the wheel and the sdist reproducibly: the same sources give the same bytes."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path


def build(tree: Path, to: Path, epoch: int) -> tuple[Path, Path]:
    """Build both from `tree` into the folder `to`, the wheel from the sdist; returns sdist and wheel."""
    subprocess.run(
        [sys.executable, "-m", "build", "--installer=uv", "--outdir", str(to), str(tree)],
        check=True,
        stdout=subprocess.DEVNULL,
        umask=0o022,
        env=dict(os.environ) | {"SOURCE_DATE_EPOCH": str(epoch)},
    )
    (sdist,), (wheel,) = to.glob("*.tar.gz"), to.glob("*.whl")
    sdist.write_bytes(repacked(sdist.read_bytes(), epoch))
    return sdist, wheel


def repacked(sdist: bytes, epoch: int) -> bytes:
    """The sdist without the times and users of the build, sorted by name; setuptools has no option for that."""
    found = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(sdist)) as old,
        gzip.GzipFile(fileobj=found, mode="wb", mtime=epoch, filename="") as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda each: each.name):
            plain = tarfile.TarInfo(member.name)
            plain.type, plain.size, plain.mtime = member.type, member.size, epoch
            plain.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            new.addfile(plain, old.extractfile(member) if member.isfile() else None)
    return found.getvalue()
