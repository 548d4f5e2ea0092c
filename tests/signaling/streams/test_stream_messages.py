"""Providers' messages as their documentation has them, replayed; and what is none of them."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signaling.streams import chan_websocket_messages, plivo_messages, telnyx_messages, twilio_messages
from signaling.streams.audiosocket_frames import AudioSocketWire, frame, payload_bytes
from signaling.streams.chan_websocket_messages import ChanWebSocketWire
from signaling.streams.plivo_messages import PlivoWire
from signaling.streams.telnyx_messages import TelnyxWire
from signaling.streams.twilio_messages import TwilioWire
from signaling.streams.wire import (
    Answered,
    BadMessage,
    Began,
    Drained,
    Ended,
    Full,
    Heard,
    Objected,
    Pressed,
    Reached,
    StreamEvent,
    StreamFormat,
    Wire,
)

MULAW = StreamFormat("pcmu")
SOUND = bytes(range(160))
PAYLOAD = b64encode(SOUND).decode()


def replayed(wire: Wire, *messages: str | bytes | dict[str, Any]) -> list[StreamEvent | None]:
    return [wire.read(json.dumps(one) if isinstance(one, dict) else one) for one in messages]


def test_twilios_transcript() -> None:
    """As in https://www.twilio.com/docs/voice/media-streams/websocket-messages."""
    events = replayed(
        TwilioWire(),
        {"event": "connected", "protocol": "Call", "version": "1.0.0"},
        {
            "event": "start",
            "sequenceNumber": "1",
            "start": {
                "accountSid": "AC1",
                "streamSid": "MZ1",
                "callSid": "CA1",
                "tracks": ["inbound"],
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                "customParameters": {"FirstName": "Jane", "RemoteParty": "Bob"},
            },
            "streamSid": "MZ1",
        },
        {
            "event": "media",
            "sequenceNumber": "3",
            "media": {"track": "inbound", "chunk": "1", "timestamp": "5", "payload": PAYLOAD},
            "streamSid": "MZ1",
        },
        {"event": "media", "media": {"track": "outbound", "timestamp": "5", "payload": PAYLOAD}},
        {
            "event": "dtmf",
            "streamSid": "MZ1",
            "sequenceNumber": "5",
            "dtmf": {"track": "inbound_track", "digit": "1"},
        },
        {"event": "mark", "sequenceNumber": "4", "streamSid": "MZ1", "mark": {"name": "my label"}},
        {"event": "something new", "streamSid": "MZ1"},
        {
            "event": "stop",
            "sequenceNumber": "5",
            "streamSid": "MZ1",
            "stop": {"accountSid": "AC1", "callSid": "CA1"},
        },
    )
    assert events == [
        None,
        Began("CA1", MULAW, parameters={"FirstName": "Jane", "RemoteParty": "Bob"}),
        Heard(SOUND, at_ms=5),
        None,
        Pressed("1"),
        Reached("my label"),
        None,
        Ended("the stream was stopped"),
    ]


def test_what_twilio_is_told() -> None:
    wire = TwilioWire()
    start = {
        "streamSid": "MZ1",
        "callSid": "CA1",
        "customParameters": {"caller": "+1", "direction": "outbound"},
    }
    format = {"encoding": "audio/x-mulaw", "sampleRate": "8000", "channels": "1"}
    (began,) = replayed(wire, {"event": "start", "start": {**start, "mediaFormat": format}})
    assert began == Began("CA1", MULAW, "+1", outbound=True, asks_after=True, parameters={})
    assert json.loads(wire.voice(SOUND, MULAW)) == {
        "event": "media",
        "streamSid": "MZ1",
        "media": {"payload": PAYLOAD},
    }
    assert json.loads(wire.mark("m1")) == {"event": "mark", "streamSid": "MZ1", "mark": {"name": "m1"}}
    assert json.loads(wire.clear()) == {"event": "clear", "streamSid": "MZ1"}


