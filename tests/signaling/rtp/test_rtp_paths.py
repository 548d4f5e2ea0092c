"""One end against packets by hand: losses, jitter, doubles, new sources, strangers, and what it sends."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from media.audio import Audio
from media.errors import ServerFull, ToolError
from media.g711 import decoded, encoded
from media.resampler import resample
from signaling.rtp.comfort_noise import HANGOVER_FRAMES, PAYLOAD
from signaling.rtp.media import RtpMedia
from signaling.rtp.settings import RtpSettings
from signaling.rtp.socket import RtpPorts
from tests.free_ports import free_ports
from tests.signaling.rtp.rtp_pair import (
    RATE_HZ,
    End,
    RawPhone,
    buzz,
    calling,
    port_of,
    raw_phone,
    run,
    snr_db,
)

FRAME = 160
VOICE = resample(buzz(4.0), 8_000).as_int16()
PACKETS = [encoded(VOICE[at : at + FRAME], "mu") for at in range(0, len(VOICE), FRAME)]
SAID = resample(Audio(decoded(b"".join(PACKETS), "mu"), 8_000), RATE_HZ).as_int16()


@asynccontextmanager
async def phoned(
    *types: int, lines: tuple[str, ...] = (), **wishes: Any
) -> AsyncIterator[tuple[RawPhone, End, int]]:
    """A phone whose call was answered, the end that answered it, and that one's port."""
    async with (
        raw_phone() as phone,
        RtpMedia(RtpSettings(**wishes), RtpPorts(free_ports(10)), "127.0.0.1") as media,
    ):
        answer = media.answer(phone.offer(*(types or (0, 101)), lines=lines))
        yield phone, End(media), port_of(answer)


Arrival = tuple[float, int]
"""When a packet comes, and which."""


async def arrive(phone: RawPhone, port: int, arrivals: list[Arrival], **numbers: Any) -> None:
    began_s = asyncio.get_running_loop().time()
    for at_s, index in sorted(arrivals):
        await asyncio.sleep(max(0.0, began_s + at_s - asyncio.get_running_loop().time()))
        phone.send(port, 65_500 + index, 2**32 - 3200 + FRAME * index, PACKETS[index], **numbers)


def on_time(*indices: int) -> list[Arrival]:
    return [(0.02 * index, index) for index in indices]


def heard_of(arrivals: list[Arrival]) -> End:
    """What is heard of a stream that comes so."""

    async def call() -> End:
        async with phoned() as (phone, end, port):
            async with calling(end):
                await arrive(phone, port, arrivals)
                await asyncio.sleep(0.2)
            return end

    return run(call())


def test_what_comes_in_order_is_heard_as_it_was_said() -> None:
    end = heard_of(on_time(*range(200)))
    assert snr_db(SAID, end.ear.audio.as_int16(), 100) > 30
    assert abs(end.ear.audio.duration_s - 4.0) < 0.01


def test_jitter_and_overtaking_change_nothing_of_what_is_heard() -> None:
    rng = random.Random(5)
    arrivals = [
        (0.02 * index + rng.uniform(0, 0.019) + 0.03 * (index % 7 == 3), index) for index in range(200)
    ]
    # Each twentieth comes twice.
    arrivals += [(at_s + 0.01, index) for at_s, index in arrivals if index % 20 == 0]
    # What is waited for longer than 20 ms is learned with the first.
    end = heard_of(arrivals)
    assert end.media.quality.lost <= 2
    assert end.media.quality.duplicate == 10
    assert abs(end.ear.audio.duration_s - 4.0) < 0.01
    late = len(SAID) // 4
    assert snr_db(SAID[late:], end.ear.audio.as_int16()[late:], 100) > 25


def test_what_is_lost_is_made_up_and_the_time_is_kept() -> None:
    rng = random.Random(3)
    kept = [index for index in range(200) if index < 5 or rng.random() > 0.1]
    end = heard_of(on_time(*kept))
    heard = end.ear.audio
    assert end.media.quality.lost == end.media.figures.lost_packets == 200 - len(kept)
    assert abs(heard.duration_s - 4.0) < 0.05
    # Silence in the place of a tenth of it would leave 10 dB.
    assert snr_db(SAID, heard.as_int16(), 100) > 14


