r"""JSON octets to a value, strictly: what two readers could read in two ways is refused.

| in the body                           | answer                        |
|---------------------------------------|-------------------------------|
| another media type than the one asked | 415                           |
| octets that are not UTF-8, or a BOM   | 422 validation_failed         |
| not JSON, NaN, Infinity               | 422 validation_failed         |
| the same name twice in one object     | 422, pointer to the whole     |
| nested deeper than Python recurses    | 422 validation_failed         |
| half of a surrogate pair as `\uD800`  | 422 validation_failed         |
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any, Final, Never

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from gatewayd.errors import Code, Fault, Refused
from gatewayd.web.problems import HttpFault, HttpRefused


async def read(receive: Receive) -> bytes:
    """The octets of a body.

    Raises:
        ClientDisconnect: the client has gone.
        Refused: MESSAGE_TOO_LARGE, from the layer that counts.
    """
    blocks: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        block: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            return b"".join((*blocks, block)) if blocks else block
        blocks.append(block)


def require_media_type(scope: Scope, media_type: str) -> None:
    """Raise HttpRefused unless the body is said to be of this type."""
    given = [value for name, value in scope["headers"] if name == b"content-type"]
    essence = given[0].partition(b";")[0].strip().lower() if len(given) == 1 else b""
    if essence != media_type.encode():
        raise HttpRefused(
            HttpFault.MEDIA_TYPE_UNSUPPORTED, f"Send the body with Content-Type: {media_type}."
        )


def parse_json(octets: bytes) -> Any:  # noqa: ANN401 - whatever the client sent
    """The value of a JSON text.

    Raises:
        Refused: VALIDATION_FAILED, with what is wrong and where.
    """
    try:
        text = octets.decode("utf-8")
        value = _DECODER.decode(text)
        if _SURROGATE.search(text):
            # No string with half of a pair can be written anywhere (RFC 8259 8.2).
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise _refused("an escape is half of a surrogate pair") from None
    except UnicodeDecodeError as error:
        raise _refused(f"not UTF-8 from octet {error.start} on") from None
    except json.JSONDecodeError as error:
        raise _refused(f"not JSON at line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise _refused("nested too deeply") from None
    except _NotStrict as error:
        raise _refused(str(error)) from None
    except ValueError:
        # int() refuses numbers of more digits than sys.set_int_max_str_digits allows.
        raise _refused("a number has too many digits") from None
    return value


_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


class _NotStrict(Exception):
    """The text is JSON for a lenient reader only."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise _NotStrict(f"the name {twice[:64]!r} stands twice in one object")
    return members


def _constant(word: str) -> Never:
    raise _NotStrict(f"{word} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def _refused(detail: str) -> Refused:
    return Refused(
        Code.VALIDATION_FAILED,
        f"The body is not valid JSON: {detail}.",
        faults=[Fault(pointer="", detail=detail, code=Code.VALIDATION_FAILED)],
    )
