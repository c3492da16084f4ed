"""Bearer token to Principal, and the scope that a request needs (RFC 6750 2.1)."""

from __future__ import annotations

import re
from typing import Final, Protocol

from starlette.types import Scope as RequestScope

from gatewayd.errors import Code, Refused
from gatewayd.tokens.claims import Principal, Scope

_B64TOKEN: Final = re.compile(rb"[A-Za-z0-9\-._~+/]+=*\Z")


class Tokens(Protocol):
    """Who is behind a token; the tokens room answers."""

    async def authenticate(self, token: str, *, user: str | None) -> Principal:
        """The principal of a token that is valid now.

        Raises:
            Refused: TOKEN_INVALID, TOKEN_EXPIRED or TOKEN_REVOKED.
        """
        ...


class Gate:
    """Lets in who has a valid token with the scope that is asked for."""

    def __init__(self, tokens: Tokens, *, token_octets: int) -> None:
        self._tokens = tokens
        self._token_octets = token_octets

    async def admit(self, request: RequestScope, needed: Scope) -> Principal:
        """The principal of a request.

        Raises:
            Refused: no token, a bad one, or one without the scope.
        """
        principal = await self._tokens.authenticate(self._token(request), user=None)
        if needed not in principal.scopes:
            raise Refused(Code.SCOPE_MISSING, f"The token lacks the scope {needed}.")
        return principal

    def _token(self, request: RequestScope) -> str:
        given = [value for name, value in request["headers"] if name == b"authorization"]
        if not given:
            raise Refused(
                Code.TOKEN_MISSING, 'Send the token in the field "Authorization: Bearer <token>".'
            )
        scheme, _, token = given[0].partition(b" ")
        token = token.strip(b" ")
        if len(given) > 1 or scheme.lower() != b"bearer":
            raise Refused(
                Code.TOKEN_INVALID,
                'Send one field "Authorization: Bearer <token>".',
                reason="another scheme, or several Authorization fields",
            )
        if len(token) > self._token_octets or not _B64TOKEN.match(token):
            raise Refused(
                Code.TOKEN_INVALID, "This is not a token.", reason="size or characters of the token"
            )
        return str(token, "ascii")
