"""`@openai/agents-realtime`, as it is published, talks to the real server: over a WebSocket, over WebRTC."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from media.audio import SPEECH_RATE_HZ, concatenate, silence
from media.audio_file import write_wav
from tests.peers.chromium import open_page, take_recording
from tests.peers.npm_clients import bundled, npm_folder
from tests.peers.pages import site
from tests.peers.spoken_server import SpokenServer, spoken_server
from tests.peers.story import (
    ASK,
    BREAK_IN,
    CLIENT_LIMIT_S,
    HEARD_S,
    ROOT,
    WEATHER,
    Report,
    require_conversation,
    run_client,
    samples,
    write_voices,
)
from tests.peers.voices import spoken

pytestmark = [pytest.mark.models, pytest.mark.timeout(240)]

KEY = "a-key-of-sixteen-letters"
PAUSES_S = (2.0, 5.0, 40.0)
"""In the browser's microphone: before the caller asks, until the break in, and then."""

CALL_IN_A_PAGE = """
async ([url, apiKey, weather, limitMs]) => {
  const { OpenAIRealtimeWebRTC, RealtimeAgent, RealtimeSession, tool } = await import("/agents-realtime.js");
  const report = { calls: [], interruptions: 0, errors: [], said: [] };
  const getWeather = tool({
    name: "get_weather",
    description: "The weather in a city.",
    parameters: {
      type: "object",
      properties: { city: { type: "string" } },
      required: ["city"],
      additionalProperties: false,
    },
    execute: async (given) => {
      report.calls.push(given);
      return weather;
    },
  });
  const audioElement = new Audio();
  const baseUrl = `${url}/v1/realtime/calls`;
  const transport = new OpenAIRealtimeWebRTC({ baseUrl, useInsecureApiKey: true, audioElement });
  const agent = new RealtimeAgent({ name: "storyteller", instructions: "Be brief.", tools: [getWeather] });
  const session = new RealtimeSession(agent, { transport });
  const said = (role) =>
    session.history
      .filter((item) => item.type === "message" && item.role === role && item.status === "completed")
      .map(({ content }) => content.map(({ transcript, text }) => transcript ?? text ?? "").join(""));
  const heardOut = new Promise((resolve, reject) => {
    transport.on("output_audio_buffer.stopped", () => report.calls.length && resolve());
    setTimeout(() => reject(new Error(JSON.stringify([report, session.history]))), limitMs);
  });
  session.on("error", ({ error }) => report.errors.push(String(error?.message ?? JSON.stringify(error))));
  transport.on("output_audio_buffer.cleared", () => report.interruptions++);
  await session.connect({ apiKey, model: "gpt-realtime" });
  const recorder = new MediaRecorder(audioElement.srcObject, { mimeType: "audio/webm;codecs=opus" });
  window.heard = { recorder, chunks: [], begunMs: performance.now() };
  recorder.ondataavailable = ({ data }) => window.heard.chunks.push(data);
  recorder.start(200);
  await heardOut;
  report.said = said("user");
  window.session = session;
  return report;
}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[SpokenServer]:
    access = {"allowed_origins": ["*"], "api_keys": [KEY]}
    with spoken_server(server=access, speech_to_speech={"greeting": ""}) as running:
        yield running


@pytest.mark.parametrize(("transport", "rate_hz"), [("websocket", 24_000), ("webrtc", 48_000)])
def test_in_node(
    server: SpokenServer, models_dir: Path, tmp_path: Path, transport: str, rate_hz: int
) -> None:
    write_voices(models_dir, tmp_path, rate_hz)
    modules, node = npm_folder(), shutil.which("node")
    assert node is not None, "npm needs it itself"
    script = ROOT / "tests" / "peers" / "npm" / "agents_realtime.mjs"
    arguments = [transport, modules, server.url, KEY, tmp_path, WEATHER, str(HEARD_S)]
    report = run_client([node, script, *arguments])
    require_conversation(report, models_dir, samples(tmp_path / "heard.pcm", rate_hz))


@pytest.mark.browser
def test_in_chromium(server: SpokenServer, models_dir: Path, tmp_path: Path, artifacts: Path) -> None:
    """Its microphone is a file, so the break in has its time beforehand: in the midst of half a minute."""
    ask, break_in = (spoken(models_dir, text, "bf_emma") for text in (ASK, BREAK_IN))
    before, between, after = (silence(pause_s, SPEECH_RATE_HZ) for pause_s in PAUSES_S)
    microphone = tmp_path / "microphone.wav"
    write_wav(microphone, concatenate([before, ask, between, break_in, after], SPEECH_RATE_HZ))
    with (
        site({"agents-realtime.js": bundled("@openai/agents-realtime")}) as origin,
        open_page(origin, microphone) as page,
    ):
        given = [server.url, KEY, WEATHER, CLIENT_LIMIT_S * 1000]
        report = Report(**page.evaluate(CALL_IN_A_PAGE, given))
        heard, _ = take_recording(page)
        page.evaluate("() => window.session.close()")
        server.until_ended()
    write_wav(artifacts / "agents-realtime-heard.wav", heard)
    require_conversation(report, models_dir, heard)
