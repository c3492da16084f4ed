"""Bombs: messages whose parts, fields or words cost more to take apart than to send."""

from __future__ import annotations

NUMBERED = b"".join(b"X-%d: y\r\n" % number for number in range(40_000))
TYPE = b"Content-Type: multipart/mixed; boundary=b\r\n"
PART, END = TYPE + b"\r\n--b\r\n", b"\r\nx\r\n--b--\r\n"
BODY = b"\r\nx\r\n"


def nested(depth: int) -> bytes:
    head = b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n"
    return b"".join(head % (number, number) for number in range(depth)) + BODY


def folded(name: str, pieces: list[bytes], last: bytes = b"") -> bytes:
    """A field of many pieces, 60 in a line."""
    lines = [b"".join(pieces[start : start + 60]) for start in range(0, len(pieces), 60)]
    return name.encode() + b": x" + b"\r\n ".join(lines) + last + b"\r\n"


def params(count_: int) -> list[bytes]:
    return [b";a%d=b" % number for number in range(count_)]


WORDS, ADDRESSES = [b" =?u?q?=41?="] * 4000, [b",a@b.c"] * 8000
LONG = b"=" + b"b" * 900
BOUNDARY = [b";boundary*%d=b" % number for number in range(3500)]
TAKEN, COMPLEX, BAD_HEADER, NOT_ME = (250, "2.0.0"), (550, "5.6.0"), (550, "5.6.0"), (550, "5.7.1")
BOMBS = {
    "nested 900": (nested(900), COMPLEX),
    "nested 90": (nested(90), TAKEN),
    "parts 100k": (TYPE + b"\r\n" + b"--b\r\n\r\n" * 100_000, COMPLEX),
    "fields 40k": (NUMBERED + BODY, BAD_HEADER),
    "fields 40k in a part": (PART + NUMBERED + END, COMPLEX),
    "parameters 8k": (folded("Content-Type", params(8000)) + BODY, TAKEN),
    "parameters 10k in a part": (PART + folded("Content-Type", params(10_000)) + END, COMPLEX),
    "one parameter 8k times": (folded("Content-Type", [b";name=b"] * 8000) + BODY, TAKEN),
    "words 4k": (folded("X-Words", WORDS) + BODY, TAKEN),
    "words 4k in From": (folded("From", WORDS, b" <agent@sender.test>") + BODY, TAKEN),
    "words 4k in the subject": (folded("Subject", WORDS) + BODY, BAD_HEADER),
    "addresses 8k": (folded("To", ADDRESSES) + BODY, TAKEN),
    "addresses 8k in From": (folded("From", ADDRESSES) + BODY, NOT_ME),
    "addresses 16k": (folded("To", ADDRESSES * 2) + BODY, BAD_HEADER),
    "commas in From": (folded("From", [b","] * 29_000) + BODY, NOT_ME),
    "brackets in From": (folded("From", [b"("] * 29_000) + BODY, NOT_ME),
    "quotes in From": (folded("From", [b'"'] * 29_000) + BODY, NOT_ME),
    "spaces in From": (folded("From", [b" "] * 29_000, b".") + BODY, BAD_HEADER),
    "messages 500": (b"Content-Type: message/rfc822\r\n\r\n" * 500 + b"x\r\n", COMPLEX),
    "boundary of 900": (TYPE.replace(b"=b", LONG) + b"\r\n" + b"--bb\r\n" * 9000, COMPLEX),
    "boundary in 3500 pieces": (folded("Content-Type", BOUNDARY) + BODY, TAKEN),
    "dashes": (TYPE + b"\r\n" + b"--\r\n" * 500_000, TAKEN),
    "nearly the boundary": (TYPE + b"\r\n" + b"--c\r\n" * 400_000, TAKEN),
    "base64 in one line": (b"\r\n" + b"QUFB" * 1_000_000 + b"\r\n", BAD_HEADER),
    "empty lines": (b"\r\n" * 1_000_000, TAKEN),
}  # fmt: skip
