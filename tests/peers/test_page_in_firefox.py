"""The page in a real Firefox: another browser, and another WebRTC stack, than Chromium's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from media.audio import SPEECH_RATE_HZ, Audio, concatenate, silence
from media.audio_file import write_wav
from tests.peers.firefox import FirefoxPage, firefox_page, firefox_path, new_profile
from tests.peers.page_recorder import TAKE_RECORDING, recorded
from tests.peers.spoken_server import ANSWER, SpokenServer, spoken_server
from tests.peers.voices import sound_error_rate, spoken, transcribed

pytestmark = [pytest.mark.models, pytest.mark.browser, pytest.mark.timeout(120)]

QUESTION = "Could you please tell me when the library opens?"
CALL_LIMIT_S = 60.0

READY = """
() => new Promise((resolve) => {
  const button = document.querySelector("#call-button");
  const look = () => button.getAttribute("aria-disabled") === "false" && resolve();
  new MutationObserver(look).observe(button, { attributes: true });
  look();
})
"""
"""The page asks its server first what there is."""
SHOWN = "(role) => document.querySelector(`.message[data-role='${role}'] .text`).innerText"


@pytest.fixture(scope="module")
def server() -> Iterator[SpokenServer]:
    firefox_path()
    with spoken_server(speech_to_speech={"greeting": ""}) as running:
        yield running


@pytest.fixture
def microphone(models_dir: Path, tmp_path: Path) -> Path:
    path = tmp_path / "microphone.wav"
    said = spoken(models_dir, QUESTION, "bf_emma")
    parts = [silence(0.5, SPEECH_RATE_HZ), said, silence(CALL_LIMIT_S, SPEECH_RATE_HZ)]
    write_wav(path, concatenate(parts, SPEECH_RATE_HZ))
    return path


def test_a_spoken_question_is_answered(
    server: SpokenServer, microphone: Path, models_dir: Path, artifacts: Path, tmp_path: Path
) -> None:
    profile, sound = new_profile(tmp_path), microphone.read_bytes()

    async def main() -> tuple[Audio, str]:
        async with asyncio.timeout(CALL_LIMIT_S), firefox_page(server.url, sound, profile) as page:
            return await call(page)

    heard, shown = asyncio.run(main())
    write_wav(artifacts / "answer-as-heard-in-firefox.wav", heard)
    server.until_heard(QUESTION)
    server.until_ended()
    assert shown == ANSWER
    said = transcribed(models_dir, heard)
    assert sound_error_rate(ANSWER, said) <= 0.2, said


async def call(page: FirefoxPage) -> tuple[Audio, str]:
    """Presses the button, hears the answer out, and hangs up. Returns what was heard, and what was shown."""
    await page.evaluate(READY)
    await page.evaluate("() => document.querySelector('#call-button').click()")
    await page.until_event("session.created", limit_s=15)
    await page.speak()
    await page.until_event("output_audio_buffer.stopped", limit_s=30)
    assert sound_error_rate(QUESTION, await page.evaluate(SHOWN, "user")) <= 0.2
    shown = await page.evaluate(SHOWN, "assistant")
    heard, _ = recorded(await page.evaluate(TAKE_RECORDING))
    await page.evaluate("() => document.querySelector('#hangup-button').click()")
    assert await page.evaluate("() => document.body.dataset.callState") == "idle"
    return heard, shown
