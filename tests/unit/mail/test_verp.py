"""mail.verp: an address that names a recipient, and cannot be made by anybody else."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.mail import verp

KEY = bytes(range(32))
IDENT = "01936f1e-0000-7000-8000-000000000001"
DAY = 20_000
ADDRESS = verp.encode(IDENT, kid="a", expires_day=DAY, key=KEY)


def test_address_has_its_form_and_length() -> None:
    """55 octets of letters and digits that no remote folds apart: known answer."""
    assert len(ADDRESS) == verp.LOCAL_PART_OCTETS
    assert ADDRESS == "bounce+agjw6hqaabyabaaaaaaaaaaaae.aatralrrfocejp4bj52pb"


@given(st.uuids(), st.sampled_from("abz27"), st.integers(0, 2**20 - 1), st.binary(min_size=1))
def test_what_was_encoded_is_decoded(ident: uuid.UUID, kid: str, day: int, key: bytes) -> None:
    """Whatever the remote does to the case."""
    text = verp.encode(str(ident), kid=kid, expires_day=day, key=key)

    for written in (text, text.upper(), text.title()):
        found = verp.decode(written)
        assert found is not None
        assert (found.ident, found.kid, found.expires_day) == (str(ident), kid, day)
        assert found.is_authentic(key)
        assert not found.is_authentic(key + b"x")


@given(st.integers(0, 54), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567+."))
def test_no_other_character_anywhere_is_authentic(at: int, character: str) -> None:
    """Each of the 55 is under the MAC, or is the MAC."""
    text = ADDRESS[:at] + character + ADDRESS[at + 1 :]
    found = verp.decode(text)

    assert text == ADDRESS or found is None or not found.is_authentic(KEY)


@pytest.mark.parametrize(
    "text",
    [
        "", "bounce+", "postmaster", ADDRESS[:-1], ADDRESS + "a", " " + ADDRESS,
        ADDRESS.replace("bounce+", "bounce-"), ADDRESS.replace(".", "="),
        "b\u00f6unce+" + ADDRESS[7:],
        ADDRESS.replace("bounce", "\u212aounce"), ADDRESS[:-1] + "1", ADDRESS + "\n",
    ],
)  # fmt: skip
def test_another_shape_is_no_verp(text: str) -> None:
    assert verp.decode(text) is None


def test_second_spelling_of_an_id_is_no_verp() -> None:
    """26 characters hold 130 bits; the last two are not part of the id."""
    last = ADDRESS[7 + 25]
    for other in "bcdf":
        assert verp.decode(ADDRESS[: 7 + 25] + other + ADDRESS[7 + 26 :]) is None, (last, other)


@given(st.text())
def test_any_text_is_read_without_a_fault(text: str) -> None:
    verp.decode(text)
