"""What runs in a page to note what its call brings: the server's events, and the sound that was heard."""

from __future__ import annotations

import base64
import io
from typing import Any

from media.audio import SPEECH_RATE_HZ, Audio
from media.audio_file import read_audio

RECORDER = """
() => {
  const arrivals = new EventTarget();
  window.serverEvents = [];

  const follow = (client) => {
    client.addEventListener("event", ({ detail }) => {
      window.serverEvents.push({ atMs: performance.now(), ...detail });
      arrivals.dispatchEvent(new Event("arrival"));
    });
    client.addEventListener("remotetrack", ({ detail }) => {
      const recorder = new MediaRecorder(detail.stream, { mimeType: "audio/webm;codecs=opus" });
      const heard = { recorder, chunks: [], begunMs: null };
      recorder.ondataavailable = ({ data }) => heard.chunks.push(data);
      recorder.onstart = () => (heard.begunMs = performance.now());
      recorder.start(200);
      window.heard = heard;
      window.latest = new AudioContext().createAnalyser();
      window.latest.fftSize = 16384; // 0.34 s
      window.latest.context.createMediaStreamSource(detail.stream).connect(window.latest);
    });
  };
  Object.defineProperty(window, "voiceClient", {
    configurable: true,
    set(client) {
      Object.defineProperty(window, "voiceClient", { value: client });
      follow(client);
    },
  });

  window.untilQuiet = async (level) => {
    await window.latest.context.resume();
    const samples = new Float32Array(window.latest.fftSize);
    do {
      await new Promise(requestAnimationFrame);
      window.latest.getFloatTimeDomainData(samples);
    } while (samples.some((sample) => Math.abs(sample) > level));
  };

  window.untilEvent = (kind, count, limitMs) =>
    new Promise((resolve, reject) => {
      const look = () => {
        const found = window.serverEvents.filter(({ type }) => type === kind);
        if (found.length >= count) end(resolve, found[count - 1]);
      };
      const end = (settle, outcome) => {
        clearTimeout(timer);
        arrivals.removeEventListener("arrival", look);
        settle(outcome);
      };
      const timer = setTimeout(() => {
        const came = window.serverEvents.map(({ type }) => type).join(", ");
        end(reject, new Error(`${kind} did not come within ${limitMs} ms. There came: ${came}`));
      }, limitMs);
      arrivals.addEventListener("arrival", look);
      look();
    });
}
"""

TAKE_RECORDING = """
async () => {
  const { recorder, chunks, begunMs } = window.heard;
  if (recorder.state !== "inactive") {
    const stopped = new Promise((resolve) => (recorder.onstop = resolve));
    recorder.stop();
    await stopped;
  }
  const bytes = new Uint8Array(await new Blob(chunks).arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192)
    text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return { base64: btoa(text), begunMs };
}
"""


def recorded(taken: dict[str, Any]) -> tuple[Audio, float]:
    """What `TAKE_RECORDING` brought: the sound at 16 kHz, and when (page milliseconds) it began."""
    recording = io.BytesIO(base64.b64decode(taken["base64"]))
    return read_audio(recording, SPEECH_RATE_HZ), float(taken["begunMs"])
