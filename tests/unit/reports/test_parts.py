"""The parts of a returned message are found however it was made, and never more than the limits."""

from __future__ import annotations

import pytest

from gatewayd.reports import parts

LETTER = b"Subject: hello\n\nWords.\n"


def _multipart(*texts: bytes, boundary: bytes = b"b") -> bytes:
    body = b"".join(b"--%b\n%b\n" % (boundary, text) for text in texts)
    return b"Content-Type: multipart/mixed; boundary=%b\n\n%b--%b--\n" % (boundary, body, boundary)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r\r\n", b"\r"])
def test_any_line_end_is_read_as_lf(line_end: bytes) -> None:
    message = parts.parse(LETTER.replace(b"\n", line_end))
    assert message.find("subject") == b"hello"
    assert message.body == b"Words.\n"


def test_a_folded_field_is_one_value() -> None:
    assert parts.header_fields(b"A: one\n two\n\tthree\nB : 4") == (
        ("a", b"one two three"),
        ("b", b"4"),
    )


def test_a_line_that_is_no_field_is_skipped() -> None:
    assert parts.header_fields(b"From ann Mon Jan 1\nA: 1\nno field\nB: 2") == (
        ("a", b"1"),
        ("b", b"2"),
    )


@pytest.mark.parametrize(
    ("value", "kind", "parameters"),
    [
        (b"text/HTML; Charset=UTF-8", "text/html", {"charset": "UTF-8"}),
        (b'multipart/report; boundary="a;b"', "multipart/report", {"boundary": "a;b"}),
        (b'multipart/report; boundary="open', "multipart/report", {"boundary": "open"}),
        (b"multipart/report; boundary*0=ab", "multipart/report", {"boundary": "ab"}),
        (b"text", "text/plain", {}),
        (b"", "text/plain", {}),
    ],
)
def test_a_content_type_is_read_leniently(
    value: bytes, kind: str, parameters: dict[str, str]
) -> None:
    message = parts.parse(b"Content-Type: " + value + b"\n\nbody")
    assert (message.kind, message.parameters) == (kind, parameters)


def test_a_boundary_that_is_not_told_is_guessed() -> None:
    octets = _multipart(b"\none", b"\ntwo").replace(b"boundary=b", b"x=y")
    assert [part.body for part in parts.parse(octets).parts] == [b"one", b"two"]


def test_a_multipart_without_its_end_keeps_the_last_part() -> None:
    octets = _multipart(b"\none", b"\ntwo").removesuffix(b"--b--\n")
    assert [part.body for part in parts.parse(octets).parts] == [b"one", b"two\n"]


def test_a_multipart_without_a_boundary_is_one_text() -> None:
    message = parts.parse(b"Content-Type: multipart/mixed\n\nWords.")
    assert [part.text() for part in message.parts] == ["Words."]


def test_parts_over_the_limit_are_skipped() -> None:
    message = parts.parse(_multipart(*[b"\nx"] * (parts.MAX_PARTS * 3)))
    assert len(message.parts) == parts.MAX_PARTS


def test_a_nest_deeper_than_the_limit_ends_as_text() -> None:
    octets = b"\nwords"
    for level in range(parts.MAX_DEPTH * 2):
        octets = _multipart(octets, boundary=b"b%d" % level)
    message, depth = parts.parse(octets), 0
    while message.parts:
        message, depth = message.parts[0], depth + 1
    assert depth == parts.MAX_DEPTH
    assert b"words" in message.body


def test_fields_over_the_limit_are_skipped() -> None:
    section = b"".join(b"A%d: 1\n" % number for number in range(parts.MAX_FIELDS * 2))
    assert len(parts.header_fields(section)) == parts.MAX_FIELDS


@pytest.mark.parametrize(
    ("encoding", "body", "text"),
    [
        (b"quoted-printable", b"caf=C3=A9 =\nau lait", "café au lait"),
        (b"base64", b"Y2Fmw6k=", "café"),
        (b"base64", b"Y2Fmw6", "caf"),
        (b"Base64 ", b"Y2Fm\nw6k=\n", "café"),
        (b"8bit", "café".encode(), "café"),
        (b"x-unknown", b"as it is", "as it is"),
    ],
)
def test_a_transfer_encoding_is_taken_off(encoding: bytes, body: bytes, text: str) -> None:
    message = parts.parse(b"Content-Transfer-Encoding: " + encoding + b"\n\n" + body)
    assert message.text() == text


@pytest.mark.parametrize(
    ("octets", "charset", "text"),
    [
        ("café".encode(), "", "café"),
        ("café noir".encode("latin-1"), "", "café noir"),
        ("café".encode(), "no-such-charset", "café"),
        ("café".encode("latin-1"), "iso-8859-1", "café"),
        ("配信不能".encode("iso-2022-jp"), "ISO-2022-JP", "配信不能"),
        ("退信".encode("gbk"), "gb2312", "退信"),
        ("é".encode() * 2 + b"\xc3", "utf-8", "éé\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_a_charset_is_read_or_guessed(octets: bytes, charset: str, text: str) -> None:
    assert parts.decode(octets, charset) == text


def test_a_codec_that_is_no_charset_is_not_asked() -> None:
    assert parts.decode(b"uryyb", "rot13") == "uryyb"


def test_html_is_read_as_a_reader_sees_it() -> None:
    octets = (
        b"Content-Type: text/html\n\n<style>p{}</style><!-- no --><p>User&nbsp;<b>unknown</b><br>"
        b"&lt;ann@example.com&gt;</p><script>x</script>"
    )
    lines = [" ".join(line.split()) for line in parts.parse(octets).text().split("\n")]
    assert [line for line in lines if line] == ["User unknown", "<ann@example.com>"]
