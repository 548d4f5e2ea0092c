"""Calls between the user agent and a far side whose messages are written by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sipmessage import Message, Request, Response

from signaling.sip.messages import response_to, to_tag
from tests.signaling.sip.agents import Agent, RawPeer, Taken, agent, raw_peer, with_sdp


@asynccontextmanager
async def voice_and_raw(**section: Any) -> AsyncIterator[tuple[Agent, RawPeer]]:
    async with agent(**section) as voice, raw_peer() as raw:
        yield voice, raw


async def called(voice: Agent, raw: RawPeer, **headers: str) -> tuple[Taken, str]:
    """A call that the raw side places. Returns it and our tag."""
    raw.send(with_sdp(raw.invite(voice.port, **headers)), voice.port)
    answer = await raw.response(200)
    tag = to_tag(answer) or ""
    raw.send(raw.make("ACK", voice.port, to_tag=tag), voice.port)
    return await voice.next_call(), tag


async def asked(voice: Agent, raw: RawPeer, request: Message) -> Response:
    raw.send(request, voice.port)
    return await raw.response()


def answer_to(invite: Request, code: int, raw: RawPeer, tag: str, *, sdp: bool = True) -> Message:
    response = response_to(invite, code, to_tag=tag)
    response.headers.set("Contact", f"<sip:raw@127.0.0.1:{raw.port}>")
    return with_sdp(response) if sdp else response


@asynccontextmanager
async def dialled(voice: Agent, raw: RawPeer) -> AsyncIterator[tuple[asyncio.Task[Taken], Request]]:
    """A call to the raw side, as far as its INVITE."""
    async with asyncio.TaskGroup() as tasks:
        dialling = tasks.create_task(voice.call(f"sip:raw@127.0.0.1:{raw.port}"))
        yield dialling, await raw.request("INVITE")