def test_another_source_of_the_same_phone_goes_on_at_once() -> None:
    async def call() -> End:
        async with phoned() as (phone, end, port):
            async with calling(end):
                await arrive(phone, port, on_time(*range(50)))
                await arrive(phone, port, on_time(*range(50)), ssrc=78)
                await asyncio.sleep(0.1)
            return end

    end = run(call())
    assert abs(end.ear.audio.duration_s - 2.0) < 0.02
    assert end.media.quality.lost == 0


def test_what_is_agreed_on_may_change_from_packet_to_packet() -> None:
    """An answer with two codecs allows both."""

    async def call() -> End:
        async with (
            raw_phone() as phone,
            RtpMedia(RtpSettings(), RtpPorts(free_ports(10)), "127.0.0.1") as media,
        ):
            port = port_of(media.offer())
            media.accept(phone.offer(0, 8, 101))
            end = End(media)
            async with calling(end):
                for index in range(100):
                    samples = VOICE[FRAME * index : FRAME * (index + 1)]
                    law, payload_type = ("mu", 0) if index < 50 else ("a", 8)
                    phone.send(port, index, FRAME * index, encoded(samples, law), payload_type=payload_type)
                    await asyncio.sleep(0.02)
            return end

    end = run(call())
    assert snr_db(SAID[:RATE_HZ], end.ear.audio.as_int16()[:RATE_HZ], 100) > 30
    assert abs(end.ear.audio.duration_s - 2.0) < 0.02


def test_strangers_are_neither_heard_nor_sent_to() -> None:
    async def call() -> None:
        async with phoned() as (phone, end, port), raw_phone() as attacker:
            end.say(buzz(3.0))
            async with calling(end):
                await arrive(phone, port, on_time(*range(5)))
                for index in range(5, 55):
                    phone.send(port, 65_500 + index, 2**32 - 3200 + FRAME * index, PACKETS[index])
                    # With the right numbers, as somebody who listens in could have them.
                    attacker.send(port, 65_501 + index, 2**32 - 3200 + FRAME * (index + 1), b"\x80" * FRAME)
                    attacker.send(port, index, 0, b"\x05\x0a\x00\xa0", payload_type=101)
                    await asyncio.sleep(0.02)
            assert not attacker.received
            assert len(phone.received) > 50
            assert snr_db(SAID[:RATE_HZ], end.ear.audio.as_int16()[:RATE_HZ], 100) > 30
            assert not end.ear.digits
            assert end.media.quality.foreign == 100

    run(call())


@pytest.mark.parametrize(("latching", "reached"), [("never", False), ("private", True), ("always", True)])
def test_a_phone_behind_a_nat_is_sent_to_where_it_sends_from(latching: str, reached: bool) -> None:
    async def call() -> None:
        async with raw_phone() as nat, phoned(latching=latching) as (phone, end, port):
            end.say(buzz(3.0))
            async with calling(end):
                await arrive(nat, port, on_time(*range(50)))
                await asyncio.sleep(0.1)
            # It is heard either way, but for what it took to believe in it.
            assert abs(end.ear.audio.duration_s - 0.94) < 0.02
            assert (len(nat.received) > 40) is reached
            assert (len(phone.received) > 40) is not reached

    run(call())


def sent_by(
    say: Callable[[RawPhone, End], Coroutine[Any, Any, None]], *types: int, **wishes: Any
) -> RawPhone:
    """What a phone receives."""

    async def call() -> RawPhone:
        async with phoned(*types, **wishes) as (phone, end, _):
            async with calling(end):
                await say(phone, end)
            return phone

    return run(call())


