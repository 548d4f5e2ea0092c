"""What the tests of calls between two real WebRTC stacks on loopback share."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import aiohttp
import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection
from scripted_call import ScriptedConversation, Serving

from media.audio import Audio, concatenate
from signaling.caller import Caller

SDP = {"Content-Type": "application/sdp"}


def tone(duration_s: float, frequency_hz: float = 1000, rate_hz: int = 24_000) -> Audio:
    t = np.arange(round(duration_s * rate_hz)) / rate_hz
    return Audio((9000 * np.sin(2 * np.pi * frequency_hz * t)).astype(np.int16), rate_hz)


def loudest_hz(audio: Audio) -> float:
    spectrum = np.abs(np.fft.rfft(audio.as_float32()))
    return float(np.argmax(spectrum) * audio.rate_hz / len(audio))


def only(server: Serving) -> ScriptedConversation:
    (conversation,) = server.host.conversations
    return conversation


async def heard_s(conversation: ScriptedConversation, duration_s: float) -> Audio:
    """What the conversation heard, once it is so much."""
    while sum(len(audio) for audio in conversation.heard) < duration_s * 16_000:
        conversation.more_heard.clear()
        await conversation.more_heard.wait()
    return concatenate(conversation.heard, 16_000)


async def audible(caller: Caller, after_s: float = 0) -> float:
    return (await caller.next_audible(after_s)).at_s


def run(main: Any, limit_s: float = 30) -> None:
    async def limited() -> None:
        async with asyncio.timeout(limit_s):
            await main()

    asyncio.run(limited())


def offer_form(sdp: str, session: Mapping[str, Any] | str | None = None) -> aiohttp.FormData:
    """An offer as the page sends it. A session that is a text is sent as it stands."""
    text = session if isinstance(session, str) or session is None else json.dumps(session)
    parts = {"sdp": sdp} if text is None else {"sdp": sdp, "session": text}
    return aiohttp.FormData(parts, default_to_multipart=True)


async def offer_of_a_stranger() -> str:
    """A complete offer of somebody who will never be there."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    peer.addTransceiver("audio")
    peer.createDataChannel("oai-events")
    await peer.setLocalDescription()
    sdp: str = peer.localDescription.sdp
    await peer.close()
    return sdp
