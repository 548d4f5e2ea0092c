"""A browser and a synthetic caller in calls at once, over one UDP port."""

from __future__ import annotations

from pathlib import Path

import pytest

from media.audio import SPEECH_RATE_HZ, silence
from media.audio_file import write_wav
from tests.free_ports import free_ports
from tests.peers.chromium import open_page, take_recording, until_event, until_quiet
from tests.peers.one_side import called, served

pytestmark = pytest.mark.browser


def test_a_page_hears_the_greeting_over_the_shared_port(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    microphone = tmp_path / "silence.wav"
    write_wav(microphone, silence(60, SPEECH_RATE_HZ))
    with served(udp_ports=str(port)) as url, open_page(url, microphone) as page:
        page.click("#call-button")
        until_event(page, "output_audio_buffer.started")
        (outcome,) = called(url)
        assert outcome["heard"], outcome
        until_event(page, "output_audio_buffer.stopped")
        until_quiet(page)
        heard, _ = take_recording(page)
        page.click("#hangup-button")
    assert heard.slice_s(0).level_dbfs() > -40
