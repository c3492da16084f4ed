"""web.paging: cursors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.errors import Refused
from gatewayd.web import paging

POSITIONS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=300)


@given(POSITIONS)
def test_a_cursor_leads_back_to_its_position(position: str) -> None:
    """Whatever a room uses for a position."""
    assert position == paging.decode(paging.encode(position))


def test_the_last_page_has_no_cursor() -> None:
    """And the first needs none."""
    assert paging.encode(None) is None
    assert paging.decode(None) is None


@pytest.mark.parametrize("cursor", ["", "!", "a", "YQ==", "YR", "_w", "a" * 513, "ä"])
def test_a_cursor_that_is_not_ours_is_refused(cursor: str) -> None:
    """Whoever makes one up is told, instead of getting a page from somewhere."""
    with pytest.raises(Refused) as caught:
        paging.decode(cursor)

    assert [fault.pointer for fault in caught.value.faults] == ["/query/cursor"]


@given(st.text(max_size=40))
def test_any_text_is_decoded_or_refused(cursor: str) -> None:
    """Nothing else happens; a position has one cursor."""
    try:
        position = paging.decode(cursor)
    except Refused:
        return

    assert cursor == paging.encode(position)
