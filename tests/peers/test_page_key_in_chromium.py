"""A server that asks for a key, and its own page in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from bench.server_process import RunningServer, server
from tests.peers.chromium import open_page

pytestmark = [pytest.mark.models, pytest.mark.browser, pytest.mark.timeout(240)]

KEY = "vk-page-0123456789abcdef"


@pytest.fixture(scope="module")
def locked() -> Iterator[RunningServer]:
    with server({"VOXTRAL_KOKORO__SERVER__API_KEYS": f'["{KEY}"]'}) as running:
        yield running


def test_the_page_calls_with_the_key_that_it_was_opened_with(locked: RunningServer) -> None:
    with open_page(locked.url) as page:
        expect(page.locator("#problem")).to_have_attribute("data-code", "key-needed")
        expect(page.locator("#problem-text")).to_contain_text("#key=")

        # Another address of the same tab would load nothing anew.
        page.goto("about:blank")
        page.goto(f"{locked.url}/#key={KEY}")
        assert KEY not in page.url
        page.click("#text-only-button")
        expect(page.locator("body")).to_have_attribute(
            "data-call-state", re.compile("listening|thinking|speaking")
        )
        page.reload()
        expect(page.locator("#problem")).to_be_hidden()
        locked.until_calls(0, limit_s=15)
