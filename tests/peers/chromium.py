"""A real Chromium with a WAV as its microphone, and what it heard, taken out of the page."""

from __future__ import annotations

import base64
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from media.audio import SPEECH_RATE_HZ, Audio
from media.audio_file import read_audio

QUIET_SWITCHES = (
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--disable-default-apps",
    "--metrics-recording-only",
)
"""Chromium makes no calls of its own."""

RECORDER = """
() => {
  window.heard = { chunks: [], begunMs: null };
  window.serverEvents = [];
  const watch = () => {
    if (!window.voiceClient) return setTimeout(watch, 20);
    const client = window.voiceClient;
    client.addEventListener("event", ({ detail }) =>
      window.serverEvents.push({ atMs: performance.now(), ...detail }));
    client.addEventListener("remotetrack", ({ detail }) => {
      const recorder = new MediaRecorder(detail.stream, { mimeType: "audio/webm;codecs=opus" });
      recorder.ondataavailable = ({ data }) => window.heard.chunks.push(data);
      recorder.onstart = () => (window.heard.begunMs = performance.now());
      recorder.start(200);
      window.heard.recorder = recorder;
    });
  };
  watch();
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


def chromium_path() -> str:
    """The browser that `make test` has seen to."""
    for name in (os.environ.get("CHROMIUM"), "chromium", "google-chrome", "chromium-browser"):
        if name and (path := shutil.which(name)):
            return path
    raise AssertionError("no Chromium: run `make test`, or set CHROMIUM to its path")


@contextmanager
def open_page(url: str, microphone: Path | None = None, **options: Any) -> Iterator[Page]:
    """The page in a browser of its own.

    Args:
        url: what to open.
        microphone: a WAV that is spoken once from when the page opens its microphone; None denies it one.
        options: of the browser context (`viewport`, `color_scheme` …).
    """
    switches = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required", *QUIET_SWITCHES]
    if microphone is not None:
        switches += [
            "--use-fake-ui-for-media-stream",
            "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-audio-capture={microphone}%noloop",
        ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=switches)
        try:
            page = browser.new_context(**options).new_page()
            page.set_default_timeout(30_000)
            page.add_init_script(f"({RECORDER})()")
            page.goto(url)
            yield page
        finally:
            browser.close()


def take_recording(page: Page) -> tuple[Audio, float]:
    """What the page heard since the call began, at 16 kHz, and when (page milliseconds) that was."""
    taken = page.evaluate(TAKE_RECORDING)
    recording = io.BytesIO(base64.b64decode(taken["base64"]))
    return read_audio(recording, SPEECH_RATE_HZ), float(taken["begunMs"])


def server_events(page: Page, kind: str) -> list[dict[str, Any]]:
    """The events of a type that the page got, each with its arrival as `atMs`."""
    events: list[dict[str, Any]] = page.evaluate(
        "(kind) => window.serverEvents.filter((event) => event.type === kind)", kind
    )
    return events