def test_telnyxs_transcript() -> None:
    """As in https://developers.telnyx.com/api-reference/websockets/stream-call-media-over-websocket."""
    start: dict[str, Any] = {
        "event": "start",
        "sequence_number": "1",
        "stream_id": "32DE0DEA",
        "start": {
            "user_id": "3E6F995F",
            "call_control_id": "v2:T02",
            "call_session_id": "ff55",
            "from": "+13122010094",
            "to": "+13122123456",
            "tags": ["TAG1"],
            "client_state": "aGF2",
            "custom_parameters": {"customer_id": "customer_123"},
            "media_format": {"encoding": "PCMU", "sample_rate": 8000, "channels": 1},
        },
    }
    parties = ("+13122010094", "+13122123456")
    parameters = {"customer_id": "customer_123"}
    events = replayed(
        TelnyxWire(),
        {"event": "connected", "version": "1.0.0"},
        start,
        {
            "event": "media",
            "sequence_number": "4",
            "media": {"track": "inbound", "chunk": "2", "timestamp": "5", "payload": PAYLOAD},
            "stream_id": "32DE0DEA",
        },
        {
            "event": "dtmf",
            "stream_id": "1",
            "occurred_at": "2021",
            "sequence_number": "5",
            "dtmf": {"digit": "1"},
        },
        {"event": "mark", "sequence_number": "4", "stream_id": "1", "mark": {"name": "m3"}},
        {"event": "stop", "sequence_number": "5", "stop": {"user_id": "3"}, "stream_id": "1"},
    )
    assert events == [
        None,
        Began("v2:T02", MULAW, *parties, parameters=parameters),
        Heard(SOUND, chunk=2),
        Pressed("1"),
        Reached("m3"),
        Ended("the stream was stopped"),
    ]
    error = {"event": "error", "payload": {"code": 100002, "title": "unknown_error", "detail": "?"}}
    assert replayed(TelnyxWire(), error, {"event": "error"}) == [Objected("unknown_error"), Objected("")]
    start["start"]["media_format"] = {"encoding": "L16", "sample_rate": 16000, "channels": 1}
    (began,) = replayed(TelnyxWire("l16-big", Answered("v3", outbound=True)), start)
    assert began == Began(
        "v3",
        StreamFormat("l16-big", 16_000),
        *parties,
        outbound=True,
        asks_after=True,
        parameters=parameters,
    )
    start["start"]["media_format"]["encoding"] = "AMR-WB"
    with pytest.raises(BadMessage, match="PCMU"):
        replayed(TelnyxWire(), start)


def test_plivos_transcript() -> None:
    wire = PlivoWire(Answered("call", "+1", "+2"))
    start = {
        "sequenceNumber": 0,
        "event": "start",
        "start": {
            "callId": "6a0d",
            "streamId": "20170ada",
            "accountId": "MA1",
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-l16", "sampleRate": 16000},
        },
        "extra_headers": "{}",
    }
    events = replayed(
        wire,
        start,
        {
            "sequenceNumber": 1,
            "streamId": "20170ada",
            "event": "media",
            "media": {"track": "inbound", "timestamp": "1659361020040", "chunk": 1, "payload": PAYLOAD},
            "extra_headers": "{}",
        },
        {"event": "dtmf", "streamId": "1", "dtmf": {"track": "inbound", "digit": "2", "timestamp": "1"}},
        {"event": "playedStream", "streamId": "20170ada", "name": "m4"},
        {"sequenceNumber": 0, "streamId": "20170ada", "event": "clearedAudio"},
    )
    l16 = StreamFormat("l16-little", 16_000)
    assert events == [
        Began("call", l16, "+1", "+2", asks_after=True, parameters={}),
        Heard(SOUND, chunk=1),
        Pressed("2"),
        Reached("m4"),
        None,
    ]
    assert json.loads(wire.voice(SOUND, l16)) == {
        "event": "playAudio",
        "streamId": "20170ada",
        "media": {"contentType": "audio/x-l16", "sampleRate": 16000, "payload": PAYLOAD},
    }
    assert json.loads(wire.mark("m5")) == {"event": "checkpoint", "streamId": "20170ada", "name": "m5"}
    assert json.loads(wire.clear()) == {"event": "clearAudio", "streamId": "20170ada"}
    assert json.loads(wire.digits("12#")) == {"event": "sendDTMF", "streamId": "20170ada", "dtmf": "12#"}


def test_asterisks_transcript_in_both_modes() -> None:
    """As in https://docs.asterisk.org/Configuration/Channel-Drivers/WebSocket."""
    plain, in_json = ChanWebSocketWire({"caller": "+1", "x": "y"}), ChanWebSocketWire({})
    told = replayed(
        plain,
        "MEDIA_START connection_id:e226 channel:WebSocket/connectionid channel_id:pbx1-123.999 format:ulaw "
        "optimal_frame_size:160 ptime:20",
        SOUND,
        "DTMF_END channel_id:pbx1-123.999 digit:*",
        "MEDIA_XOFF",
        "MEDIA_XON",
        "MEDIA_MARK_PROCESSED m7",
        "MEDIA_BUFFERING_COMPLETED 61ea",
        "QUEUE_DRAINED",
        "STATUS queue_length:3 xon_level:800 xoff_level:900 queue_full:false bulk_media:false",
        "BRAND_NEW with:more",
    )
    assert told == [
        Began("pbx1-123.999", MULAW, "+1", parameters={"x": "y"}),
        Heard(SOUND),
        Pressed("*"),
        Full(),
        Drained(),
        Reached("m7"),
        *[None] * 4,
    ]
    assert (plain.mark("m8"), plain.clear(), plain.hang_up()) == ("MARK_MEDIA m8", "FLUSH_MEDIA", "HANGUP")
    start = {
        "event": "MEDIA_START",
        "connection_id": "e226",
        "channel": "WebSocket/connectionid",
        "channel_id": "pbx1-123.999",
        "format": "slin16",
        "optimal_frame_size": 640,
        "ptime": 20,
        "channel_variables": {"SOME": "some value", "NESTED": {"no": 1}},
    }
    told = replayed(
        in_json,
        start,
        {"event": "DTMF_END", "channel_id": "1", "digit": "#"},
        {"event": "MEDIA_MARK_PROCESSED", "channel_id": "1", "correlation_id": "m9"},
        {"event": "BRAND_NEW"},
    )
    slin16 = StreamFormat("l16-little", 16_000)
    assert told == [
        Began("pbx1-123.999", slin16, parameters={"SOME": "some value"}),
        Pressed("#"),
        Reached("m9"),
        None,
    ]
    assert json.loads(in_json.mark("m1")) == {"command": "MARK_MEDIA", "correlation_id": "m1"}
    assert json.loads(in_json.clear()) == {"command": "FLUSH_MEDIA"}
    assert json.loads(in_json.hang_up()) == {"command": "HANGUP"}
    assert in_json.read('{"event": "ERROR", "error_text": "?"}') == Objected("?")
    assert plain.read("ERROR error_text:'It is so'") == Objected("'It")
    assert plain.read("ERROR") == Objected("")


