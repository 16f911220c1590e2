"""Until when a certificate of a file is valid."""

import ssl
from pathlib import Path


def of(file: Path) -> float:
    """Seconds since the epoch; 0 where the file holds no certificate."""
    try:
        # What the standard library parses certificates with; it has no public name for a file.
        found = ssl._ssl._test_decode_cert(str(file))  # type: ignore[attr-defined]
        return ssl.cert_time_to_seconds(found["notAfter"])
    except (OSError, KeyError, ValueError):
        return 0.0
