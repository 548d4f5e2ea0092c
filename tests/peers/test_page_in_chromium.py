"""The page, pressed and spoken to, in a real browser against the real server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from bench.server_process import RunningServer, server
from media.audio import Audio
from media.audio_file import write_wav
from tests.peers.chromium import (
    ELSEWHERE,
    open_page,
    server_events,
    take_recording,
    until_event,
    until_quiet,
    without_greeting,
)
from tests.peers.voices import says, sound_error_rate, transcribed

pytestmark = [pytest.mark.models, pytest.mark.browser, pytest.mark.timeout(300)]

QUESTION = "What do bees make?"
"""The small language model answers it in plain English, which a transcript can be compared with."""
GREEDY = {"VOXTRAL_KOKORO__LLM__TEMPERATURE": "0"}
"""The answers are the same each time."""

STORYTELLER = "You are a storyteller. You tell long stories with many details."
STORY = "Tell me a long story about a dragon."
STOP = "Stop it now please, I have heard enough of this."

ANSWER_LIMIT_S = 120.0
"""An answer may be 160 tokens, 40 s of speech, made by a machine that has other things to do."""


@pytest.fixture(scope="module")
def running_server() -> Iterator[RunningServer]:
    with server(GREEDY) as running:
        yield running


def level_of(audio: Audio, start_s: float, end_s: float) -> float:
    return audio.slice_s(start_s, end_s).level_dbfs()


def test_a_spoken_question_is_answered(
    running_server: RunningServer, models_dir: Path, artifacts: Path, tmp_path: Path
) -> None:
    microphone = says(models_dir, tmp_path, 1.0, QUESTION, 120.0)
    with open_page(running_server.url, microphone) as page:
        page.screenshot(path=artifacts / "page-before.png")
        without_greeting(page)
        page.click("#call-button")
        asked = page.locator('.message[data-role="user"] .text')
        answer = page.locator('.message[data-role="assistant"] .text')
        expect(asked).to_have_text(re.compile("bees make", re.IGNORECASE), timeout=30_000)
        until_event(page, "output_audio_buffer.started")
        expect(answer).not_to_be_empty()
        page.screenshot(path=artifacts / "page-speaking.png")
        until_event(page, "output_audio_buffer.stopped", limit_s=ANSWER_LIMIT_S)
        expect(page.locator("#waterfall .turn")).to_have_count(1)
        page.screenshot(path=artifacts / "page-answered.png")
        shown = answer.inner_text()
        until_quiet(page)
        heard, _ = take_recording(page)
        page.click("#hangup-button")
        expect(page.locator("body")).to_have_attribute("data-call-state", "idle")
    write_wav(artifacts / "answer-as-heard.wav", heard)
    said = transcribed(models_dir, heard)
    assert sound_error_rate(shown, said) <= 0.2, f"shown {shown!r}, heard {said!r}"


def test_the_caller_interrupts(
    running_server: RunningServer, models_dir: Path, artifacts: Path, tmp_path: Path
) -> None:
    microphone = says(models_dir, tmp_path, 0.5, STORY, 12.0, STOP, 60.0)
    with open_page(running_server.url, microphone) as page:
        without_greeting(page)
        page.fill("#instructions-input", STORYTELLER)
        page.click("#call-button")
        cleared = until_event(page, "output_audio_buffer.cleared", limit_s=ANSWER_LIMIT_S)
        cut = until_event(page, "conversation.item.truncated")
        expect(page.locator(".message.interrupted .unheard")).not_to_be_empty()
        page.screenshot(path=artifacts / "page-interrupted.png")
        until_event(page, "conversation.item.input_audio_transcription.completed", count=2)
        started, *later = server_events(page, "output_audio_buffer.started")
        heard, begun_ms = take_recording(page)
    write_wav(artifacts / "interrupted-as-heard.wav", heard)
    started_s, cut_s, *later_s = ((event["atMs"] - begun_ms) / 1000 for event in (started, cleared, *later))
    quiet_until_s = min([heard.duration_s, cut_s + 0.9, *later_s])
    assert level_of(heard, started_s + 0.3, cut_s - 0.3) > -40, "it was speaking"
    assert level_of(heard, cut_s + 0.25, quiet_until_s) < -60, "and it stopped"
    assert cut["audio_end_ms"] > 1000


def test_a_reload_while_both_speak_frees_the_line(
    running_server: RunningServer, models_dir: Path, tmp_path: Path
) -> None:
    microphone = says(models_dir, tmp_path, 0.3, STORY, 60.0)
    with open_page(running_server.url, microphone) as page:
        page.click("#call-button")
        until_event(page, "output_audio_buffer.started")
        assert running_server.calls() == 1
        page.reload()
        with page.expect_response(re.compile("/v1/realtime/calls$")) as offered:
            page.click("#call-button")
        assert offered.value.ok
        expect(page.locator("body")).to_have_attribute(
            "data-call-state", re.compile("listening|hearing|thinking|speaking")
        )
        # The old call ends with the page that made it; only the new one stays.
        running_server.until_calls(1, limit_s=15)


def test_a_typed_conversation_needs_no_microphone(
    running_server: RunningServer, models_dir: Path, artifacts: Path
) -> None:
    with open_page(running_server.url, microphone=None, color_scheme="dark") as page:
        without_greeting(page)
        page.click("#text-only-button")
        expect(page.locator("body")).to_have_attribute("data-call-state", "listening")
        page.fill("#text-input", "Please say hello to me.")
        page.press("#text-input", "Enter")
        answer = page.locator('.message[data-role="assistant"] .text')
        expect(page.locator('.message[data-role="user"] .text')).to_have_text("Please say hello to me.")
        until_event(page, "output_audio_buffer.started")
        expect(answer).not_to_be_empty()
        page.screenshot(path=artifacts / "page-typed-dark.png")
        until_event(page, "output_audio_buffer.stopped", limit_s=ANSWER_LIMIT_S)
        shown = answer.inner_text()
        until_quiet(page)
        heard, _ = take_recording(page)
    said = transcribed(models_dir, heard)
    assert sound_error_rate(shown, said) <= 0.25, f"shown {shown!r}, heard {said!r}"


def test_a_new_conversation_forgets(running_server: RunningServer) -> None:
    with open_page(running_server.url) as page:
        without_greeting(page)
        page.fill("#text-input", "My name is Robert.")
        page.press("#text-input", "Enter")
        until_event(page, "output_audio_buffer.started")
        expect(page.locator(".message")).to_have_count(2)
        page.click("#new-conversation-button")
        reset = until_event(page, "vk.conversation.reset")
        expect(page.locator(".message")).to_have_count(0)
        expect(page.locator("#waterfall .turn")).to_have_count(0)
        page.fill("#text-input", "What is my name?")
        page.press("#text-input", "Enter")
        until_event(page, "output_audio_buffer.started", count=2)
        added = [
            event for event in server_events(page, "conversation.item.added") if event["atMs"] > reset["atMs"]
        ]
        assert added[0]["item"]["content"][0]["text"] == "What is my name?"
        assert not added[0].get("previous_item_id"), "to the server, too, it is the first"


def test_over_https_the_microphone_works_under_any_name(
    models_dir: Path, artifacts: Path, tmp_path: Path
) -> None:
    microphone = says(models_dir, tmp_path, 1.0, QUESTION, 60.0)
    environment = {
        "VOXTRAL_KOKORO__SERVER__TLS_SELF_SIGNED": "true",
        "VOXTRAL_KOKORO__SERVER__STATE_DIRECTORY": str(tmp_path / "state"),
        "VOXTRAL_KOKORO__SERVER__ALLOWED_HOSTS": f'["{ELSEWHERE}"]',
    }
    phone = {"viewport": {"width": 360, "height": 740}, "device_scale_factor": 2, "has_touch": True}
    with server(environment) as running:
        url = running.url.replace("http://127.0.0.1", f"https://{ELSEWHERE}")
        with open_page(url, microphone, ignore_https_errors=True, **phone) as page:
            without_greeting(page)
            page.click("#call-button")
            asked = page.locator('.message[data-role="user"] .text')
            expect(asked).to_have_text(re.compile("bees make", re.IGNORECASE), timeout=30_000)
            until_event(page, "output_audio_buffer.started")
            expect(page.locator("#waterfall .turn")).to_have_count(1)
            page.screenshot(path=artifacts / "page-https-phone.png")
            page.screenshot(path=artifacts / "page-https-phone-whole.png", full_page=True)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
                "no sideways scrolling"
            )