def test_packets_leave_every_20_ms_in_silence_too_and_the_marker_is_on_the_first() -> None:
    async def say(phone: RawPhone, end: End) -> None:
        await asyncio.sleep(1.0)
        end.say(buzz(1.0))
        await asyncio.sleep(2.0)

    received = sent_by(say).received
    assert len(received) == pytest.approx(150, abs=2)
    first = received[0]
    for index, one in enumerate(received):
        assert one.payload_type == 0
        assert len(one.payload) == FRAME
        assert (one.sequence_number - first.sequence_number) & 0xFFFF == index
        assert (one.timestamp - first.timestamp) & 0xFFFFFFFF == FRAME * index
        assert one.ssrc == first.ssrc
        assert one.marker is (index == 0)
    assert [one.at_s - received[0].at_s for one in received[2:]] == pytest.approx(
        [0.02 * index for index in range(2, len(received))], abs=0.021
    )
    loud = [bool(np.abs(decoded(one.payload, "mu")).max() > 500) for one in received]
    assert sum(loud) == pytest.approx(50, abs=2)


@pytest.mark.parametrize(("types", "size"), [((0, 101), 80), ((9, 101), 80)])
def test_whoever_takes_10_ms_at_most_gets_twice_as_many_packets(types: tuple[int, ...], size: int) -> None:
    async def say(phone: RawPhone, end: End) -> None:
        end.say(buzz(1.0))
        await asyncio.sleep(1.0)

    received = sent_by(say, *types, lines=("a=maxptime:10",)).received
    assert len(received) == pytest.approx(100, abs=4)
    assert {len(one.payload) for one in received} == {size}
    steps = {(b.timestamp - a.timestamp) & 0xFFFFFFFF for a, b in pairwise(received)}
    assert steps == {80}


def test_comfort_noise_stands_for_silence_where_it_was_agreed_on() -> None:
    async def say(phone: RawPhone, end: End) -> None:
        end.say(buzz(0.5))
        await asyncio.sleep(4.0)
        end.say(buzz(0.5))
        await asyncio.sleep(0.5)

    received = sent_by(say, 0, 13, 101).received
    noise = [one for one in received if one.payload_type == 13]
    assert [one.payload for one in noise] == [PAYLOAD] * len(noise)
    # Once a second from 0.2 s after the voice on.
    assert len(noise) == 4
    assert len(received) < 25 + HANGOVER_FRAMES + 4 + 25 + 6
    # The marker is where sound begins after a pause in which none was sent.
    marked = [one for one in received if one.marker]
    assert len(marked) == 2
    assert marked[1].payload_type == 0
    # Time went on meanwhile.
    assert (marked[1].timestamp - received[0].timestamp) & 0xFFFFFFFF == pytest.approx(4.0 * 8000, abs=400)


def test_keys_are_sent_in_place_of_the_voice() -> None:
    async def say(phone: RawPhone, end: End) -> None:
        end.say(buzz(3.0))
        await asyncio.sleep(0.5)
        await end.media.send_digits("19")
        await asyncio.sleep(0.2)

    received = sent_by(say).received
    keys = [one for one in received if one.payload_type == 101]
    assert [one.payload[0] for one in keys] == [1] * 8 + [9] * 8
    assert [one.marker for one in keys] == [True, *[False] * 7] * 2
    assert len({one.timestamp for one in keys[:8]}) == 1
    for earlier, later in pairwise(received):
        assert (later.sequence_number - earlier.sequence_number) & 0xFFFF == 1
    # No voice between the first key and the last, and the voice goes on in its own time.
    at = [index for index, one in enumerate(received) if one.payload_type == 101]
    assert at == [*range(at[0], at[-1] + 1)]
    after, before = received[at[-1] + 1], received[at[0] - 1]
    assert after.marker
    assert after.at_s - before.at_s == pytest.approx((after.timestamp - before.timestamp) / 8000, abs=0.03)


