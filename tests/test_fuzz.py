"""A little of what `python -m tests.fuzz` does at length."""

from __future__ import annotations

import pytest

from tests.fuzz.targets import TARGETS, Target


# aiohttp warns of a form's part whose header is none; it is answered as a form without that part.
@pytest.mark.filterwarnings("ignore::aiohttp.multipart.BadContentDispositionHeader")
@pytest.mark.filterwarnings("ignore::aiohttp.multipart.BadContentDispositionParam")
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_nothing_that_is_sent_does_harm(target: Target) -> None:
    target.check(target.few)
