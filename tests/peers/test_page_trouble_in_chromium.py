"""What goes wrong with a call, as a real browser shows it: in words, and with a way on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Request, expect

from bench.server_process import RunningServer, server
from tests.peers.chromium import ELSEWHERE, open_page, server_events, until_event

pytestmark = [pytest.mark.models, pytest.mark.browser, pytest.mark.timeout(240)]

GREETING = "Hello!\nThis is the first line."


@pytest.fixture(scope="module")
def one_line() -> Iterator[RunningServer]:
    """A server with a single line, and defaults that the page's fields cannot show as they are."""
    environment = {
        "VOXTRAL_KOKORO__SERVER__MAX_CALLS": "1",
        "VOXTRAL_KOKORO__SERVER__ALLOWED_HOSTS": f'["{ELSEWHERE}"]',
        "VOXTRAL_KOKORO__TTS__SPEED": "1.63",
        "VOXTRAL_KOKORO__SPEECH_TO_SPEECH__GREETING": GREETING,
    }
    with server(environment) as running:
        yield running


CALLS = re.compile("/v1/realtime/calls$")


def session_of(request: Request) -> dict[str, Any]:
    """The part `session` of the form that a page calls with."""
    found = re.search(r'name="session"\r\n\r\n(.*)\r\n--', request.post_data or "")
    assert found, request.post_data
    session: dict[str, Any] = json.loads(found[1])
    return session


def call_of(page: Page, press: str) -> tuple[dict[str, Any], str]:
    """Presses a button that calls: the session that the page asked for, and the call's address."""
    with page.expect_response(CALLS) as answered:
        page.click(press)
    return session_of(answered.value.request), answered.value.headers["location"]


def in_call(page: Page) -> None:
    expect(page.locator("body")).to_have_attribute(
        "data-call-state", re.compile("listening|thinking|speaking")
    )


def test_a_refused_microphone_is_explained(one_line: RunningServer, artifacts: Path) -> None:
    with open_page(one_line.url, viewport={"width": 360, "height": 740}) as page:
        page.click("#call-button")
        expect(page.locator("#problem")).to_be_visible()
        expect(page.locator("#problem-text")).to_have_text(re.compile("microphone", re.IGNORECASE))
        page.screenshot(path=artifacts / "page-refused-phone.png")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "no sideways scrolling"


def test_without_https_the_page_says_what_the_microphone_needs(one_line: RunningServer) -> None:
    with open_page(one_line.url.replace("127.0.0.1", ELSEWHERE)) as page:
        page.click("#call-button")
        expect(page.locator("#problem-text")).to_have_text(re.compile("https"))


def test_settings_that_nobody_touched_are_not_sent(one_line: RunningServer) -> None:
    with open_page(one_line.url) as page:
        asked, _ = call_of(page, "#text-only-button")
        assert asked == {
            "type": "realtime",
            "greeting": GREETING,
            "include": ["vk.turn.latency", "vk.heard_text"],
        }
        in_call(page)
        page.click("#hangup-button")
        one_line.until_calls(0, limit_s=15)


def test_a_full_server_says_so_and_is_called_again(one_line: RunningServer, artifacts: Path) -> None:
    # One browser, two pages: two callers.
    with open_page(one_line.url) as first:
        call_of(first, "#text-only-button")
        in_call(first)
        second = first.context.new_page()
        second.goto(one_line.url)
        second.click("#text-only-button")
        problem = second.locator("#problem")
        expect(problem).to_have_attribute("data-code", "server_full")
        expect(problem).to_contain_text("busy")
        assert problem.inner_text().lower().count("try again") == 1
        second.screenshot(path=artifacts / "page-full.png")
        expect(second.locator("#call-label")).to_have_text("Call again")

        first.click("#hangup-button")
        one_line.until_calls(0, limit_s=15)
        second.click("#text-only-button")
        in_call(second)
        expect(problem).to_be_hidden()
        second.click("#hangup-button")
        one_line.until_calls(0, limit_s=15)


def begins_a_story(page: Page) -> str:
    """A call that is heard telling a story; its address."""
    page.fill("#greeting-input", "")
    page.fill("#instructions-input", "You tell long stories with many details.")
    _, location = call_of(page, "#text-only-button")
    in_call(page)
    page.fill("#text-input", "Tell me a long story about a dragon.")
    page.press("#text-input", "Enter")
    until_event(page, "output_audio_buffer.started")
    page.wait_for_timeout(1500)  # the time that is heard of it
    return location


def goes_on(page: Page, artifact: Path) -> None:
    """The new call knows what was said in the broken one, and no more of it than was heard."""
    until_event(page, "session.created", count=2)
    in_call(page)
    expect(page.locator(".message.interrupted .unheard")).not_to_be_empty()
    shown = [message.inner_text() for message in page.locator(".message .text").all()]
    until_event(page, "conversation.item.added", count=4)  # two in the broken call, and both again
    told = [event["item"] for event in server_events(page, "conversation.item.added")[2:]]
    assert [item["role"] for item in told] == ["user", "assistant"]
    assert told[0]["content"][0]["text"] == shown[0]
    heard = told[1]["content"][0]["text"]
    assert heard
    assert shown[1].startswith(heard)
    assert len(heard) < len(shown[1]) / 2, "it was all but the beginning that nobody heard"
    page.screenshot(path=artifact)

    page.fill("#text-input", "Go on, please.")
    page.press("#text-input", "Enter")
    until_event(page, "output_audio_buffer.started", count=2)
    expect(page.locator(".message")).to_have_count(4)


def test_a_call_that_the_server_ends_is_made_again(one_line: RunningServer, artifacts: Path) -> None:
    with open_page(one_line.url) as page:
        location = begins_a_story(page)
        with page.expect_request(CALLS) as again:
            page.request.post(f"{one_line.url}{location}/hangup")
        assert session_of(again.value)["greeting"] == "", "who goes on is not greeted"
        goes_on(page, artifacts / "page-called-again.png")
        page.click("#hangup-button")
        one_line.until_calls(0, limit_s=15)


def test_a_call_that_falls_silent_is_made_again(one_line: RunningServer, artifacts: Path) -> None:
    with open_page(one_line.url) as page:
        begins_a_story(page)
        one_line.process.suspend()
        try:
            expect(page.locator("body")).to_have_attribute("data-call-state", "reconnecting", timeout=60_000)
            expect(page.locator("#problem-text")).to_have_text(re.compile("Calling again"))
            page.screenshot(path=artifacts / "page-reconnecting.png")
        finally:
            one_line.process.resume()
        goes_on(page, artifacts / "page-called-again-after-silence.png")
        page.click("#hangup-button")
        one_line.until_calls(0, limit_s=15)
