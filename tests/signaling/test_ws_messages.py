"""What a client of `/ws` may send, what it is told of the rest, and how sound is written."""

from __future__ import annotations

import contextlib
import json
from base64 import b64encode
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.audio import Audio
from media.resampler import resample
from signaling.ws_audio import OutgoingVoice, decode_audio, encode_audio
from signaling.ws_messages import MAX_MESSAGE_CHARS, AudioIn, MessageError, Start, parse_message, to_wire
from signaling.ws_messages import ItemOut as ItemMessage
from signaling.ws_objects import Settings, WireItem
from signaling.ws_session import session_update


def refusal(text: str) -> MessageError:
    with pytest.raises(MessageError) as refused:
        parse_message(text)
    return refused.value


@pytest.mark.parametrize(
    "message",
    [
        {"type": "start"},
        {"type": "start", "input": {"encoding": "float32", "rate_hz": 44100}, "text_only": True},
        {"type": "audio", "audio": ""},
        {"type": "audio", "audio": "AAA=", "encoding": "int16", "rate_hz": 8000},
        {"type": "text", "text": "Hello."},
        {"type": "interrupt"},
        {"type": "played", "item_id": "item_1", "audio_ms": 0},
        {"type": "settings", "settings": {"language": None}},
        {"type": "commit"},
        {"type": "clear"},
        {"type": "respond"},
        {"type": "item", "item": {"role": "assistant", "text": "Hi."}},
        {"type": "delete_item", "item_id": "item_1"},
        {"type": "reset"},
        {"type": "ping", "id": "7"},
        {"type": "pong"},
        {"type": "hang_up"},
    ],
)
def test_every_message_is_read(message: dict[str, Any]) -> None:
    assert parse_message(json.dumps(message)).type == message["type"]


@pytest.mark.parametrize(
    ("text", "code", "param"),
    [
        ("{", "invalid_json", None),
        ('{"type": "ping", "id": "\ud800"}', "invalid_json", None),
        ("[]", "invalid_json", None),
        ("{}", "unknown_type", "type"),
        ('{"type": "sing"}', "unknown_type", "type"),
        ('{"type": 7}', "unknown_type", "type"),
        ('{"type": "audio"}', "missing_field", "audio"),
        ('{"type": "audio", "audio": 7}', "invalid_value", "audio"),
        ('{"type": "audio", "audio": "", "rate_hz": 7999}', "invalid_value", "rate_hz"),
        ('{"type": "audio", "audio": "", "rate_hz": 96001}', "invalid_value", "rate_hz"),
        ('{"type": "audio", "audio": "", "encoding": "mp3"}', "invalid_value", "encoding"),
        ('{"type": "start", "input": {"encoding": "int16"}}', "missing_field", "input.rate_hz"),
        ('{"type": "start", "settings": {"speed": 9}}', "invalid_value", "settings.speed"),
        (
            '{"type": "settings", "settings": {"tools": [{"name": "a", "parameters": {"maximum": NaN}}]}}',
            "invalid_value",
            "settings.tools[0].parameters",
        ),
        ('{"type": "start", "items": [{"role": "user"}]}', "missing_field", "items[0].text"),
        ('{"type": "text", "text": ""}', "invalid_value", "text"),
        ('{"type": "played", "item_id": "i", "audio_ms": -1}', "invalid_value", "audio_ms"),
    ],
)
def test_what_is_wrong_is_named(text: str, code: str, param: str | None) -> None:
    error = refusal(text)
    assert (error.code, error.param) == (code, param)


def test_a_message_that_is_too_long_is_not_read() -> None:
    text = json.dumps({"type": "audio", "audio": "A" * MAX_MESSAGE_CHARS})
    assert refusal(text).code == "message_too_large"


def test_the_message_at_fault_is_named() -> None:
    assert refusal('{"type": "text", "id": "m7"}').message_id == "m7"
    assert refusal('{"type": "text", "id": 7}').message_id is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = [
    "id",
    "audio",
    "encoding",
    "rate_hz",
    "text",
    "item",
    "item_id",
    "settings",
    "input",
    "items",
    "audio_ms",
]
TYPES = ["start", "audio", "text", "played", "settings", "respond", "item", "delete_item", "ping", "no such"]


@given(st.sampled_from(TYPES), st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6))
def test_nothing_but_a_typed_error_comes_of_nonsense(kind: str, fields: dict[str, Any]) -> None:
    with contextlib.suppress(MessageError):
        parse_message(json.dumps({**fields, "type": kind}))


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda data: data.decode("latin-1")))
def test_nothing_but_a_typed_error_comes_of_noise(text: str) -> None:
    with pytest.raises(MessageError):
        parse_message(text)


