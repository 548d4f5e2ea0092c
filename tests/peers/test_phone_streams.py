"""Telephone calls over providers' streams with the real engines: asked, answered, and interrupted.

The providers' far sides are ours, written from descriptions of their wires. What they heard is transcribed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

import pytest
from twilio.request_validator import RequestValidator

from media.audio import SPEECH_RATE_HZ, Audio, concatenate
from media.resampler import resample
from tests.free_ports import free_tcp_port
from tests.peers.spoken_server import ANSWER, SpokenServer, spoken_server
from tests.peers.story import ASK, STORY
from tests.peers.voices import sound_error_rate, spoken, transcribed, words
from tests.signaling.streams.far_sides import (
    AudioSocketSide,
    ChanWebSocketSide,
    FarSide,
    PlivoSide,
    TelnyxSide,
    TwilioSide,
    over_tcp,
    over_websocket,
)

pytestmark = [pytest.mark.models, pytest.mark.timeout(300)]

ORIGIN = "https://voice.example.org"
AUTH_TOKEN = "0123456789abcdef0123456789abcdef"
STREAM_TOKEN = "a-token-for-streams"
QUESTION = "When does the library open today?"
BREAK_IN = "Wait, when does the library open?"
LIMIT_S = 90.0


@pytest.fixture(scope="module")
def audiosocket_port() -> int:
    return free_tcp_port()


@pytest.fixture(scope="module")
def server(audiosocket_port: int) -> Iterator[SpokenServer]:
    streams = {
        "public_origin": ORIGIN,
        "twilio": {"auth_token": AUTH_TOKEN},
        "telnyx": {"stream_token": STREAM_TOKEN},
        "plivo": {"stream_token": STREAM_TOKEN},
        "audiosocket": {"port": audiosocket_port},
        "chan_websocket": {"networks": ["127.0.0.0/8"]},
    }
    with spoken_server(streams=streams, speech_to_speech={"greeting": ""}) as running:
        yield running


@pytest.fixture(scope="module")
def question(models_dir: Path) -> Audio:
    return spoken(models_dir, QUESTION)


@dataclass(frozen=True)
class Caller:
    """How one reaches the server."""

    name: str
    side: Callable[[], FarSide]
    path: str = ""
    headers: dict[str, str] = field(default_factory=dict)


def alaw_telnyx() -> FarSide:
    side = TelnyxSide(sound="a")
    side.encoding = "PCMA"
    return side


TWILIO_SIGNATURE = RequestValidator(AUTH_TOKEN).compute_signature(
    f"{ORIGIN.replace('https', 'wss')}/twilio/stream", {}
)
TWILIO = Caller("twilio", TwilioSide, "/twilio/stream", {"X-Twilio-Signature": TWILIO_SIGNATURE})
CALLERS = [
    TWILIO,
    Caller("telnyx-alaw", alaw_telnyx, f"/telnyx/stream?token={STREAM_TOKEN}"),
    Caller(
        "plivo-l16",
        lambda: PlivoSide(sound="little", rate_hz=16_000),
        f"/plivo/stream?token={STREAM_TOKEN}",
    ),
    Caller("chan_websocket", ChanWebSocketSide, "/asterisk/stream"),
    Caller("audiosocket", lambda: AudioSocketSide(sound="little")),
]


Talk = Callable[[FarSide], Coroutine[Any, Any, None]]
InCall = Callable[[Caller, Talk], FarSide]


@pytest.fixture
def in_call(server: SpokenServer, audiosocket_port: int) -> InCall:
    """A whole call; gives the far side, which knows what it heard."""

    def run(caller: Caller, talk: Talk) -> FarSide:
        side = caller.side()

        async def main() -> None:
            url = f"{server.url.replace('http', 'ws')}{caller.path}"
            calling = (
                over_websocket(side, url, headers=caller.headers)
                if caller.path
                else over_tcp(side, audiosocket_port)
            )
            async with asyncio.timeout(LIMIT_S), calling:
                await side.until(lambda: side.sent_frames > 25)
                await talk(side)
                await side.leave()

        server.forget()
        asyncio.run(main())
        server.until_ended()
        return side

    return run


def transcript(models_dir: Path, side: FarSide, before_s: float = inf, since_s: float = -inf) -> str:
    """What the caller heard in that time."""
    frames = [frame for at_s, frame in side.played if since_s <= at_s < before_s]
    return transcribed(models_dir, resample(concatenate(frames, side.rate_hz), SPEECH_RATE_HZ))


@pytest.mark.parametrize("caller", CALLERS, ids=lambda caller: caller.name)
def test_a_spoken_question_is_answered(
    server: SpokenServer, in_call: InCall, models_dir: Path, question: Audio, caller: Caller
) -> None:
    async def talk(side: FarSide) -> None:
        side.say(question)
        await asyncio.to_thread(server.until_heard, QUESTION, 60.0)
        await asyncio.to_thread(server.until_answered, 60.0)

    side = in_call(caller, talk)
    answer = transcript(models_dir, side)
    assert sound_error_rate(ANSWER, answer) <= 0.25, answer
    # Not the whole of it at once; on a busy machine, the far side plays a little late.
    assert side.most_queued_s <= 1.0


def test_an_interruption_is_heard_at_once_and_the_rest_of_the_story_never(
    server: SpokenServer, in_call: InCall, models_dir: Path
) -> None:
    ask, break_in = spoken(models_dir, ASK), spoken(models_dir, BREAK_IN)

    async def talk(side: FarSide) -> None:
        side.say(ask)
        await side.until(lambda: side.audible_s() > 2.5)
        side.say(break_in)
        await asyncio.to_thread(server.until_heard, BREAK_IN, 60.0)
        await asyncio.to_thread(server.until_answered, 60.0)

    side = in_call(TWILIO, talk)
    assert side.cleared
    story = transcript(models_dir, side, before_s=side.cleared[0])
    assert words(story)[:3] == words(STORY)[:3], story
    answer = transcript(models_dir, side, since_s=side.cleared[-1])
    assert sound_error_rate(ANSWER, answer) <= 0.25, answer
