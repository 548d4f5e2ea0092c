"""A real Chromium with a WAV as its microphone, and what it heard, taken out of the page."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from playwright.sync_api import Page, sync_playwright

from media.audio import Audio
from tests.peers.page_recorder import RECORDER, TAKE_RECORDING, recorded

ELSEWHERE = "voice.test"
"""A name for this machine under which, as for a phone on the network, nothing is taken for local."""

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


def chromium_path() -> str:
    """The browser that `make test` has seen to."""
    for name in (os.environ.get("CHROMIUM"), "chromium", "google-chrome", "chromium-browser"):
        if name and (path := shutil.which(name)):
            return path
    raise AssertionError("no Chromium: run `make test`, or set CHROMIUM to its path")


@contextmanager
def _browser_command(within: Sequence[str]) -> Iterator[str]:
    """A program that starts the browser."""
    if not within:
        yield chromium_path()
        return
    with TemporaryDirectory() as folder:
        script = Path(folder) / "chromium"
        script.write_text(f'#!/bin/sh\nexec {shlex.join([*within, chromium_path()])} "$@"\n')
        script.chmod(0o755)
        yield str(script)


@contextmanager
def open_page(
    url: str,
    microphone: Path | None = None,
    *,
    udp: bool = True,
    within: Sequence[str] = (),
    **options: Any,
) -> Iterator[Page]:
    """The page in a browser of its own.

    Args:
        url: what to open.
        microphone: a WAV that is spoken once from when the page opens its microphone; None denies it one.
        udp: whether WebRTC may use it.
        within: the beginning of a command that runs the browser somewhere else.
        options: of the browser context (`viewport`, `color_scheme` …).
    """
    switches = [
        "--no-sandbox",
        "--autoplay-policy=no-user-gesture-required",
        f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1",
        *QUIET_SWITCHES,
    ]
    if not udp:
        switches.append("--webrtc-ip-handling-policy=disable_non_proxied_udp")
    if microphone is not None:
        switches += [
            "--use-fake-ui-for-media-stream",
            "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-audio-capture={microphone}%noloop",
        ]
    with _browser_command(within) as command, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=command, args=switches)
        try:
            page = browser.new_context(**options).new_page()
            page.set_default_timeout(30_000)
            page.add_init_script(f"({RECORDER})()")
            page.goto(url)
            yield page
            # Leaving the page ends its call; a browser that is killed says no goodbye.
            page.goto("about:blank")
        finally:
            browser.close()


def take_recording(page: Page) -> tuple[Audio, float]:
    """What the page heard since the call began, at 16 kHz, and when (page milliseconds) that was."""
    return recorded(page.evaluate(TAKE_RECORDING))


def until_quiet(page: Page) -> None:
    """Waits until nothing was heard for a third of a second: what was sent before has come, and was played.

    An event overtakes the sound that it tells of, which the browser keeps for a while.
    """
    page.evaluate("window.untilQuiet(0.003)")


def until_event(page: Page, kind: str, *, count: int = 1, limit_s: float = 60.0) -> dict[str, Any]:
    """Waits for the server's event of a type, or the so-manyth of it, and returns it.

    The page itself waits: Playwright's `wait_for_function` needs `eval`, which the page's policy forbids.
    """
    event: dict[str, Any] = page.evaluate(
        "([kind, count, limitMs]) => window.untilEvent(kind, count, limitMs)", [kind, count, limit_s * 1000]
    )
    return event


def server_events(page: Page, kind: str) -> list[dict[str, Any]]:
    """The events of a type that the page got, each with its arrival as `atMs`."""
    events: list[dict[str, Any]] = page.evaluate(
        "(kind) => window.serverEvents.filter((event) => event.type === kind)", kind
    )
    return events


def without_greeting(page: Page) -> None:
    page.fill("#greeting-input", "")
    page.locator("#greeting-input").blur()
    page.evaluate("document.querySelector('aside').scrollTo(0, 0)")
