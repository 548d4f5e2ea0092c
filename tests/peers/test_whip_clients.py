"""WHIP publishers, as they are published, against the real server: what they say is transcribed.

The server asks for a key: each of them sends it as a bearer's.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Response

from media.audio import SPEECH_RATE_HZ, concatenate, silence
from media.audio_file import write_wav
from tests.peers.chromium import open_page, take_recording
from tests.peers.ffmpeg_publisher import can_publish
from tests.peers.npm_clients import bundled
from tests.peers.pages import site
from tests.peers.spoken_server import ANSWER, ROOT, SpokenServer, spoken_server
from tests.peers.voices import sound_error_rate, spoken, transcribed

pytestmark = [pytest.mark.models, pytest.mark.timeout(120)]

KEY = "a-key-of-sixteen-letters"
QUESTION = "Could you please tell me when the library opens?"
GOODBYES = (("DELETE", 200), ("DELETE", 404))
"""These clients close the connection first: its own goodbye may have ended the call before."""

PUBLISH_WITH_WHIP_WHEP = """
async ([endpoint, key]) => {
  const { WHIPClient } = await import("/whip-whep.js");
  const microphone = await navigator.mediaDevices.getUserMedia({ audio: true });
  const peer = new RTCPeerConnection();
  peer.addTransceiver(microphone.getAudioTracks()[0], { direction: "sendrecv", streams: [microphone] });
  peer.ontrack = ({ track }) => {
    const stream = new MediaStream([track]);
    const speaker = new Audio();  // without one, nothing of the track reaches the recorder
    speaker.srcObject = stream;
    speaker.play();
    const recorder = new MediaRecorder(stream, { mimeType: "audio/webm;codecs=opus" });
    window.heard = { recorder, chunks: [], begunMs: performance.now() };
    recorder.ondataavailable = ({ data }) => window.heard.chunks.push(data);
    recorder.start(200);
  };
  window.client = new WHIPClient();
  await window.client.publish(peer, endpoint, key);
}
"""

PUBLISH_WITH_EYEVINNS = """
async ([endpoint, authkey, withEvents]) => {
  const { WHIPClient } = await import("/whip-web-client.js");
  const microphone = await navigator.mediaDevices.getUserMedia({ audio: true });
  window.events = [];
  const peerConnectionFactory = (configuration) => {
    const peer = new RTCPeerConnection(configuration);
    if (withEvents)
      peer.createDataChannel("oai-events").onmessage = ({ data }) => window.events.push(JSON.parse(data));
    return peer;
  };
  window.client = new WHIPClient({ endpoint, opts: { authkey, iceServers: [] }, peerConnectionFactory });
  await window.client.ingest(microphone);
}
"""


@pytest.fixture(scope="module")
def page_elsewhere() -> Iterator[str]:
    files = {
        "whip-whep.js": bundled("whip-whep/whip.js"),
        "whip-web-client.js": bundled("@eyevinn/whip-web-client"),
    }
    with site(files) as origin:
        yield origin


@pytest.fixture(scope="module")
def server() -> Iterator[SpokenServer]:
    with spoken_server(
        server={"allowed_origins": ["*"], "api_keys": [KEY]}, speech_to_speech={"greeting": ""}
    ) as running:
        yield running


@pytest.fixture(scope="module")
def microphone(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The question, and then so much silence that an answer falls into it."""
    question = spoken(models_dir, QUESTION, "bf_emma")
    parts = [silence(1.0, SPEECH_RATE_HZ), question, silence(30.0, SPEECH_RATE_HZ)]
    path = tmp_path_factory.mktemp("microphone") / "question.wav"
    write_wav(path, concatenate(parts, SPEECH_RATE_HZ))
    return path


class Exchange:
    """The requests that a page made to the server, with their status; preflights are not among them."""

    def __init__(self, page: Page) -> None:
        self.made: list[tuple[str, int]] = []
        page.on("response", self._note)

    def _note(self, response: Response) -> None:
        if "/whip" in response.url and not response.url.endswith(".js"):
            self.made.append((response.request.method, response.status))


def test_ffmpeg(server: SpokenServer, models_dir: Path, tmp_path: Path) -> None:
    if not can_publish():
        pytest.skip("this PyAV's FFmpeg has no whip muxer: PyAV 17 has one")
    recording = tmp_path / "question.wav"
    question = spoken(models_dir, QUESTION, "bf_emma")
    write_wav(recording, concatenate([question, silence(1.5, SPEECH_RATE_HZ)], SPEECH_RATE_HZ))
    server.forget()
    publisher = [sys.executable, "-m", "tests.peers.ffmpeg_publisher"]
    command = [*publisher, f"{server.url}/whip", recording, tmp_path, KEY]
    subprocess.run(command, cwd=ROOT, check=True, timeout=30)
    server.until_heard(QUESTION)
    server.until_ended()


@pytest.mark.browser
def test_whip_whep_hears_the_answer(
    server: SpokenServer, page_elsewhere: str, microphone: Path, models_dir: Path, artifacts: Path
) -> None:
    server.forget()
    with open_page(page_elsewhere, microphone) as page:
        exchange = Exchange(page)
        page.evaluate(PUBLISH_WITH_WHIP_WHEP, [f"{server.url}/whip", KEY])
        server.until_heard(QUESTION)
        server.until_answered()
        heard, _ = take_recording(page)
        page.evaluate("() => window.client.stop()")
        server.until_ended()
    write_wav(artifacts / "whip-whep-heard.wav", heard)
    said = transcribed(models_dir, heard)
    assert sound_error_rate(ANSWER, said) <= 0.2, said
    assert exchange.made[0] == ("POST", 201)
    assert ("PATCH", 204) in exchange.made
    assert exchange.made[-1] in GOODBYES


@pytest.mark.browser
@pytest.mark.parametrize("with_events", [True, False])
def test_eyevinns_client(
    server: SpokenServer, page_elsewhere: str, microphone: Path, with_events: bool
) -> None:
    server.forget()
    with open_page(page_elsewhere, microphone) as page:
        exchange = Exchange(page)
        page.evaluate(PUBLISH_WITH_EYEVINNS, [f"{server.url}/whip", KEY, with_events])
        server.until_heard(QUESTION)
        events = page.evaluate("() => window.events.map(({ type }) => type)")
        page.evaluate("() => window.client.destroy()")
        server.until_ended()
    assert exchange.made[:2] == [("OPTIONS", 204), ("POST", 201)]
    assert exchange.made[-1] in GOODBYES
    # It takes a section by the name of 0, the microphone's, for none. Without another it sends an empty body.
    trickled = 204 if with_events else 400
    assert ("PATCH", trickled) in exchange.made
    assert ("input_audio_buffer.committed" in events) is with_events
