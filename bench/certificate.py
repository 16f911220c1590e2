"""Makes a self-signed certificate for 127.0.0.1."""

from __future__ import annotations

import subprocess
from pathlib import Path

from bench.figure import Unmeasured

CERTIFICATE = (
    "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
    "-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1",
)  # fmt: skip


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """The paths of a certificate and its key."""
    certificate, key = directory / "server.pem", directory / "server.key"
    made = subprocess.run(
        [*CERTIFICATE, "-out", certificate, "-keyout", key], capture_output=True, text=True, check=False
    )
    if made.returncode:
        raise Unmeasured(f"openssl: {made.stderr.strip()[-200:]}")
    return certificate, key
