"""The page where no UDP gets through: it calls over a WebSocket by itself, and can do all the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from bench.server_process import RunningServer, server
from media.audio import Audio
from media.audio_file import write_wav
from tests.peers.chromium import (
    open_page,
    server_events,
    take_recording,
    until_event,
    until_quiet,
    without_greeting,
)
from tests.peers.namespaces import PUBLIC, SIGNALLING_PORT, Networks, inside, networks, refusal
from tests.peers.one_side import served
from tests.peers.voices import says, sound_error_rate, transcribed

pytestmark = [pytest.mark.models, pytest.mark.browser, pytest.mark.timeout(300)]

QUESTION = "What do bees make?"
STORY = "Tell me a long story about a dragon."
STOP = "Stop it now please, I have heard enough of this."
STORYTELLER = "You are a storyteller. You tell long stories with many details."
ANSWER_LIMIT_S = 120.0
ENVIRONMENT = {"VOXTRAL_KOKORO__LLM__TEMPERATURE": "0", "VOXTRAL_KOKORO__SERVER__MAX_CALLS": "1"}
"""The answers are the same each time. One line: the try by WebRTC must have let go of it."""


@pytest.fixture(scope="module")
def one_line() -> Iterator[RunningServer]:
    with server(ENVIRONMENT) as running:
        yield running


def transport(page: Page) -> str | None:
    way: str | None = page.evaluate("window.voiceClient.transport")
    return way


def test_a_spoken_question_is_answered(
    one_line: RunningServer, models_dir: Path, artifacts: Path, tmp_path: Path
) -> None:
    microphone = says(models_dir, tmp_path, 2.0, QUESTION, 120.0)
    with open_page(one_line.url, microphone, udp=False) as page:
        without_greeting(page)
        page.click("#call-button")
        asked = page.locator('.message[data-role="user"] .text')
        answer = page.locator('.message[data-role="assistant"] .text')
        expect(asked).to_have_text(re.compile("bees make", re.IGNORECASE), timeout=30_000)
        assert transport(page) == "websocket"
        until_event(page, "output_audio_buffer.started")
        expect(answer).not_to_be_empty()
        expect(page.locator("#way")).to_be_visible()
        page.screenshot(path=artifacts / "page-without-udp.png")
        until_event(page, "output_audio_buffer.stopped", limit_s=ANSWER_LIMIT_S)
        expect(page.locator("#waterfall .turn")).to_have_count(1)
        expect(page.locator("#waterfall")).to_contain_text("Network")
        shown = answer.inner_text()
        until_quiet(page)
        heard, _ = take_recording(page)
        page.click("#hangup-button")
        one_line.until_calls(0, limit_s=15)
    write_wav(artifacts / "answer-without-udp.wav", heard)
    said = transcribed(models_dir, heard)
    assert sound_error_rate(shown, said) <= 0.2, f"shown {shown!r}, heard {said!r}"


def test_the_caller_interrupts(
    one_line: RunningServer, models_dir: Path, artifacts: Path, tmp_path: Path
) -> None:
    microphone = says(models_dir, tmp_path, 2.0, STORY, 12.0, STOP, 60.0)
    with open_page(one_line.url, microphone, udp=False) as page:
        without_greeting(page)
        page.fill("#instructions-input", STORYTELLER)
        page.click("#call-button")
        cleared = until_event(page, "output_audio_buffer.cleared", limit_s=ANSWER_LIMIT_S)
        # The server's guess of what was heard, and what this page played.
        guess = until_event(page, "conversation.item.truncated")
        played = until_event(page, "conversation.item.truncated", count=2)
        expect(page.locator(".message.interrupted .unheard")).not_to_be_empty()
        page.screenshot(path=artifacts / "page-without-udp-interrupted.png")
        until_event(page, "conversation.item.input_audio_transcription.completed", count=2)
        started, *later = server_events(page, "output_audio_buffer.started")
        heard, begun_ms = take_recording(page)
    write_wav(artifacts / "interrupted-without-udp.wav", heard)
    started_s, cut_s, *later_s = ((event["atMs"] - begun_ms) / 1000 for event in (started, cleared, *later))
    quiet_until_s = min([heard.duration_s, cut_s + 0.9, *later_s])
    assert level_of(heard, started_s + 0.3, cut_s - 1.0) > -40, "it was speaking"
    assert level_of(heard, cut_s + 0.25, quiet_until_s) < -60, "and it stopped"
    assert played["item_id"] == guess["item_id"]
    assert abs(played["audio_end_ms"] - guess["audio_end_ms"]) < 700
    assert played["transcript"]


def level_of(audio: Audio, start_s: float, end_s: float) -> float:
    return audio.slice_s(start_s, end_s).level_dbfs()


def test_a_typed_conversation_goes_on_after_the_connection_broke(
    one_line: RunningServer, artifacts: Path
) -> None:
    with open_page(one_line.url, udp=False) as page:
        without_greeting(page)
        page.fill("#instructions-input", STORYTELLER)
        page.click("#text-only-button")
        expect(page.locator("body")).to_have_attribute("data-call-state", "listening")
        page.fill("#text-input", STORY)
        page.press("#text-input", "Enter")
        until_event(page, "output_audio_buffer.started")
        page.wait_for_timeout(1500)  # the time that is heard of it
        page.keyboard.press("Escape")
        until_event(page, "output_audio_buffer.cleared")
        until_event(page, "conversation.item.truncated", count=2)
        expect(page.locator("body")).to_have_attribute("data-call-state", "listening")
        page.fill("#text-input", "Go on, please.")
        page.press("#text-input", "Enter")
        until_event(page, "output_audio_buffer.started", count=2)
        page.wait_for_timeout(1500)
        # The server's process stands still, and the page notices.
        one_line.process.suspend()
        try:
            expect(page.locator("body")).to_have_attribute("data-call-state", "reconnecting", timeout=60_000)
        finally:
            one_line.process.resume()
        until_event(page, "session.created", count=2)
        assert transport(page) == "websocket"
        expect(page.locator("body")).to_have_attribute("data-call-state", "listening")
        until_event(page, "conversation.item.added", count=8)  # four in the broken call, and all again
        told = [event["item"]["role"] for event in server_events(page, "conversation.item.added")[4:]]
        assert told == ["user", "assistant", "user", "assistant"]
        page.screenshot(path=artifacts / "page-without-udp-again.png")
        page.click("#hangup-button")
        one_line.until_calls(0, limit_s=15)


@pytest.fixture(scope="module")
def net() -> Iterator[Networks]:
    if (reason := refusal()) is not None:
        pytest.skip(reason)
    with networks() as made:
        yield made


def test_a_firewall_that_drops_udp(net: Networks) -> None:
    """The browser behind a router that lets only the page's port through; its page has no https, either."""
    net.translate("published ports", "40000")
    with served(inside(net.server), SIGNALLING_PORT):
        url = f"http://{PUBLIC}:{SIGNALLING_PORT}"
        with open_page(url, within=inside(net.caller)) as page:
            page.click("#text-only-button")
            until_event(page, "output_audio_buffer.started")
            assert transport(page) == "websocket"
            until_event(page, "output_audio_buffer.stopped")
            until_quiet(page)
            heard, _ = take_recording(page)
            assert heard.level_dbfs() > -40, "the greeting was heard"
