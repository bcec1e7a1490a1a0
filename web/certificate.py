"""A self-signed certificate for a local network: browsers give cameras to secure pages only."""

import contextlib
import datetime
import ipaddress
import os
import socket
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_VALID_DAYS = 397  # browsers refuse server certificates that live longer


def self_signed(directory: Path, host: str) -> tuple[Path, Path]:
    """Return the paths of a certificate and its key in *directory*, made if they are not there.

    The names are *host*, the machine's name and its addresses, so that a phone on the same network
    can open the page after one warning. A certificate within a month of its end is made anew.
    """
    certificate, key = directory / "tls-cert.pem", directory / "tls-key.pem"
    if certificate.exists() and key.exists() and not _ends_soon(certificate):
        return certificate, key
    private = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tertulia")])
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=_VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName(_names(host)), critical=False)
        .sign(private, hashes.SHA256())
    )
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(pem)
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    return certificate, key


def _ends_soon(certificate: Path) -> bool:
    loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    left = loaded.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    return left < datetime.timedelta(days=30)


def _names(host: str) -> list[x509.GeneralName]:
    found = {"localhost", "127.0.0.1", "::1", socket.gethostname(), host}
    with contextlib.suppress(OSError):  # a machine without a resolvable name has the others
        found |= {str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None)}
    names: list[x509.GeneralName] = []
    for text in sorted(found):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(text)))
        except ValueError:
            names.append(x509.DNSName(text))
    return names