def test_asterisk_passes_opus_through_and_then_takes_nothing_back() -> None:
    wire = ChanWebSocketWire({})
    assert wire.clears
    assert wire.most_ahead_s > 0
    wire.read("MEDIA_START connection_id:1 format:opus optimal_frame_size:0 ptime:20")
    assert not wire.clears
    assert wire.most_ahead_s == 0


def test_audiosockets_frames() -> None:
    wire = AudioSocketWire()
    told = [
        wire.read(frame(0x01, bytes.fromhex("40325ec25efd4bd39ef5ffe12bb0ffe5"))),
        wire.read(frame(0x10, SOUND)),
        wire.read(frame(0x16, SOUND)),
        wire.read(frame(0x03, b"5")),
        wire.read(frame(0x42, b"new")),
        wire.read(frame(0xFF, b"\x01")),
        wire.read(frame(0x00)),
    ]
    slin, slin48 = StreamFormat("l16-little", 8_000), StreamFormat("l16-little", 48_000)
    assert told == [
        Began("40325ec2-5efd-4bd3-9ef5-ffe12bb0ffe5", slin),
        Heard(SOUND, format=slin),
        Heard(SOUND, format=slin48),
        Pressed("5"),
        None,
        Ended("Asterisk told of an error"),
        Ended("the far side hung up"),
    ]
    assert wire.voice(b"ab", slin48) == b"\x16\x00\x02ab"
    assert wire.hang_up() == b"\x00\x00\x00"
    assert payload_bytes(b"\x10\x01\x40") == 320
    with pytest.raises(BadMessage):
        wire.read(frame(0x01, b"short"))


@pytest.mark.parametrize(
    "wire", [TwilioWire(), TelnyxWire(), PlivoWire(), ChanWebSocketWire({})], ids=lambda wire: wire.carrier
)
@pytest.mark.parametrize(
    "message",
    [
        "",
        "{",
        "{}",
        '{"event": 3}',
        '{"event": null}',
        '{"event": ["start"]}',
        '{"event": "start", "start": {}}',
        '{"event": "MEDIA_START"}',
        '{"event": "\ud800"}',
        "[" * 10_000,
    ],
)
def test_what_is_malformed_is_told_from_what_is_new(wire: Wire, message: str) -> None:
    if wire.carrier == "chan_websocket" and "start" in message.split('"')[3:4]:
        return  # an event that it does not know
    if wire.carrier != "chan_websocket" and "MEDIA_START" in message:
        assert wire.read(message) is None
        return
    with pytest.raises(BadMessage):
        wire.read(message)


def test_parameters_are_as_many_and_as_long_as_is_reasonable() -> None:
    many = {f"name{number}": "x" * 5000 for number in range(200)}
    start = {
        "streamSid": "MZ1",
        "callSid": "CA1",
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000},
        "customParameters": many,
    }
    (began,) = replayed(TwilioWire(), {"event": "start", "start": start})
    assert isinstance(began, Began)
    assert len(began.parameters) == 50
    assert {len(value) for value in began.parameters.values()} == {1000}


PARSERS = [
    twilio_messages.parse_message,
    telnyx_messages.parse_message,
    plivo_messages.parse_message,
    chan_websocket_messages.parse_message,
]


@given(
    st.text() | st.recursive(st.none() | st.text(), lambda x: st.dictionaries(st.text(), x)).map(json.dumps)
)
def test_nothing_but_bad_messages_is_raised(message: str) -> None:
    for parse in PARSERS:
        try:
            parse(message)  # type: ignore[operator]
        except BadMessage:
            continue


@given(st.binary(min_size=3, max_size=60))
def test_no_frame_of_audiosocket_raises_anything_else(message: bytes) -> None:
    try:
        AudioSocketWire().read(message)
    except BadMessage:
        return
