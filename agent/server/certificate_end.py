"""Reads the expiry of a certificate."""

import ssl
from pathlib import Path


def of(file: Path) -> float:
    """The expiry in seconds since the epoch; 0 if the file holds no certificate."""
    try:
        # The standard library has no public function for a certificate in a file.
        found = ssl._ssl._test_decode_cert(str(file))  # type: ignore[attr-defined]
        return ssl.cert_time_to_seconds(found["notAfter"])
    except (OSError, KeyError, ValueError):
        return 0.0