def test_keys_that_are_begun_under_another_agreement_are_counted_in_its_clock() -> None:
    async def call() -> None:
        async with phoned() as (phone, end, _):
            async with calling(end), asyncio.TaskGroup() as group:
                group.create_task(end.media.send_digits("123"))
                await asyncio.sleep(0.1)
                opus = ("a=rtpmap:96 opus/48000/2", "a=rtpmap:100 telephone-event/48000")
                end.media.answer(phone.offer(96, 100, lines=opus))
            ends = [
                (one.payload_type, one.payload[0], int.from_bytes(one.payload[2:4]))
                for one in phone.received
                if one.payload_type in (100, 101) and one.payload[1] & 0x80
            ]
            # 120 ms each.
            assert ends[-6:] == [(100, 2, 5760)] * 3 + [(100, 3, 5760)] * 3
            assert {code for _, code, _ in ends} == {1, 2, 3}

    run(call())


def test_keys_are_refused_where_they_cannot_be_pressed() -> None:
    async def call() -> None:
        async with phoned(0) as (_, end, _):
            assert not end.media.sends_digits
            with pytest.raises(ToolError):
                await end.media.send_digits("1")
            async with calling(end):
                with pytest.raises(ToolError, match="does not take keys"):
                    await end.media.send_digits("1")
                for wrong in ("", "x", "1" * 65, "①"):
                    with pytest.raises(ToolError, match="Keys are"):
                        await end.media.send_digits(wrong)

    run(call())


def test_on_hold_nothing_is_sent_and_keys_that_wait_are_given_up() -> None:
    async def call() -> None:
        async with phoned() as (phone, end, _):
            end.say(buzz(5.0))
            async with calling(end):
                await asyncio.sleep(0.5)
                async with asyncio.TaskGroup() as group:
                    keys = group.create_task(pressed(end))
                    await asyncio.sleep(0.1)
                    end.media.answer(phone.offer(0, 101, lines=("a=sendonly",)))
                    assert "does not take keys now" in await keys
                assert end.media.remote_holds
                count = len(phone.received)
                await asyncio.sleep(1.0)
                assert len(phone.received) == count
                end.media.answer(phone.offer(0, 101))
                await asyncio.sleep(0.5)
                assert len(phone.received) == pytest.approx(count + 25, abs=2)
                assert phone.received[count].marker

    async def pressed(end: End) -> str:
        try:
            await end.media.send_digits("0123456789")
        except ToolError as error:
            return str(error)
        return "all were sent"

    run(call())


def test_music_on_hold_is_not_heard_as_if_somebody_said_it() -> None:
    async def call() -> None:
        async with phoned() as (phone, end, port):
            async with calling(end):
                await arrive(phone, port, on_time(*range(50)))
                end.media.answer(phone.offer(0, 101, lines=("a=sendonly",)))
                await arrive(phone, port, on_time(*range(50, 100)))
                assert end.ear.audio.duration_s == pytest.approx(1.0, abs=0.03)
                end.media.answer(phone.offer(0, 101))
                await arrive(phone, port, on_time(*range(100, 150)))
                # What was not heard is no loss: it is a pause.
                assert end.media.figures.lost_packets == 0
                assert end.ear.audio.duration_s == pytest.approx(3.0, abs=0.05)

    run(call())


def test_a_codec_of_another_clock_is_another_source() -> None:
    async def call() -> None:
        async with phoned(0, 101) as (phone, end, _):
            end.say(buzz(3.0))
            async with calling(end):
                await asyncio.sleep(0.5)
                end.media.answer(phone.offer(96, lines=("a=rtpmap:96 opus/48000/2",)))
                await asyncio.sleep(0.5)
            kinds = [(one.payload_type, one.ssrc) for one in phone.received]
            assert len(set(kinds)) == 2
            assert len({ssrc for _, ssrc in kinds}) == 2
            assert end.media.quality.codec == "opus"

    run(call())


def test_ports_are_freed_whatever_happens_and_are_told_when_used_up() -> None:
    async def call() -> None:
        first = free_ports(4)[0]
        ports = RtpPorts(range(first + first % 2, first + first % 2 + 2))
        for _ in range(3):
            async with RtpMedia(RtpSettings(), ports, "127.0.0.1"):
                with pytest.raises(ServerFull) as full:
                    async with RtpMedia(RtpSettings(), ports, "127.0.0.1"):
                        pass
                assert full.value.code == "rtp_ports_used_up"
        with pytest.raises(ZeroDivisionError):
            async with RtpMedia(RtpSettings(), ports, "127.0.0.1"):
                raise ZeroDivisionError
        # Another program has RTCP's port: the pair is of no use, and its other port is given back.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", first + first % 2 + 1))
            with pytest.raises(ServerFull):
                async with RtpMedia(RtpSettings(), ports, "127.0.0.1"):
                    pass
        async with RtpMedia(RtpSettings(), ports, "127.0.0.1"):
            pass

    run(call())


