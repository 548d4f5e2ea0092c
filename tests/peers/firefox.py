"""A real Firefox with a WAV as its microphone, driven over WebDriver BiDi.

The protocol: https://w3c.github.io/webdriver-bidi.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.peers.page_recorder import RECORDER

START_LIMIT_S = 30.0
END_LIMIT_S = 10.0

PREFERENCES: dict[str, Any] = {
    # Sound without a press of a button.
    "media.autoplay.default": 0,
    "media.autoplay.blocking_policy": 0,
    # It makes no calls of its own.
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.search.update": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.update.enabled": False,
    "media.gmp-manager.updateEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,",
    "toolkit.telemetry.enabled": False,
}

MICROPHONE = """
() => {
  const bytes = Uint8Array.from(atob("%s"), (letter) => letter.charCodeAt(0));
  const voice = new Audio(URL.createObjectURL(new Blob([bytes], { type: "audio/wav" })));
  navigator.mediaDevices.getUserMedia = async () => {
    const stream = voice.mozCaptureStream();
    await voice.play();
    voice.pause();
    return stream;
  };
  window.speak = () => voice.play();
}
"""
"""Firefox takes no file for a microphone, so the page is given a player's sound. No AudioContext's: on a
machine without a sound card it stayed suspended."""


class BrowserError(AssertionError):
    """What the browser could not do, or what was thrown in the page."""


class FirefoxPage:
    """A page that is open."""

    def __init__(self, commands: Commands, context: str) -> None:
        self._commands = commands
        self._context = context

    async def goto(self, url: str) -> None:
        """Opens another address in the page's place."""
        await self._commands.run("browsingContext.navigate", context=self._context, url=url, wait="complete")

    async def evaluate(self, function: str, *arguments: Any) -> Any:
        """Calls a function in the page, as if its user had just pressed something; waits for its promise."""
        given = json.dumps(json.dumps(arguments))
        done = await self._commands.run(
            "script.callFunction",
            functionDeclaration=f"async () => JSON.stringify(await ({function})(...JSON.parse({given})))",
            awaitPromise=True,
            userActivation=True,
            target={"context": self._context},
        )
        if done["type"] == "exception":
            raise BrowserError(done["exceptionDetails"]["text"])
        value = done["result"].get("value")
        return None if value is None else json.loads(value)

    async def speak(self) -> None:
        """Into the page's microphone, which it has opened: plays what there is to say."""
        await self.evaluate("() => window.speak()")

    async def until_event(self, kind: str, limit_s: float) -> dict[str, Any]:
        """Waits for the server's event of a type."""
        wait = "(kind, limitMs) => window.untilEvent(kind, 1, limitMs)"
        event: dict[str, Any] = await self.evaluate(wait, kind, limit_s * 1000)
        return event


class Commands:
    """The connection to the browser. One command at a time."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)

    async def run(self, method: str, **params: Any) -> dict[str, Any]:
        """Gives a command and waits for its result. Raises: BrowserError."""
        command_id = next(self._ids)
        await self._socket.send_json({"id": command_id, "method": method, "params": params})
        while (answer := await self._socket.receive_json()).get("id") != command_id:
            pass
        if answer["type"] == "error":
            raise BrowserError(f"{method}: {answer['message']}")
        result: dict[str, Any] = answer["result"]
        return result


def new_profile(folder: Path) -> Path:
    """A folder in this one for what the browser writes, with the preferences in it."""
    profile = folder / "profile"
    profile.mkdir()
    lines = (f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in PREFERENCES.items())
    (profile / "user.js").write_text("".join(lines))
    return profile


@asynccontextmanager
async def firefox_page(url: str, microphone: bytes, profile: Path) -> AsyncIterator[FirefoxPage]:
    """The page in a browser of its own.

    Args:
        url: what to open.
        microphone: a WAV that `FirefoxPage.speak` plays, once. Its end is the end of the microphone.
        profile: a folder that `new_profile` has made.
    """
    async with (
        _browser(profile) as address,
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{address}/session", max_msg_size=0) as socket,
    ):
        commands = Commands(socket)
        await commands.run("session.new", capabilities={})
        for script in (MICROPHONE % base64.b64encode(microphone).decode(), RECORDER):
            await commands.run("script.addPreloadScript", functionDeclaration=script.strip())
        context = (await commands.run("browsingContext.create", type="tab"))["context"]
        page = FirefoxPage(commands, context)
        await page.goto(url)
        yield page
        # Leaving the page ends its call.
        await page.goto("about:blank")
        await commands.run("browser.close")


def firefox_path() -> str:
    """The browser that `make test` has seen to. Skips the test where there is none."""
    for name in (os.environ.get("FIREFOX"), "firefox-esr", "firefox"):
        if name and (path := shutil.which(name)):
            return path
    pytest.skip(
        "no Firefox: install it, or set FIREFOX to its path (scripts/firefox does so on Debian, as root)"
    )


@asynccontextmanager
async def _browser(profile: Path) -> AsyncIterator[str]:
    """Starts it and ends it. Gives the address at which it takes commands."""
    process = await asyncio.create_subprocess_exec(
        *(firefox_path(), "--headless", "--no-remote", "--remote-debugging-port", "0", "--profile", profile),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "HOME": str(profile), "MOZ_CRASHREPORTER_DISABLE": "1"},
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(START_LIMIT_S):
            address = await _address(process.stderr)
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(_read_on(process.stderr), name="what Firefox complains of")
            try:
                yield address
                async with asyncio.timeout(END_LIMIT_S):
                    await process.wait()
            finally:
                reading.cancel()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _address(lines: asyncio.StreamReader) -> str:
    said = ""
    while line := (await lines.readline()).decode():
        if found := re.search(r"WebDriver BiDi listening on (ws://\S+)", line):
            return found[1]
        said += line
    raise BrowserError(f"Firefox did not start: {said}")


async def _read_on(lines: asyncio.StreamReader) -> None:
    """So that it can go on writing."""
    while await lines.readline():
        pass