def test_on_the_wire_a_message_begins_with_its_type_and_has_no_nulls() -> None:
    item = WireItem(item_id="item_1", role="user", status="completed", text="Hi.")
    text = to_wire(ItemMessage(item=item))
    assert text.startswith('{"type":"item"')
    assert json.loads(text) == {
        "type": "item",
        "item": {"item_id": "item_1", "role": "user", "status": "completed", "text": "Hi."},
    }


def test_formats_have_defaults() -> None:
    start = parse_message('{"type": "start"}')
    assert isinstance(start, Start)
    assert (start.input.encoding, start.input.rate_hz) == ("int16", 16_000)
    assert (start.output.encoding, start.output.rate_hz) == ("int16", 24_000)
    audio = parse_message('{"type": "audio", "audio": "AAA="}')
    assert isinstance(audio, AudioIn)
    assert audio.encoding is None


def test_only_what_was_sent_is_changed() -> None:
    update = session_update(Settings.model_validate({"voice": "bf_emma", "language": None}))
    assert update.audio is not None
    assert update.audio.output is not None
    assert update.audio.output.model_fields_set == {"voice"}
    assert update.audio.input is not None
    assert update.audio.input.model_fields_set == {"transcription"}
    assert update.audio.input.transcription is not None
    assert update.audio.input.transcription.language is None
    assert update.instructions is None
    manual = session_update(Settings.model_validate({"turn_detection": None}))
    assert manual.audio is not None
    assert manual.audio.input is not None
    assert manual.audio.input.model_fields_set == {"turn_detection"}


# --- sound -----------------------------------------------------------------------------------------------


def test_int16_is_read_as_it_is() -> None:
    data = np.array([0, 1, -1, 32767, -32768], "<i2").tobytes()
    audio = decode_audio(b64encode(data).decode(), "int16", 8000)
    assert audio.rate_hz == 8000
    assert audio.samples.tolist() == [0, 1, -1, 32767, -32768]


def test_float32_is_clipped() -> None:
    data = np.array([0.0, 0.5, -0.5, 7.0, -7.0], "<f4").tobytes()
    audio = decode_audio(b64encode(data).decode(), "float32", 48_000)
    assert audio.samples.tolist() == [0.0, 0.5, -0.5, 1.0, -1.0]
    assert audio.as_int16().tolist() == [0, 16384, -16384, 32767, -32768]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("not base64!", "int16"),
        ("AAA", "int16"),
        ("ÄÖÜß", "int16"),
        (b64encode(b"123").decode(), "int16"),
        (b64encode(b"123456").decode(), "float32"),
        (b64encode(np.array([0.0, np.nan], "<f4").tobytes()).decode(), "float32"),
        (b64encode(np.array([np.inf], "<f4").tobytes()).decode(), "float32"),
        (b64encode(np.array([-np.inf], "<f4").tobytes()).decode(), "float32"),
    ],
)
def test_sound_that_is_none_is_refused(text: str, encoding: Any) -> None:
    with pytest.raises(MessageError) as refused:
        decode_audio(text, encoding, 16_000)
    assert (refused.value.code, refused.value.param) == ("invalid_audio", "audio")


@given(st.binary(max_size=64), st.sampled_from(["int16", "float32"]))
def test_any_bytes_are_sound_or_a_typed_error(data: bytes, encoding: Any) -> None:
    with contextlib.suppress(MessageError):
        audio = decode_audio(b64encode(data).decode(), encoding, 16_000)
        assert np.isfinite(audio.as_float32()).all()


@pytest.mark.parametrize("encoding", ["int16", "float32"])
def test_what_is_written_is_read_again(encoding: Any) -> None:
    samples = (np.sin(np.arange(480) / 7) * 20_000).astype(np.int16)
    again = decode_audio(encode_audio(Audio(samples, 24_000), encoding), encoding, 24_000)
    assert again.as_int16().tolist() == samples.tolist()


@pytest.mark.parametrize("rate_hz", [8_000, 24_000, 44_100, 96_000])
def test_a_voice_goes_out_in_pieces_without_seams(rate_hz: int) -> None:
    whole = Audio((np.sin(np.arange(24_000) / 7) * 20_000).astype(np.int16), 24_000)
    voice = OutgoingVoice(rate_hz)
    pieces = []
    for start in range(0, 24_000, 7_000):
        pieces += voice.push(Audio(whole.samples[start : start + 7_000], 24_000))
    pieces += voice.finish()
    assert all(piece.duration_s <= 0.1 for _, piece in pieces)
    position = 0
    for start_ms, piece in pieces:
        assert start_ms == round(1000 * position / rate_hz)
        position += len(piece)
    joined = np.concatenate([piece.as_int16() for _, piece in pieces])
    assert joined.tolist() == resample(whole, rate_hz).as_int16().tolist()
