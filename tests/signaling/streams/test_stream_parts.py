"""A stream's parts, which know no network: order, marks, codecs, signatures, what is awaited."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any, cast
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from plivo.utils import validate_v3_signature
from plivo.utils.signature_v3 import construct_post_url, get_signature_v3
from twilio.request_validator import RequestValidator

from media.audio import SPEECH_RATE_HZ, Audio, concatenate
from media.errors import ToolError
from media.playout import FRAME_SAMPLES, PLAYOUT_RATE_HZ
from signaling.phone.leg import Admission
from signaling.streams.answers import connected
from signaling.streams.awaited import STREAM_WITHIN_S, AwaitedStreams, Transfers
from signaling.streams.chunk_order import MOST_WAITING, WAIT_S, ChunkOrder, Piece
from signaling.streams.codecs import StreamEncoder, decoder
from signaling.streams.inbound import MOST_AHEAD_S, InboundStream
from signaling.streams.marks import GIVEN_UP_S, Marks
from signaling.streams.outgoing import MOST_WAITING as MOST_MESSAGES
from signaling.streams.outgoing import Outgoing
from signaling.streams.signatures import is_plivos, is_twilios, plivo_signs
from signaling.streams.wire import Answered, Encoding, Heard, StreamFormat
from tests import virtual_time

# --- order


def test_pieces_in_order_are_not_waited_for() -> None:
    order = ChunkOrder()
    for chunk in range(5, 20):
        assert order.push(chunk, bytes([chunk]), 0.0) == [Piece(bytes([chunk]))]
    assert order.due_s is None


def test_a_piece_that_was_overtaken_is_put_in_its_place() -> None:
    order = ChunkOrder()
    order.push(1, b"1", 0.0)
    assert order.push(3, b"3", 0.0) == []
    assert order.due_s == WAIT_S
    assert order.push(2, b"2", 0.01) == [Piece(b"2"), Piece(b"3")]
    assert order.due_s is None


def test_a_gap_is_given_up_in_time_and_what_comes_after_that_is_late() -> None:
    order = ChunkOrder()
    order.push(1, b"1", 0.0)
    order.push(4, b"4", 0.0)
    order.push(5, b"5", 0.02)
    assert order.overdue(WAIT_S - 0.001) == []
    assert order.overdue(WAIT_S) == [Piece(b"4", missing=2), Piece(b"5")]
    assert order.push(3, b"3", 0.1) == []
    assert order.push(5, b"5", 0.1) == []
    assert order.late == 2


def test_too_many_that_wait_and_leaps_are_not_waited_for() -> None:
    order = ChunkOrder()
    order.push(1, b"", 0.0)
    heard = [piece for chunk in range(3, 3 + MOST_WAITING + 1) for piece in order.push(chunk, b"", 0.0)]
    assert heard[0].missing == 1
    assert len(heard) == MOST_WAITING + 1
    assert order.push(100_000, b"new", 0.0) == [Piece(b"new")]
    assert order.push(7, b"anew", 0.0) == [Piece(b"anew")]


def test_a_far_side_that_loses_much_is_heard_no_later_for_it() -> None:
    """Gap after gap: no piece waits longer than one would."""
    order = ChunkOrder()
    waiting: dict[int, float] = {}
    for chunk in range(0, 200, 2):
        now_s = 0.04 * chunk / 2
        waiting[chunk] = now_s
        pieces = order.overdue(now_s) + order.push(chunk, chunk.to_bytes(2, "big"), now_s)
        for piece in pieces:
            del waiting[int.from_bytes(piece.payload, "big")]
        assert all(now_s - came_s < WAIT_S for came_s in waiting.values())


def test_a_far_side_that_counts_anew_is_heard_again_soon() -> None:
    order = ChunkOrder()
    for chunk in range(300):
        order.push(chunk, b"before", 0.02 * chunk)
    heard = [piece for chunk in range(200) for piece in order.push(chunk, b"after", 6.0 + 0.02 * chunk)]
    assert len(heard) == 200 - MOST_WAITING


@given(st.integers(0, 10_000))
@example(224)
def test_whatever_comes_each_piece_is_heard_once_and_in_order(seed: int) -> None:
    chance = Random(seed)
    sent = [chunk for chunk in range(200) if chance.random() > 0.05]
    order = ChunkOrder()
    heard: list[int] = []
    missing = 0
    # Each up to five places later than it was sent, some of them twice.
    arrivals = sorted((at + 5 * chance.random(), chunk) for at, chunk in enumerate(sent))
    for at, chunk in arrivals:
        now_s = at * 0.02
        pieces = order.overdue(now_s) + order.push(chunk, chunk.to_bytes(2, "big"), now_s)
        if chance.random() < 0.1:
            pieces += order.push(chunk, b"", now_s)
        heard += [int.from_bytes(piece.payload, "big") for piece in pieces]
        missing += sum(piece.missing for piece in pieces)
    # Each gap is waited on by itself.
    while (due_s := order.due_s) is not None:
        pieces = order.overdue(due_s)
        heard += [int.from_bytes(piece.payload, "big") for piece in pieces]
        missing += sum(piece.missing for piece in pieces)
    assert heard == sorted(set(heard))
    assert len(heard) + missing == heard[-1] - heard[0] + 1


# --- marks


def test_the_lag_is_what_the_last_mark_says() -> None:
    marks = Marks(0.08)
    assert marks.lag_s(10.0) == 0.08
    first, second = marks.send(10.0), marks.send(10.1)
    assert marks.lag_s(10.0) == 0.08
    marks.reached(first, 10.15)
    assert marks.lag_s(10.15) == pytest.approx(0.15)
    marks.reached(second, 10.16)
    assert marks.lag_s(10.16) == pytest.approx(0.06)


def test_a_mark_that_is_not_back_says_that_its_sound_was_not_heard() -> None:
    marks = Marks(0.08)
    marks.send(10.0)
    assert marks.lag_s(10.5) > 0.5
    assert marks.lag_s(10.0 + 0.08 + GIVEN_UP_S + 0.1) == 0.08


def test_marks_that_were_cleared_or_are_not_ours_say_nothing() -> None:
    marks = Marks(0.08)
    mark = marks.send(10.0)
    marks.clear()
    marks.reached(mark, 10.01)
    marks.reached("foreign", 10.0)
    assert marks.lag_s(12.0) == 0.08


# --- codecs


@pytest.mark.parametrize(
    ("encoding", "rate_hz", "frame_bytes"),
    [
        ("pcmu", 8_000, 160),
        ("pcma", 8_000, 160),
        ("g722", 16_000, 160),
        ("l16-little", 8_000, 320),
        ("l16-big", 16_000, 640),
        ("l16-little", 24_000, 960),
        ("l16-little", 44_100, 1764),
        ("l16-little", 48_000, 1920),
    ],
)
def test_each_frame_gives_one_and_sounds_as_it_did(
    encoding: Encoding, rate_hz: int, frame_bytes: int
) -> None:
    format = StreamFormat(encoding, rate_hz)
    encoder, ear = StreamEncoder(format, PLAYOUT_RATE_HZ), decoder(format)
    times = np.arange(25 * FRAME_SAMPLES) / PLAYOUT_RATE_HZ
    tone = (8000 * np.sin(2 * np.pi * 440 * times)).astype(np.int16)
    heard = []
    for start in range(0, len(tone), FRAME_SAMPLES):
        payload = encoder.encode(Audio(tone[start : start + FRAME_SAMPLES], PLAYOUT_RATE_HZ))
        assert len(payload) == frame_bytes
        heard.append(ear.decode(payload))
    sound = np.concatenate(heard)[1600:6400].astype(float)
    expected = np.abs(np.exp(-2j * np.pi * 440 * np.arange(len(sound)) / SPEECH_RATE_HZ) @ sound)
    assert 2 * expected / len(sound) == pytest.approx(8000, rel=0.03)
    # Nothing but the tone, and the noise of the law.
    fitted = np.linalg.norm(sound) ** 2 - 2 * expected**2 / len(sound)
    assert fitted < 0.02 * np.linalg.norm(sound) ** 2


def test_what_was_spoken_before_a_reset_is_not_heard_after_it() -> None:
    encoder = StreamEncoder(StreamFormat("l16-little", 8_000), PLAYOUT_RATE_HZ)
    encoder.encode(Audio(np.full(FRAME_SAMPLES, 8000, np.int16), PLAYOUT_RATE_HZ))
    encoder.reset()
    after = encoder.encode(Audio(np.zeros(FRAME_SAMPLES, np.int16), PLAYOUT_RATE_HZ))
    assert not any(after)


# --- what comes


def heard_by(format: StreamFormat, *pieces: tuple[float, Heard], until_s: float = 10.0) -> tuple[Audio, Any]:
    """What comes of pieces that come at these times."""
    heard: list[Audio] = []

    async def main() -> InboundStream:
        stream = InboundStream(heard.append, format)
        loop = asyncio.get_running_loop()
        for at_s, piece in pieces:
            await asyncio.sleep(max(0.0, at_s - loop.time()))
            stream.take(piece)
        await asyncio.sleep(max(0.0, until_s - loop.time()))
        stream.close()
        return stream

    stream = virtual_time.run(main())
    return concatenate(heard, SPEECH_RATE_HZ), stream


L16 = StreamFormat("l16-little", 16_000)
LOUD = np.full(320, 9000, "<i2").tobytes()


def test_timestamps_say_what_is_missing() -> None:
    pieces = [(0.02 * n, Heard(LOUD, at_ms=1000 + 20 * n)) for n in range(50) if n not in (20, 21, 22)]
    sound, stream = heard_by(L16, *pieces)
    assert sound.duration_s == pytest.approx(1.0, abs=0.003)
    assert stream.figures.lost_packets == 3
    silent = np.flatnonzero(sound.as_int16() == 0)
    assert silent[0] == 20 * 320
    assert len(silent) == 3 * 320


def test_a_leap_of_the_timestamps_is_no_pause() -> None:
    pieces = [(0.02 * n, Heard(LOUD, at_ms=(0 if n < 10 else 86_400_000) + 20 * n)) for n in range(20)]
    pieces += [(0.4 + 0.02 * n, Heard(LOUD, at_ms=20 * n)) for n in range(10)]
    sound, _ = heard_by(L16, *pieces)
    # The first leap may have been a pause, of which a second is heard at most.
    assert 0.6 <= sound.duration_s <= 1.7


def test_chunks_are_put_in_order_and_gaps_filled() -> None:
    chunks = [1, 2, 4, 3, 5, 8, 9, 10]
    pieces = [
        (0.02 * at, Heard(np.full(320, 1000 * chunk, "<i2").tobytes(), chunk))
        for at, chunk in enumerate(chunks)
    ]
    sound, stream = heard_by(L16, *pieces)
    levels = [int(sound.as_int16()[320 * n]) // 1000 for n in range(10)]
    assert levels == [1, 2, 3, 4, 5, 0, 0, 8, 9, 10]
    assert stream.figures.lost_packets == 2


def test_what_comes_too_fast_is_bounded() -> None:
    pieces = [(0.0, Heard(LOUD)) for _ in range(1000)]
    sound, stream = heard_by(L16, *pieces)
    assert sound.duration_s <= MOST_AHEAD_S + 0.03
    assert stream.dropped > 700


def test_half_samples_and_nothing_are_no_sound() -> None:
    sound, stream = heard_by(L16, (0.0, Heard(LOUD)), (0.02, Heard(b"abc")), (0.04, Heard(b"")))
    assert stream.undecodable == 2
    assert sound.duration_s == pytest.approx(0.04)


# --- what goes


def test_a_far_side_that_does_not_read_is_told_of_once() -> None:
    stalls: list[int] = []

    async def main() -> None:
        outgoing = Outgoing(lambda: stalls.append(1))
        for number in range(MOST_MESSAGES + 10):
            outgoing.put(str(number), voice=True)
        assert stalls == [1]
        assert await outgoing.next() == "0"

    virtual_time.run(main())


def test_voice_that_waits_can_be_taken_back() -> None:
    async def main() -> None:
        outgoing = Outgoing(lambda: None)
        for message, voice in (("voice", True), ("command", False), ("voice", True), (None, True)):
            outgoing.put(message, voice=voice)
        outgoing.take_back_voice()
        assert await outgoing.next() == "command"
        assert outgoing.rest() == []

    virtual_time.run(main())


# --- signatures: the providers' own libraries agree

FORMS = st.dictionaries(st.text(min_size=1, max_size=10), st.text(max_size=10), max_size=5).filter(
    lambda form: all(char < "\ud800" or char > "\udfff" for text in (*form, *form.values()) for char in text)
)
ORIGINS = st.sampled_from(["https://a.example.org", "https://a.example.org:8443", "wss://a.example.org"])


@given(FORMS, ORIGINS, st.sampled_from(["/twilio/voice", "/twilio/voice?a=b&c=%20d"]))
def test_twilios_signatures(form: dict[str, str], origin: str, path: str) -> None:
    url = f"{origin}{path}"
    signature = RequestValidator("token").compute_signature(url, form)
    assert is_twilios(signature, url, form.items(), "token")
    assert not is_twilios(signature, url, form.items(), "another")
    assert not is_twilios(signature, f"{url}x", form.items(), "token")
    assert not is_twilios("", url, form.items(), "token")


def test_twilios_signatures_with_and_without_the_port() -> None:
    for signed, asked in (
        ("https://a.example.org/x", "https://a.example.org:443/x"),
        ("https://a.example.org:443/x", "https://a.example.org/x"),
        ("wss://a.example.org:443/x", "wss://a.example.org/x"),
    ):
        signature = RequestValidator("token").compute_signature(signed, {})
        assert is_twilios(signature, asked, (), "token")


@given(
    st.dictionaries(st.text("aZ09 é", min_size=1, max_size=8), st.text("aZ09 é&=", max_size=8), max_size=5),
    st.sampled_from(["/plivo/voice", "/plivo/voice?b=2&a=1"]),
)
def test_plivos_signatures(form: dict[str, str], path: str) -> None:
    url, nonce = f"https://a.example.org{path}", "nonce"
    text = construct_post_url(url, dict(form)).decode()
    signature = get_signature_v3(b"token", text, nonce.encode()).decode()
    assert validate_v3_signature("POST", url, nonce, "token", signature, dict(form))
    signs = plivo_signs(nonce, url, form.items())
    assert is_plivos(signature, signs, "token")
    assert is_plivos(f"abc,{signature}", signs, "token")
    assert not is_plivos(signature, plivo_signs("other", url, form.items()), "token")
    assert not is_plivos(signature, signs, "another")


def test_what_providers_are_answered_is_sound_xml() -> None:
    nasty = {"caller": '"><Dial>+49900</Dial>', "called": "a&b'c"}
    for dialect in ("twilio", "telnyx", "plivo"):
        answer = connected(dialect, 'wss://x/"?a=1&b=2', "https://x/after?a=1&b=2", nasty)  # type: ignore[arg-type]
        assert ElementTree.fromstring(answer).find("Dial") is None


# --- what is awaited


class Slot:
    """An admission, which notes that it was given back."""

    def __init__(self) -> None:
        self.released = False

    def release(self) -> None:
        self.released = True


def test_a_slot_is_kept_for_a_call_until_its_stream_comes_or_does_not() -> None:
    async def main() -> None:
        awaited = AwaitedStreams()
        slots = [cast(Admission, Slot()) for _ in range(3)]
        token = awaited.expect(Answered("call1", "+1"), slots[0], signed=False)
        awaited.expect(Answered("call2"), slots[1], signed=False)
        assert awaited.redeem("nonsense") is None
        assert awaited.redeem(token) == Answered("call1", "+1")
        assert awaited.redeem(token) is None
        assert awaited.admission("call1") is slots[0]
        assert awaited.admission("call1") is None
        # The webhook came again: the first slot is free.
        awaited.expect(Answered("call2"), slots[2], signed=False)
        assert cast(Any, slots[1]).released
        await asyncio.sleep(STREAM_WITHIN_S + 1)
        assert cast(Any, slots[2]).released
        assert awaited.admission("call2") is None
        assert not cast(Any, slots[0]).released

    virtual_time.run(main())


def test_a_transfer_that_nobody_asks_for_fails() -> None:
    async def main() -> None:
        transfers = Transfers()
        with pytest.raises(ToolError):
            await transfers.ask("call1", "+49")
        assert transfers.target("call1") is None
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(transfers.ask("call1", "+49"))
            await asyncio.sleep(1)
            assert transfers.target("call1") == "+49"
            await asking

    virtual_time.run(main())
