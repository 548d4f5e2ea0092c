"""What a stranger may send to a telephone call's media: descriptions, and datagrams at both of its ports.

The call goes on: what its own telephone says is heard as before, and its ports are free when it ends.
"""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress
from typing import Any

import psutil
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from media.g711 import encoded
from media.resampler import resample
from signaling.rtp.media import RtpMedia
from signaling.rtp.rtcp import Arrivals, Reports, Sent
from signaling.rtp.sdp import NotAcceptable
from signaling.rtp.settings import RtpSettings
from signaling.rtp.socket import RtpPorts
from tests.free_ports import free_ports
from tests.signaling.rtp.rtp_pair import End, RawPhone, buzz, calling, port_of, raw_phone, run

BATCH = 40
"""Datagrams or descriptions in one example."""

_FRAME = 160
_SAID_PACKETS = 10
_SAID = encoded(resample(buzz(_SAID_PACKETS * 0.02), 8_000).as_int16(), "mu")
_SSRC = 77

_REPORT = Reports("x").farewell(Sent(_SSRC, 8_000, packets=9, octets=9), Arrivals(_SSRC, 8_000), 0.0, 1e9)


def _header(flags: int, kind: int, number: int, timestamp: int, ssrc: int) -> bytes:
    return struct.pack("!BBHLL", flags, kind, number, timestamp, ssrc)


def _event(code: int, flags: int, duration: int) -> bytes:
    return struct.pack("!BBH", code, flags, duration)


_NUMBERS = st.one_of(st.integers(0, 300), st.integers(0, 2**16 - 1))
_TIMES = st.one_of(st.integers(0, 50_000), st.integers(0, 2**32 - 1))
_HEADERS = st.builds(
    _header,
    st.sampled_from([0x80, 0x80, 0x80, 0x90, 0xA0, 0x8F, 0xBF, 0x00, 0xC0]),
    st.sampled_from([0, 0, 8, 9, 13, 96, 101, 101, 0x80, 0xE5, 72, 200, 201, 202, 203, 205, 206]),
    _NUMBERS,
    _TIMES,
    st.one_of(st.just(_SSRC), st.integers(0, 2**32 - 1)),
)
_PAYLOADS = st.one_of(
    st.binary(max_size=40),
    st.builds(
        struct.pack, st.just("!BBH"), st.integers(0, 20), st.sampled_from([10, 0x8A]), st.integers(0, 999)
    ),
    st.just(b"\xff" * _FRAME),
    st.just(b"\x55" * 1460),
)
_DATAGRAMS = st.one_of(
    st.builds(lambda header, payload: header + payload, _HEADERS, _PAYLOADS),
    st.binary(max_size=80),
    st.builds(
        lambda at, change: _REPORT[:at] + change + _REPORT[at + len(change) :],
        st.integers(0, len(_REPORT)),
        st.binary(max_size=12),
    ),
)
_SENDINGS = st.tuples(_DATAGRAMS, st.sampled_from(["phone", "phone", "stranger"]), st.booleans())
"""What, from where, and whether to RTCP's port."""

_DESCRIPTION_LINES = st.one_of(
    st.sampled_from(
        [
            "m=audio 4000 RTP/AVP 0 8 9 13 96 101",
            "m=audio 4000 RTP/SAVP 0 101",
            "m=audio 0 RTP/AVP 0",
            "m=video 4002 RTP/AVP 97",
            "c=IN IP4 127.0.0.1",
            "c=IN IP4 0.0.0.0",
            "c=IN IP4 224.0.0.1",
            "c=IN IP6 ::1",
            "a=rtpmap:96 opus/48000/2",
            "a=rtpmap:101 telephone-event/8000",
            "a=rtcp-mux",
            "a=rtcp:9",
            "a=maxptime:10",
            "a=sendonly",
            "a=inactive",
            "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd",
        ]
    ),
    st.from_regex(r"\A[acm]=[ -~]{0,50}\Z"),
    st.from_regex(r"\Am=audio [0-9]{1,6} RTP/S?AVPF?( [0-9]{1,4}){1,5}\Z"),
    st.text(max_size=30),
)
_DESCRIPTIONS = st.lists(_DESCRIPTION_LINES, max_size=12).map(lambda lines: "\r\n".join(["v=0", *lines]))


def check(examples: int) -> None:
    """Tries so many examples."""
    phases = (Phase.explicit, Phase.generate, Phase.shrink)

    @settings(max_examples=examples, deadline=None, phases=phases, suppress_health_check=list(HealthCheck))
    @given(
        st.lists(_SENDINGS, min_size=BATCH // 2, max_size=BATCH // 2),
        st.lists(_DESCRIPTIONS, min_size=BATCH // 2, max_size=BATCH // 2),
    )
    def the_call_goes_on(sendings: list[tuple[bytes, str, bool]], descriptions: list[str]) -> None:
        run(_call(free_ports(6), sendings, descriptions))

    before = len(psutil.Process().net_connections("inet"))
    the_call_goes_on()
    assert len(psutil.Process().net_connections("inet")) <= before, "a port was left open"


async def _call(ports: range, sendings: list[tuple[bytes, str, bool]], descriptions: list[str]) -> None:
    async with (
        raw_phone() as phone,
        raw_phone() as stranger,
        RtpMedia(RtpSettings(codecs=("pcmu", "opus")), RtpPorts(ports), "127.0.0.1") as media,
    ):
        offer = phone.offer(0, 13, 101, lines=("a=rtcp-mux",))
        port = port_of(media.answer(offer))
        end = End(media)
        async with calling(end):
            for datagram, source, to_rtcp in sendings:
                (phone if source == "phone" else stranger).send_raw(port + to_rtcp, datagram)
            await asyncio.sleep(0.1)
            for text in descriptions:
                _try(media, text)
            media.answer(offer)
            await _require_heard(phone, end, port)


def _try(media: RtpMedia, text: str) -> None:
    for taken in (media.answer, media.accept):
        with suppress(NotAcceptable):
            taken(text)


async def _require_heard(phone: RawPhone, end: End, port: int) -> None:
    """The phone begins anew, as one that was restarted; it is heard, whatever came in its name before."""
    before = len(end.ear.heard)
    for index in range(_SAID_PACKETS):
        payload = _SAID[index * _FRAME : (index + 1) * _FRAME]
        phone.send(port, 40_000 + index, index * _FRAME, payload, ssrc=_SSRC + 1)
        await asyncio.sleep(0.02)
    heard: list[Any] = end.ear.heard[before:]
    assert sum(audio.duration_s for audio in heard) > 0.15, "the call's own telephone is not heard any more"
