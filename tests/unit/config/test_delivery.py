"""config.delivery: NextHop fails closed."""

from __future__ import annotations

import pytest

from gatewayd.config.delivery import NextHop, TlsMode


def test_plaintext_to_another_machine_cannot_be_said() -> None:
    """There is no value that would send a password or mail in plaintext over a network."""
    with pytest.raises(ValueError, match="plaintext is for loopback"):
        NextHop(host="smtp.example.net", port=25, tls_mode=TlsMode.NONE_ON_LOOPBACK)


def test_user_without_password_cannot_be_said() -> None:
    """Half a login is a mistake."""
    with pytest.raises(ValueError, match="go together"):
        NextHop(host="h", port=465, tls_mode=TlsMode.IMPLICIT, user="u")


def test_repr_hides_the_password() -> None:
    """A NextHop may be logged by mistake."""
    hop = NextHop(host="h", port=465, tls_mode=TlsMode.IMPLICIT, user="u", password="hunter2")

    assert "hunter2" not in f"{hop!r} {hop}"


def test_text_has_ipv6_in_brackets() -> None:
    """host:port, as elsewhere."""
    assert str(NextHop(host="::1", port=25, tls_mode=TlsMode.NONE_ON_LOOPBACK)) == "[::1]:25"
