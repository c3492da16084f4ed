"""daemon.certificate: good for loopback, made once, renewed in time."""

from __future__ import annotations

import datetime as dt
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509

from gatewayd.daemon import certificate
from tests.fakes.clock import NOW


def test_it_is_trusted_by_its_authority_and_private(tmp_path: Path) -> None:
    """Names of loopback; the key is for its owner only, and belongs to the certificate."""
    authority, chain, key = certificate.ensure(tmp_path / "tls", now=NOW)
    leaf = x509.load_pem_x509_certificate(chain.read_bytes())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value

    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.read_bytes()))
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain, key)


@pytest.mark.parametrize(
    ("later", "is_same"),
    [(dt.timedelta(days=790), True), (dt.timedelta(days=800), False)],
)
def test_it_is_renewed_thirty_days_before_its_end(
    tmp_path: Path, later: dt.timedelta, *, is_same: bool
) -> None:
    """Clients that trust the authority go on until then."""
    authority, *_ = certificate.ensure(tmp_path, now=NOW)
    before = authority.read_bytes()
    certificate.ensure(tmp_path, now=NOW + later)

    assert is_same == (before == authority.read_bytes())


@pytest.mark.parametrize("name", ["ca.pem", "localhost.pem", "localhost.key"])
def test_missing_or_damaged_file_makes_all_new(tmp_path: Path, name: str) -> None:
    """A certificate without its key, or its authority, is of no use."""
    files = certificate.ensure(tmp_path, now=NOW)
    (tmp_path / name).unlink()

    assert certificate.ensure(tmp_path, now=NOW) == files
    assert (tmp_path / name).is_file()


def test_what_is_no_certificate_is_replaced(tmp_path: Path) -> None:
    _, chain, _ = certificate.ensure(tmp_path, now=NOW)
    chain.write_text("nonsense")
    certificate.ensure(tmp_path, now=NOW)

    assert x509.load_pem_x509_certificate(chain.read_bytes()).version is x509.Version.v3