@pytest.mark.parametrize("uvloop_runs", [False, True])
def test_an_opening_that_is_cancelled_leaves_no_port_taken(uvloop_runs: bool) -> None:
    """On uvloop, too, which leaves the transport open."""

    async def call() -> None:
        first = free_ports(4)[0]
        ports = RtpPorts(range(first + first % 2, first + first % 2 + 2))

        async def opened() -> None:
            async with RtpMedia(RtpSettings(), ports, "127.0.0.1"):
                await asyncio.Event().wait()

        for turns in range(6):
            async with asyncio.TaskGroup() as group:
                task = group.create_task(opened())
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
            async with RtpMedia(RtpSettings(), ports, "127.0.0.1"):
                pass

    factory = pytest.importorskip("uvloop").new_event_loop if uvloop_runs else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(call())


@pytest.mark.parametrize("payload_type", [13, 126])
def test_what_nobody_agreed_on_keeps_the_call_alive_and_disturbs_nothing(payload_type: int) -> None:
    """Comfort noise as many send it unasked, and packets that keep a NAT's way open."""

    async def call() -> None:
        async with phoned(0, 101, timeout_s=5.0) as (phone, end, port), raw_phone() as stranger:
            async with calling(end):
                await arrive(phone, port, on_time(*range(25)))
                for number in range(10):
                    at = 65_525 + number if payload_type == 13 else 20_000 * number
                    phone.send(port, at, FRAME * number, b"\x40", payload_type=payload_type)
                    await asyncio.sleep(1.0)
                assert end.ended is None
                next_number = 35 if payload_type == 13 else 25
                for index in range(50):
                    phone.send(
                        port,
                        65_500 + next_number + index,
                        2**32 - 3200 + FRAME * (525 + index),
                        PACKETS[index],
                    )
                    await asyncio.sleep(0.02)
                assert end.media.figures.lost_packets == 0
                assert end.ear.audio.duration_s == pytest.approx(0.5 + 1.0 + 1.0, abs=0.05)
                stranger.send(port, 1, 1, b"\x40", payload_type=payload_type)
                await asyncio.sleep(0.1)
                assert end.media.quality.foreign == 1

    run(call())


def test_keys_of_another_source_than_the_voice_do_not_disturb_it() -> None:
    """Some gateways number them by themselves."""

    async def call() -> None:
        async with phoned(9, 101) as (phone, end, port):
            async with calling(end):
                for index in range(50):
                    phone.send(port, index, FRAME * index, b"\x55" * FRAME, payload_type=9)
                    if 20 <= index < 25:
                        event = bytes([5, 10, 0, 160])
                        phone.send(port, 7_000 + index, 3_200, event, payload_type=101, ssrc=78)
                    await asyncio.sleep(0.02)
                await asyncio.sleep(0.1)
            assert end.ear.digits == ["5"]
            assert end.media.figures.lost_packets == 0
            assert end.media._receiver is not None
            assert end.media._receiver.counts.restarts == 0

    run(call())


def test_a_far_side_that_only_listens_need_not_speak() -> None:
    """It answered `recvonly`: a loudspeaker."""

    async def call() -> None:
        async with (
            raw_phone() as phone,
            RtpMedia(RtpSettings(timeout_s=5.0), RtpPorts(free_ports(10)), "127.0.0.1") as media,
        ):
            media.offer()
            media.accept(phone.offer(0, 101, lines=("a=recvonly",)))
            end = End(media)
            async with calling(end):
                await asyncio.sleep(20.0)
                assert end.ended is None
                assert len(phone.received) > 900

    run(call())


