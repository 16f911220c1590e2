"""An authority for tests, and its certificates."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


class Authority:
    """Signs certificates; `ca` is its own certificate."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test's authority")])
        self._numbers = count(1)
        self._serials: dict[str | None, list[int]] = {}
        self._issued: list[int] = []
        builder = _valid(self._name, self._key, DAY).issuer_name(self._name)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self._certificate = builder.sign(self._key, hashes.SHA256())
        self.ca = directory / "ca.pem"
        self.ca.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def server(self) -> tuple[Path, Path]:
        """Certificate and key of a server at 127.0.0.1."""
        return self._issue([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))], None, DAY)

    def client_files(self, email: str) -> tuple[Path, Path]:
        """Certificate and key of a caller."""
        return self._issue([x509.RFC822Name(email)], None, DAY)

    def client(
        self, email: str | None, *, subject: str | None = None, left: timedelta = DAY, server: Authority | None = None
    ) -> ssl.SSLContext:
        """The TLS context of a caller: its certificate with the e-mail as alternative name or in the subject.

        The certificate is valid as long as `left` says; less than nothing: it has expired.
        """
        names: list[x509.GeneralName] = [] if email is None else [x509.RFC822Name(email)]
        self._issued = self._serials.setdefault(email, [])
        context = ssl.create_default_context(cafile=(server or self).ca)
        context.load_cert_chain(*self._issue(names, subject, left))
        return context

    def revoke(self, file: Path, *emails: str, left: timedelta = DAY) -> Path:
        """Write the list of revoked certificates: all of these e-mails. It is valid as long as `left` says."""
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._name)
        builder = builder.last_update(now - 2 * DAY).next_update(now + left)
        for serial in (number for email in emails for number in self._serials[email]):
            revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - DAY)
            builder = builder.add_revoked_certificate(revoked.build())
        new = file.with_suffix(".new")
        new.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return new.replace(file)

    def _issue(self, names: list[x509.GeneralName], email: str | None, left: timedelta) -> tuple[Path, Path]:
        key, number = ec.generate_private_key(ec.SECP256R1()), next(self._numbers)
        attributes = [x509.NameAttribute(NameOID.COMMON_NAME, f"number {number}")]
        if email is not None:
            attributes.append(x509.NameAttribute(NameOID.EMAIL_ADDRESS, email))
        builder = _valid(x509.Name(attributes), key, left).issuer_name(self._name)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        self._issued.append(certificate.serial_number)
        files = self._directory / f"{number}.pem", self._directory / f"{number}.key"
        files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files[1].write_bytes(_pem(key))
        return files


def _valid(subject: x509.Name, key: ec.EllipticCurvePrivateKey, left: timedelta) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - 2 * DAY).not_valid_after(now + left)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
