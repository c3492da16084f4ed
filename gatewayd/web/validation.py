"""What a model refused, as faults with JSON pointers (RFC 6901).

A validator that raises PydanticCustomError with the word of a Code gives its fault that code;
everything else is validation_failed. When all faults of a request share one code, the refusal
has it too, so a single bad recipient is `recipient_invalid` here as through every other door.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gatewayd.errors import Code, Fault, Refused

MAX_FAULTS: Final = 100
_CODES: Final = {code.word: code for code in Code}


def pointer(*segments: str | int) -> str:
    """The JSON pointer to a place (RFC 6901 3)."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in segments)


def fault(detail: str, *segments: str | int) -> Fault:
    """One validation_failed at a place."""
    return Fault(pointer=pointer(*segments), detail=detail, code=Code.VALIDATION_FAILED)


def refuse(faults: Sequence[Fault]) -> Refused:
    """The refusal of a request with these faults."""
    codes = {each.code for each in faults}
    code = codes.pop() if len(codes) == 1 else Code.VALIDATION_FAILED
    first = faults[0]
    where = f"{first.pointer}: " if first.pointer else ""
    more = f" (and {len(faults) - 1} more, see errors)" if len(faults) > 1 else ""
    return Refused(code, f"{where}{first.detail}{more}", faults=faults)


def from_pydantic(
    error: ValidationError, document: object, model: type[BaseModel], *prefix: str | int
) -> Refused:
    """The refusal for a document that `model` does not take.

    Args:
        error: what pydantic found.
        document: what was validated.
        model: to say which fields there are.
        prefix: where the document stands in the request.
    """
    details = error.errors(include_url=False, include_input=False)
    return refuse(
        [
            Fault(
                pointer=pointer(*prefix, *_place(detail["loc"], document), *_at(detail)),
                detail=_detail(detail, model),
                code=_CODES.get(detail["type"], Code.VALIDATION_FAILED),
            )
            for detail in details[:MAX_FAULTS]
        ]
    )


def from_query(errors: Iterable[Any]) -> Refused:
    """The refusal for the parameters that FastAPI read: `/query/limit`, `/path/queue_id`."""
    return refuse(
        [
            fault(_sentence(detail), *(part for part in detail["loc"] if not _is_tag(part)))
            for detail in list(errors)[:MAX_FAULTS]
        ]
    )


def _place(location: tuple[int | str, ...], document: object) -> list[int | str]:
    """Pydantic's location as far as the document has it; tags of unions are left out."""
    place: list[int | str] = []
    here = document
    for part in location:
        if _is_tag(part):
            continue
        if isinstance(here, dict) and isinstance(part, str):
            here = here.get(part)
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            here = here[part]
        else:
            break
        place.append(part)
    return place


def _at(detail: ErrorDetails) -> list[str]:
    """The field that a validator of a whole object names in its context."""
    at = detail.get("ctx", {}).get("at")
    return [at] if at else []


def _is_tag(part: int | str) -> bool:
    """Union tags of our models are written `<so>`, keys of mappings `[key]`."""
    return isinstance(part, str) and (part == "[key]" or (part[:1] == "<" and part[-1:] == ">"))


def _detail(detail: ErrorDetails, model: type[BaseModel]) -> str:
    if detail["type"] == "extra_forbidden" and len(detail["loc"]) == 1:
        names = ", ".join(field.alias or name for name, field in model.model_fields.items())
        return f"unknown field; allowed here: {names}"
    return _sentence(detail)


_SENTENCES: Final = {
    "missing": "this field is required",
    "extra_forbidden": "unknown, and not allowed here",
    "string_type": "must be a string",
    "list_type": "must be an array",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "too_long": "may have at most {max_length} entries",
    "too_short": "must have at least {min_length} entries",
    "string_too_long": "may have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
}


def _sentence(detail: ErrorDetails) -> str:
    """Pydantic's message in the words of a client that knows JSON."""
    sentence = _SENTENCES.get(detail["type"])
    if sentence is not None:
        return sentence.format_map(detail.get("ctx", {}))
    message = detail["msg"].removeprefix("Value error, ")
    return message[:1].lower() + message[1:]
