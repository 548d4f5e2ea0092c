"""Turns that want nothing new."""

from __future__ import annotations

import pytest

from media.acknowledgement import is_acknowledgement


@pytest.mark.parametrize(
    "text",
    ["Okay.", "ok", "Mm-hm.", "Yeah, sure.", "All right, thank you very much!", "Take your time.", "Uh-huh"],
)
def test_these_wait(text: str) -> None:
    assert is_acknowledgement(text)


@pytest.mark.parametrize(
    "text",
    ["", "No, in Rome.", "Okay, and in Rome?", "Never mind.", "Stop.", "Thanks, bye.", "Rightly so", "no"],
)
def test_these_want_something(text: str) -> None:
    assert not is_acknowledgement(text)
