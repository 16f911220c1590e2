"""Makes a self-signed certificate for `setup --tls`, valid for 825 days."""

import datetime
import hashlib
import ipaddress
import os
import pwd
from collections.abc import Sequence
from pathlib import Path

from agent.cli.exits import Usage
from agent.cli.setup import record
from agent.cli.setup.change import Change, Note
from agent.cli.setup.configuration import CERTIFICATE, KEY
from agent.util import atomic_files

VALID = datetime.timedelta(days=825)


def make(names: Sequence[str], owner: str) -> Change:
    """Make certificate and key unless both exist. `owner` may read the key. Raises `Usage` if only one exists."""
    note: Note = {"what": "files", "paths": [str(CERTIFICATE), str(KEY)]}
    present = [str(each) for each in (CERTIFICATE, KEY) if each.exists()]
    if len(present) == 1 and note not in record.begun():
        raise Usage(f"only {present[0]} exists, and setup would replace it: move it away, or add the other file")
    return Change(
        f"make a self-signed certificate for {', '.join(names)}, valid for {VALID.days} days: {CERTIFICATE}, {KEY}",
        lambda: CERTIFICATE.exists() and KEY.exists(),
        lambda: _write(names, owner),
        note,
    )


def undo(note: Note) -> str:
    """Remove both files; keep one that was changed since. Returns what was done."""
    done = []
    for each in note["paths"]:
        known = note.get("sha256", {}).get(each)
        if known is not None and _hash(Path(each)) not in (None, known):
            done.append(f"kept {each}: it was changed since")
            continue
        atomic_files.remove(Path(each))
        done.append(f"removed {each}")
    return "; ".join(done)


def _hash(path: Path) -> str | None:
    present = atomic_files.read(path)
    return None if present is None else hashlib.sha256(present).hexdigest()


def _write(names: Sequence[str], owner: str) -> Note:
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID
    except ImportError:
        raise Usage("--tls needs the package cryptography: install the agent with its extra [mysql]") from None
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + VALID)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([*map(x509.DNSName, names), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    atomic_files.replace(KEY, key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    user = pwd.getpwnam(owner)
    os.chown(KEY, user.pw_uid, user.pw_gid)
    atomic_files.replace(CERTIFICATE, certificate.public_bytes(pem), mode=0o644)
    return {"sha256": {str(each): _hash(each) for each in (CERTIFICATE, KEY)}}
