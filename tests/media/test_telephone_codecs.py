"""The codecs of telephones: there and back, against FFmpeg's filters, with losses, at both rates."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.codecs import CodecName, VoiceDecoder
from media.opus import OpusSettings
from media.telephone_codecs import TELEPHONE_CODECS, TelephoneCodec

Samples = npt.NDArray[np.int16]
OWN: tuple[CodecName, ...] = ("pcmu", "pcma", "g722")


def chord(rate_hz: int, duration_s: float = 1.0, *tones_hz: float) -> Samples:
    t = np.arange(round(duration_s * rate_hz)) / rate_hz
    return np.asarray(sum(5000 * np.sin(2 * np.pi * tone * t) for tone in tones_hz), dtype=np.int16)


def packets(codec: TelephoneCodec, samples: Samples) -> list[bytes]:
    encoder = codec.encoder(OpusSettings())
    size = codec.rate_hz // 50
    return [encoder.encode(samples[at : at + size]) for at in range(0, len(samples) - size + 1, size)]


def decoded(decoder: VoiceDecoder, payloads: list[bytes]) -> Samples:
    return np.concatenate([decoder.decode(payload) for payload in payloads])


def snr_db(sent: Samples, heard: Samples, most_delay: int = 120) -> float:
    signal = sent[:-most_delay].astype(np.float64)
    return max(
        10 * float(np.log10(np.sum(signal**2) / np.sum((signal - heard[at : at + len(signal)]) ** 2)))
        for at in range(most_delay)
        if len(heard) >= at + len(signal)
    )


@pytest.mark.parametrize(
    ("name", "tones_hz", "fewest_db"),
    # Measured: 36.7, 37.4, 32.4 and, where the upper band's 2 bits carry a third of it, 27.5 dB.
    [
        ("pcmu", (300, 1000, 2700), 35),
        ("pcma", (300, 1000, 2700), 35),
        ("g722", (300, 1000, 2700), 31),
        ("g722", (300, 1000, 5800), 26),
    ],
)
def test_what_comes_back_is_what_was_said(
    name: CodecName, tones_hz: tuple[int, ...], fewest_db: float
) -> None:
    codec = TELEPHONE_CODECS[name]
    said = chord(codec.rate_hz, 1.0, *tones_hz)
    decoder = codec.packets.decoder(codec.rate_hz)
    heard = decoded(decoder, packets(codec, said))
    assert len(heard) == len(said)
    assert snr_db(said, heard) > fewest_db


@pytest.mark.parametrize("name", OWN)
def test_it_is_heard_at_16_khz_with_every_packet_at_once(name: CodecName) -> None:
    codec = TELEPHONE_CODECS[name]
    decoder = codec.packets.decoder(16_000)
    sizes = [len(decoder.decode(payload)) for payload in packets(codec, chord(codec.rate_hz, 1.0, 440))]
    assert sizes == [320] * 50


@pytest.mark.parametrize("name", OWN)
def test_packets_count_in_the_clock_of_rtp(name: CodecName) -> None:
    """G.722's 20 ms are 160 ticks, though it samples 320 times (RFC 3551, section 4.5.2)."""
    codec = TELEPHONE_CODECS[name]
    assert codec.packets.clock_rate_hz == 8_000
    (payload, *_) = packets(codec, chord(codec.rate_hz, 0.1, 440))
    assert codec.packets.packet_samples(payload) == len(payload) == 160
    assert codec.packets.packet_samples(b"") == 0


@pytest.mark.parametrize("name", OWN)
def test_a_pause_and_a_loss_keep_the_time(name: CodecName) -> None:
    codec = TELEPHONE_CODECS[name]
    decoder = codec.packets.decoder(16_000)
    first, second, third, *_ = packets(codec, chord(codec.rate_hz, 0.2, 440))
    pieces = [
        decoder.decode(first),
        decoder.silence(1600),
        decoder.decode(second),
        decoder.conceal(320),
        decoder.recover(third, 320),
        decoder.decode(third),
    ]
    assert [len(piece) for piece in pieces] == [320, 1600, 320, 320, 320, 320]
    decoder.reset()
    assert len(decoder.decode(first)) == 320


def test_g722_goes_on_within_a_few_packets_after_a_loss() -> None:
    """Its predictor lost its way, and finds it again: what was adapted to what is forgotten."""
    codec = TELEPHONE_CODECS["g722"]
    payloads = packets(codec, chord(16_000, 1.0, 300, 1000))
    decoder, whole = codec.packets.decoder(16_000), codec.packets.decoder(16_000)
    reference = decoded(whole, payloads)
    heard = np.concatenate(
        [decoder.conceal(320) if at in (20, 21) else decoder.decode(one) for at, one in enumerate(payloads)]
    )
    settled = slice(32 * 320, 50 * 320)
    assert snr_db(reference[settled], heard[settled], 1) > 20


@given(st.binary(max_size=1500), st.sampled_from(OWN), st.sampled_from((8_000, 16_000)))
def test_any_bytes_are_a_packet(payload: bytes, name: CodecName, rate_hz: int) -> None:
    codec = TELEPHONE_CODECS[name]
    samples = codec.packets.packet_samples(payload)
    if not samples:
        return
    sound: npt.NDArray[Any] = codec.packets.decoder(rate_hz).decode(payload)
    assert sound.dtype == np.int16
    assert len(sound) <= samples * rate_hz // 8_000
