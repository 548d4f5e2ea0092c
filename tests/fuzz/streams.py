"""Calls over providers' streams, with real conversations; their far sides send anything, before and amid."""

from __future__ import annotations

import asyncio
import struct
from base64 import b64encode
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from signaling.streams.opening import carry
from tests.fuzz.json_texts import texts
from tests.scripted import quiet, speech
from tests.signaling.phone import phone_calls
from tests.signaling.phone.phone_calls import Exchange
from tests.signaling.streams.far_sides import PlivoSide, TwilioSide, memory_line
from tests.signaling.streams.stream_calls import AHEAD_S, PROVIDERS, Provider

BATCH = 12
"""Messages in one call."""
LIMIT_S = 60.0

SOUND = b64encode(b"\x7f" * 160).decode()
TWILIO: list[dict[str, Any]] = [
    {"event": "connected", "protocol": "Call", "version": "1.0.0"},
    {
        "event": "start",
        "streamSid": TwilioSide.stream_sid,
        "start": {
            "streamSid": TwilioSide.stream_sid,
            "callSid": TwilioSide.call_sid,
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {"caller": "+49", "direction": "inbound"},
        },
    },
    {"event": "media", "media": {"track": "inbound", "chunk": "7", "timestamp": "140", "payload": SOUND}},
    {"event": "media", "media": {"track": "outbound", "timestamp": "-3", "payload": ""}},
    {"event": "dtmf", "dtmf": {"track": "inbound_track", "digit": "5"}},
    {"event": "mark", "mark": {"name": "m1"}},
]
TELNYX: list[dict[str, Any]] = [
    {"event": "connected", "version": "1.0.0"},
    {
        "event": "start",
        "stream_id": "1",
        "start": {
            "call_control_id": "v3:1",
            "from": "+49",
            "media_format": {"encoding": "L16", "sample_rate": 16000, "channels": 1},
        },
    },
    {"event": "media", "media": {"track": "inbound", "chunk": "9", "timestamp": "5", "payload": SOUND}},
    {"event": "media", "media": {"chunk": -5000, "payload": "AAA="}},
    {"event": "dtmf", "dtmf": {"digit": "#"}},
    {"event": "mark", "mark": {"name": "m2"}},
    {"event": "error", "payload": {"code": 100002, "title": "unknown_error"}},
]
PLIVO: list[dict[str, Any]] = [
    {
        "event": "start",
        "start": {
            "callId": PlivoSide.call_id,
            "streamId": PlivoSide.stream_id,
            "mediaFormat": {"encoding": "audio/x-l16;rate=8000", "sampleRate": 8000},
        },
        "extra_headers": "{}",
    },
    {"event": "media", "media": {"track": "inbound", "timestamp": "1", "chunk": 3, "payload": SOUND}},
    {"event": "dtmf", "dtmf": {"digit": "x"}},
    {"event": "playedStream", "streamId": PlivoSide.stream_id, "name": "m1"},
    {"event": "clearedAudio", "streamId": PlivoSide.stream_id},
]
ASTERISK: list[dict[str, Any]] = [
    {"event": "MEDIA_START", "connection_id": "1", "format": "slin16", "channel_variables": {"A": "b"}},
    {"event": "DTMF_END", "digit": "1"},
    {"event": "MEDIA_XOFF"},
    {"event": "MEDIA_XON"},
    {"event": "MEDIA_MARK_PROCESSED", "correlation_id": "m1"},
    {"event": "STATUS", "queue_length": 3},
    {"event": "ERROR", "error_text": "?"},
]
LINES = st.sampled_from(
    [
        "MEDIA_START connection_id:1 format:ulaw optimal_frame_size:160 ptime:20",
        "MEDIA_START format:vp8",
        "MEDIA_START",
        "MEDIA_MARK_PROCESSED m1",
        "MEDIA_MARK_PROCESSED",
        "MEDIA_XOFF",
        "DTMF_END channel_id:1 digit:",
        "DTMF_END channel_id:1 digit:77",
        "NEW_EVENT with:more",
        ":",
        "\x00",
    ]
)
KINDS = st.sampled_from([0x01, 0x03, 0x10, 0x11, 0x12, 0x16, 0x20, 0x02])


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """AudioSocket's, whole: the header's length is what tells them apart."""
    payload = draw(st.binary(max_size=400))
    return struct.pack(">BH", draw(KINDS), len(payload)) + payload


MESSAGES: dict[str, st.SearchStrategy[str | bytes]] = {
    "twilio": texts(TWILIO) | st.binary(max_size=20),
    "telnyx": texts(TELNYX) | st.binary(max_size=20),
    "plivo": texts(PLIVO) | st.binary(max_size=20),
    "chan_websocket": texts(ASTERISK) | LINES | st.binary(max_size=700),
    "audiosocket": frames(),
}
PAUSES_S = st.sampled_from([0.0, 0.0, 0.0, 0.02, 0.1, 1.0])


def messages(provider: Provider) -> st.SearchStrategy[str | bytes]:
    return MESSAGES[provider.name.partition("-")[0]]


CALLS = st.sampled_from(PROVIDERS).flatmap(
    lambda provider: st.tuples(
        st.just(provider),
        st.lists(messages(provider), max_size=3),
        st.lists(st.tuples(messages(provider), PAUSES_S), min_size=BATCH - 3, max_size=BATCH),
    )
)


def check(examples: int) -> None:
    """Tries so many calls."""
    phases = (Phase.explicit, Phase.generate, Phase.shrink)

    @settings(max_examples=examples, deadline=None, phases=phases, suppress_health_check=list(HealthCheck))
    @given(CALLS)
    def calls_survive(
        call: tuple[Provider, list[str | bytes], list[tuple[str | bytes, float]]],
    ) -> None:
        provider, before, amid = call

        async def main(exchanged: Exchange) -> None:
            await _two_calls(exchanged, provider, before, amid)

        phone_calls.run(main, telephone={"greeting_delay_s": 0}, interruption={"classify": False})

    calls_survive()


async def _two_calls(
    exchanged: Exchange, provider: Provider, before: list[str | bytes], amid: list[tuple[str | bytes, float]]
) -> None:
    """One is tried, the other is asked and answered as if nothing was."""
    async with asyncio.TaskGroup() as tasks:
        decent = provider.side()
        ours, theirs = memory_line()
        tasks.create_task(carry(ours, provider.wire(), exchanged.starter, ahead_s=AHEAD_S))
        tasks.create_task(decent.run(theirs))

        tried = provider.side()
        other_ours, other_theirs = memory_line()
        tasks.create_task(carry(other_ours, provider.wire(), exchanged.starter, ahead_s=AHEAD_S))
        for message in before:
            await other_theirs.send(message)
        talking = tasks.create_task(tried.run(other_theirs))
        for message, pause_s in amid:
            await other_theirs.send(message)
            await asyncio.sleep(pause_s)
        await other_theirs.close()
        await talking

        async with asyncio.timeout(LIMIT_S):
            await decent.until(lambda: decent.sent_frames > 5)
            decent.say(speech(0.6), quiet(0.1))
            await decent.until(lambda: decent.audible_s() > 1.0)
        await theirs.close()
    await exchanged.host.until_nobody_calls()
    for record in exchanged.starter.records._records.values():
        assert record.outcome == "completed", record
