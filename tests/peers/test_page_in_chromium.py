"""The page, pressed and spoken to, in a real browser against the real server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from bench.server_process import RunningServer, server
from media.audio import SPEECH_RATE_HZ, Audio, concatenate, silence
from media.audio_file import write_wav
from tests.peers.chromium import open_page, server_events, take_recording
from tests.peers.voices import spoken, transcribed, word_error_rate, words

pytestmark = [pytest.mark.models, pytest.mark.browser, pytest.mark.timeout(240)]

QUESTION = "What is the capital of France?"
STORY = "Tell me a very long story about a dragon and a princess."
STOP = "Stop it now, please. Thank you very much."


@pytest.fixture(scope="module")
def running_server() -> Iterator[RunningServer]:
    with server() as running:
        yield running


def says(models_dir: Path, folder: Path, *parts: str | float) -> Path:
    """A microphone's WAV: texts are said, numbers are seconds of silence."""
    pieces = [
        silence(part, SPEECH_RATE_HZ) if isinstance(part, float) else spoken(models_dir, part)
        for part in parts
    ]
    path = folder / "microphone.wav"
    write_wav(path, concatenate(pieces, SPEECH_RATE_HZ))
    return path


def level_of(audio: Audio, start_s: float, end_s: float) -> float:
    return audio.slice_s(start_s, end_s).level_dbfs()


def without_greeting(page: Page) -> None:
    page.fill("#greeting-input", "")
    page.locator("#greeting-input").blur()


def test_a_spoken_question_is_answered(
    running_server: RunningServer, models_dir: Path, artifacts: Path, tmp_path: Path
) -> None:
    microphone = says(models_dir, tmp_path, 1.0, QUESTION, 30.0)
    with open_page(running_server.url, microphone) as page:
        page.screenshot(path=artifacts / "page-before.png")
        without_greeting(page)
        page.click("#call-button")
        asked = page.locator('.message[data-role="user"] .text')
        answer = page.locator('.message[data-role="assistant"] .text')
        expect(asked).to_have_text(re.compile("capital of France", re.IGNORECASE), timeout=20_000)
        expect(answer).not_to_be_empty(timeout=20_000)
        page.screenshot(path=artifacts / "page-speaking.png")
        page.wait_for_function(
            "() => window.serverEvents.some(({ type }) => type === 'output_audio_buffer.stopped')"
        )
        expect(page.locator("#waterfall .turn")).to_have_count(1)
        page.screenshot(path=artifacts / "page-answered.png")
        shown = answer.inner_text()
        heard, _ = take_recording(page)
        page.click("#hangup-button")
        expect(page.locator("body")).to_have_attribute("data-call-state", "idle")
    write_wav(artifacts / "answer-as-heard.wav", heard)
    said = transcribed(models_dir, heard)
    assert word_error_rate(shown, said) <= 0.2, f"shown {shown!r}, heard {said!r}"


def test_the_caller_interrupts(
    running_server: RunningServer, models_dir: Path, artifacts: Path, tmp_path: Path
) -> None:
    microphone = says(models_dir, tmp_path, 0.5, STORY, 6.0, STOP, 30.0)
    with open_page(running_server.url, microphone) as page:
        without_greeting(page)
        page.click("#call-button")
        page.wait_for_function(
            "() => window.serverEvents.some(({ type }) => type === 'output_audio_buffer.cleared')",
            timeout=40_000,
        )
        page.wait_for_timeout(1200)
        page.screenshot(path=artifacts / "page-interrupted.png")
        cut = server_events(page, "conversation.item.truncated")[0]
        cleared_ms = server_events(page, "output_audio_buffer.cleared")[0]["atMs"]
        started_ms = server_events(page, "output_audio_buffer.started")[0]["atMs"]
        later = [event["atMs"] for event in server_events(page, "output_audio_buffer.started")[1:]]
        heard, begun_ms = take_recording(page)
    write_wav(artifacts / "interrupted-as-heard.wav", heard)
    cut_s = (cleared_ms - begun_ms) / 1000
    quiet_until_s = min([(at_ms - begun_ms) / 1000 for at_ms in later], default=heard.duration_s)
    assert level_of(heard, (started_ms - begun_ms) / 1000 + 0.3, cut_s - 0.3) > -40, "it was speaking"
    assert level_of(heard, cut_s + 0.25, min(cut_s + 0.9, quiet_until_s)) < -60, "and it stopped"
    assert cut["audio_end_ms"] > 1000


def test_a_reload_while_both_speak_frees_the_line(
    running_server: RunningServer, models_dir: Path, tmp_path: Path
) -> None:
    microphone = says(models_dir, tmp_path, 0.3, STORY, 30.0)
    with open_page(running_server.url, microphone) as page:
        page.click("#call-button")
        page.wait_for_function(
            "() => window.serverEvents.some(({ type }) => type === 'output_audio_buffer.started')"
        )
        assert running_server.calls() == 1
        page.reload()
        page.wait_for_function("() => window.voiceClient")
        with page.expect_response(re.compile("/api/offer")) as offered:
            page.click("#call-button")
        assert offered.value.ok
        expect(page.locator("body")).to_have_attribute(
            "data-call-state", re.compile("listening|hearing|speaking")
        )
        # The old call ended with the page that made it; only the new one is there.
        assert running_server.calls() == 1


def test_a_typed_conversation_needs_no_microphone(
    running_server: RunningServer, models_dir: Path, artifacts: Path
) -> None:
    with open_page(running_server.url, microphone=None, color_scheme="dark") as page:
        page.click("#text-only-button")
        page.fill("#text-input", "Please say hello to me.")
        page.press("#text-input", "Enter")
        answers = page.locator('.message[data-role="assistant"] .text')
        expect(page.locator('.message[data-role="user"] .text')).to_have_text("Please say hello to me.")
        expect(answers.last).not_to_be_empty(timeout=20_000)
        page.wait_for_function(
            "() => window.voiceClient.items.filter(({ role }) => role === 'assistant').length >= 1"
        )
        page.screenshot(path=artifacts / "page-typed-dark.png")
        page.wait_for_function(
            "() => window.serverEvents.some(({ type }) => type === 'output_audio_buffer.stopped')"
        )
        shown = " ".join(answers.all_inner_texts())
        heard, _ = take_recording(page)
    assert np.abs(heard.as_float32()).max() > 0.05, "the answer was spoken, too"
    assert words(shown)


def test_a_refused_microphone_is_explained(running_server: RunningServer, artifacts: Path) -> None:
    with open_page(running_server.url, microphone=None, viewport={"width": 360, "height": 740}) as page:
        page.click("#call-button")
        expect(page.locator("#problem")).to_be_visible()
        expect(page.locator("#problem-text")).to_have_text(re.compile("microphone", re.IGNORECASE))
        page.screenshot(path=artifacts / "page-refused-phone.png")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "no sideways scrolling"
