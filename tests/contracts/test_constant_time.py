"""Secrets are compared in constant time: never with == or !=, always by hmac.compare_digest."""

from __future__ import annotations

import ast
import hmac
from pathlib import Path

import pytest

from gatewayd.keys.ring import Purpose, new_ring
from gatewayd.mail import verp
from gatewayd.tracking.links import Kind, Links
from tests.fakes.clock import NOW

PACKAGE = Path(__file__).parents[2] / "gatewayd"
SECRET_WORDS = frozenset({
    "mac", "hmac", "tag", "sig", "signature", "token", "secret", "password", "passphrase", "jwt",
})  # fmt: skip
MAKERS = frozenset({"mac", "hmac", "sign"})  # what a function with such a name returns
VIEWS = frozenset({"encode", "decode", "lower", "strip", "hex"})  # the same secret, in another form
RECIPIENT = "01a1fc9a-5d00-7886-982b-a25654c0dfc4"


def last_word(name: str) -> str:
    return name.rstrip("_").lower().rpartition("_")[2]


def holds_secret(node: ast.expr) -> bool:
    """Whether an operand is named as a secret: `mac`, `self.mac`, `_mac(...)`, `token.encode()`."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return last_word(name) in SECRET_WORDS
        case ast.Subscript(value=value):
            return holds_secret(value)
        case ast.Call(func=ast.Attribute(value=value, attr=name)) if name in VIEWS:
            return holds_secret(value)
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            return last_word(name) in MAKERS
        case _:
            return False


def careless(source: str) -> list[int]:
    """The lines in which a secret is compared with == or !=."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Compare):
            continue
        operands = [node.left, *node.comparators]
        pairs = zip(operands, operands[1:], node.ops, strict=False)
        for left, right, operator in pairs:
            if isinstance(operator, ast.Eq | ast.NotEq) and (
                holds_secret(left) or holds_secret(right)
            ):
                found.append(node.lineno)
    return found


@pytest.mark.parametrize(
    "source",
    [
        "mac == expected",
        "expected != self.mac",
        "given == _mac(key, octets)",
        "token.encode() == other",
        "row.next_hop_password != given",
        "sig[:10] == keys.sign(sealed, url)",
        "a == b == secret",
    ],
)
def test_careless_comparison_is_seen(source: str) -> None:
    """The walk below can fail."""
    assert careless(source) == [1]


@pytest.mark.parametrize(
    "source",
    [
        "hmac.compare_digest(mac, expected)",
        "token_id == other",
        "len(secret) != 32",
        "(user is None) != (password is None)",
        "token.start() == 3",
        "password is None",
    ],
)
def test_harmless_comparison_is_let_be(source: str) -> None:
    """Ids, lengths and places are no secrets."""
    assert careless(source) == []


def test_no_secret_is_compared_by_equality() -> None:
    """Whoever measures how long == takes learns a MAC octet by octet."""
    found = [
        f"{file.relative_to(PACKAGE)}:{line}"
        for file in sorted(PACKAGE.rglob("*.py"))
        for line in careless(file.read_text())
    ]

    assert found == []


class Compared:
    """hmac.compare_digest, with what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lengths: list[tuple[int, int]] = []
        self._real = hmac.compare_digest
        monkeypatch.setattr(hmac, "compare_digest", self._compare)

    def _compare(self, left: bytes, right: bytes) -> bool:
        self.lengths.append((len(left), len(right)))
        return self._real(left, right)


def test_forged_reverse_path_is_compared_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """One comparison of two whole MACs, whatever character was changed."""
    compared = Compared(monkeypatch)
    real = verp.encode(RECIPIENT, kid="a", expires_day=20_800, key=b"k" * 32)
    for at in range(len(real) - 16, len(real)):
        forged = real[:at] + ("a" if real[at] != "a" else "b") + real[at + 1 :]
        said = verp.decode(forged)
        assert said is not None
        assert not said.is_authentic(b"k" * 32)

    assert compared.lengths == [(16, 16)] * 16


@pytest.mark.parametrize("kind", list(Kind), ids=lambda kind: kind.name.lower())
def test_forged_tracking_token_is_compared_whole(
    monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    """The same for links: as many octets are compared for a token that nobody made."""
    ours = Links(new_ring(Purpose.TRACKING, created_at=NOW), "https://gw.example")
    theirs = Links(new_ring(Purpose.TRACKING, created_at=NOW), "https://gw.example")
    compared = Compared(monkeypatch)
    for links in (ours, theirs):
        recipient_id = ours._read(kind, links._token(kind, RECIPIENT))  # type: ignore[arg-type]  # an id
        assert recipient_id == (RECIPIENT if links is ours else None)

    assert len(compared.lengths) == 2
    assert len({length for pair in compared.lengths for length in pair}) == 1
