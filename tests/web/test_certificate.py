"""A self-signed certificate is made once, names the machine, and keeps its key private."""

import ssl
import stat
from pathlib import Path

from cryptography import x509

from web.certificate import self_signed


def test_the_certificate_loads_with_its_key_and_names_the_host(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path, "192.0.2.7")
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    names = (
        x509.load_pem_x509_certificate(certificate.read_bytes())
        .extensions.get_extension_for_class(x509.SubjectAlternativeName)
        .value
    )
    assert "localhost" in names.get_values_for_type(x509.DNSName)
    assert "192.0.2.7" in map(str, names.get_values_for_type(x509.IPAddress))


def test_the_key_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    _, key = self_signed(tmp_path, "localhost")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_a_second_start_keeps_the_certificate_that_people_have_accepted(tmp_path: Path) -> None:
    first = self_signed(tmp_path, "localhost")[0].read_bytes()
    assert self_signed(tmp_path, "localhost")[0].read_bytes() == first