def test_a_nat_is_followed_as_before_after_a_hold_that_named_no_address() -> None:
    """RFC 2543's: `c=IN IP4 0.0.0.0`. Nobody else gets a chance to be believed in then."""

    async def call() -> None:
        async with raw_phone() as nat, raw_phone() as attacker, phoned() as (phone, end, port):
            async with calling(end):
                await arrive(nat, port, on_time(*range(10)))
                offer = phone.offer(0, 101)
                end.media.answer(offer.replace("c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0"))
                assert end.media.remote_holds
                end.media.answer(offer)
                for number in range(10):
                    attacker.send(port, number, 0, PACKETS[0], ssrc=66)
                    await asyncio.sleep(0.02)
                await arrive(nat, port, on_time(*range(10, 12)))
            assert not attacker.received
            assert len(nat.received) > 10

    run(call())


def test_any_bytes_on_either_port_do_no_harm() -> None:
    rng = random.Random(11)

    async def call() -> None:
        async with phoned(0, 13, 101, lines=("a=rtcp-mux",)) as (phone, end, port):
            async with calling(end):
                for _ in range(2000):
                    datagram = bytearray(rng.randbytes(rng.choice((0, 1, 2, 11, 12, 13, 16, 40, 172, 1400))))
                    if datagram and rng.random() < 0.8:
                        datagram[0] = rng.choice((0x80, 0x90, 0xA0, 0x8F, 0xBF))
                    if len(datagram) > 1 and rng.random() < 0.8:
                        datagram[1] = rng.choice((0, 8, 9, 13, 96, 101, 200, 201, 202, 203, 205, 206))
                    if len(datagram) > 11 and rng.random() < 0.8:
                        datagram[8:12] = b"\0\0\0\7"
                    phone.send_raw(port + (rng.random() < 0.2), bytes(datagram))
                    await asyncio.sleep(0.001)
                end.ear.heard.clear()
                await arrive(phone, port, on_time(*range(50)))
                assert end.ear.audio.duration_s > 0.9

    run(call())


def test_their_comfort_noise_is_a_pause_and_no_loss() -> None:
    async def call() -> None:
        async with phoned(0, 13, 101) as (phone, end, port):
            async with calling(end):
                await arrive(phone, port, on_time(*range(25)))
                for number in (25, 26):
                    phone.send(port, 65_500 + number, FRAME * number, b"\x40", payload_type=13)
                    await asyncio.sleep(0.3)
                for index in range(50):
                    phone.send(port, 65_527 + index, 2**32 - 3200 + FRAME * (55 + index), PACKETS[index])
                    await asyncio.sleep(0.02)
                await asyncio.sleep(0.1)
            assert end.media.figures.lost_packets == 0
            # Half a second of sound, 0.6 s of pause, a second of sound.
            assert end.ear.audio.duration_s == pytest.approx(2.1, abs=0.03)

    run(call())


@pytest.mark.parametrize("mux", [True, False])
def test_reports_go_where_they_are_wanted_and_end_with_a_farewell(mux: bool) -> None:
    async def call() -> None:
        async with (
            raw_phone() as phone,
            raw_phone() as reports,
            RtpMedia(RtpSettings(), RtpPorts(free_ports(10)), "127.0.0.1") as media,
        ):
            line = "a=rtcp-mux" if mux else f"a=rtcp:{reports.port}"
            answer = media.answer(phone.offer(0, lines=(line,)))
            assert ("a=rtcp-mux" in answer) is mux
            async with calling(End(media)):
                await asyncio.sleep(20.0)
            await asyncio.sleep(0.1)
            there, elsewhere = (phone, reports) if mux else (reports, phone)
            kinds = [
                [one[1] for one in end.datagrams if one[1] in range(192, 224)] for end in (there, elsewhere)
            ]
            assert len(kinds[0]) >= 4
            assert set(kinds[0]) == {200}
            assert kinds[1] == []
            assert there.datagrams[-1][-8:-4] == bytes([0x81, 203, 0, 1]), "BYE"

    run(call())
