"""One stream of speech to vLLM's `/v1/realtime`, over a connection of its own.

The protocol, as `vllm/entrypoints/openai/realtime` has it: the server greets with `session.created`; the
client names the model (`session.update`), has the transcription begun (`input_audio_buffer.commit`), and
sends sound as it comes (`input_audio_buffer.append`: base64 of 16-bit samples at 16 kHz); the server answers
each 80 ms with a `transcription.delta`, empty mostly. After `input_audio_buffer.commit` with `final` it hears
the silence that the model ends with, as fast as it can, and says all in `transcription.done`. `error` may
come at any time.
"""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import AsyncExitStack
from typing import Any

import aiohttp

from media.engines.openai_endpoint import OpenAiEndpoint
from media.engines.openai_faults import STT, EndpointFault, fault_of_event
from media.engines.protocols import SttOptions

PATH = "/realtime"

_GREETING = "session.created"


class VllmStream:
    """A transcription that grows. Sound may be sent while `news` are awaited, by several at once.

    Attributes:
        text: that was written so far; all of it, once it is `done`.
        done: the server said so.
        sent_samples: of the stream's sound.
        finishing: it was told that no more comes.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, endpoint: OpenAiEndpoint) -> None:
        self.text = ""
        self.done = False
        self.sent_samples = 0
        self.finishing = False
        self._socket = socket
        self._endpoint = endpoint
        self._fault: EndpointFault | None = None
        self._reading = asyncio.Lock()
        self._received = 0

    @classmethod
    async def open(cls, endpoint: OpenAiEndpoint, options: SttOptions, deadline_s: float) -> VllmStream:
        """Connects, and has the transcription begun.

        Args:
            endpoint: the server. An engine host is told the language and the words that may come.
            options: of the turn.
            deadline_s: it must have begun by then.

        Raises:
            EndpointFault: that failed.
        """
        socket = await endpoint.socket(PATH, deadline_s)
        stream = cls(socket, endpoint)
        async with AsyncExitStack() as failing:
            failing.push_async_callback(stream.close)
            try:
                async with asyncio.timeout_at(deadline_s):
                    await stream._greeted()
                    told = {"language": options.language, "prompt": options.prompt}
                    await stream._send(
                        {"type": "session.update", "model": endpoint.model}
                        | (told if endpoint.is_engine_host else {})
                    )
                    await stream._send({"type": "input_audio_buffer.commit"})
            except TimeoutError:
                raise EndpointFault(f"{STT.endpoint} did not greet in time.", code="stt_timeout") from None
            failing.pop_all()
        return stream

    @property
    def received(self) -> int:
        """How many messages came: what `news` compares with."""
        return self._received

    async def send(self, sound: bytes) -> None:
        """More sound: 16-bit samples at 16 kHz, little-endian.

        Raises:
            EndpointFault: the connection is lost.
        """
        if sound and not self.finishing:
            self.sent_samples += len(sound) // 2
            audio = base64.b64encode(sound).decode()
            await self._send({"type": "input_audio_buffer.append", "audio": audio})

    async def finish(self) -> None:
        """No more comes: the server says all.

        Raises:
            EndpointFault: the connection is lost.
        """
        if not self.finishing:
            self.finishing = True
            await self._send({"type": "input_audio_buffer.commit", "final": True})

    async def news(self, since: int) -> int:
        """Returns when something came after the first `since` messages, and how many there are by then.

        Raises:
            EndpointFault: the server failed, or the connection did.
        """
        async with self._reading:  # whoever comes first reads, for all
            if self._received == since and not self.done:
                self._take(await self._receive())
        return self._received

    async def close(self) -> None:
        """At which the server stops. May be called twice."""
        await self._socket.close()

    async def _greeted(self) -> None:
        greeting = await self._receive()
        if greeting.get("type") == "error":
            self._take(greeting)
        if greeting.get("type") != _GREETING:
            raise EndpointFault(f"{STT.endpoint} is not vLLM's realtime API: it did not send {_GREETING}.")

    async def _send(self, event: dict[str, Any]) -> None:
        if self._fault is not None:
            raise self._fault
        try:
            await self._socket.send_str(json.dumps(event))
        except (aiohttp.ClientError, OSError) as error:
            raise self._lost() from error

    async def _receive(self) -> dict[str, Any]:
        if self._fault is not None:
            raise self._fault
        message = await self._socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise self._lost()
        try:
            event = json.loads(self._endpoint.without_key(message.data))
        except ValueError:
            event = None
        if not isinstance(event, dict):
            self._fault = EndpointFault(f"{STT.endpoint} sent a message that is no event.")
            raise self._fault
        return event

    def _take(self, event: dict[str, Any]) -> None:
        """Raises: EndpointFault: the server says that it failed."""
        self._received += 1
        match event:
            case {"type": "transcription.delta", "delta": str(delta)}:
                self.text += delta
            case {"type": "transcription.done", "text": str(text)}:
                self.text, self.done = text, True
            case {"type": "error"}:
                self._fault = fault_of_event(STT, event.get("error"))
                raise self._fault
            case _:
                pass  # what a later version may add

    def _lost(self) -> EndpointFault:
        if self._fault is None:
            self._fault = EndpointFault(
                f"{STT.endpoint} closed the connection.", code="stt_unreachable", retryable=True
            )
        return self._fault
