"""Sections about who is asking: tokens, keys."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Le
from pydantic import Field, Strict

from gatewayd.config.types import OptionalDirectory, Quota, Seconds, Section, Text

Leeway = Annotated[float, Strict(), Ge(0), Le(300)]


class TokensSection(Section):
    """`[tokens]`: the tokens that clients log in with."""

    issuer: Text = Field(
        default="gatewayd", min_length=1, description="`iss` of tokens made and accepted."
    )
    audience: Text = Field(
        default="gatewayd", min_length=1, description="`aud` of tokens made and accepted."
    )
    lifetime_s: Seconds = Field(
        default=2_592_000, description="Lifetime when `tokens issue` names none."
    )
    max_lifetime_s: Seconds = Field(
        default=31_536_000, description="Longest lifetime that can be asked for."
    )
    leeway_s: Leeway = Field(
        default=30, description="Difference of clocks that is forgiven in `iat` and `exp`."
    )
    default_hourly: Quota = Field(
        default=1000, description='Recipients an hour when a token names none, or "unlimited".'
    )
    default_daily: Quota = Field(
        default=10_000, description='Recipients a day when a token names none, or "unlimited".'
    )


class KeysSection(Section):
    """`[keys]`: the key files."""

    directory: OptionalDirectory = Field(
        default=None, description='Directory of the key files; "" is keys in state_dir.'
    )
