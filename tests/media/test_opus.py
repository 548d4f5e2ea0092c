"""The codec: there and back at several rates, what is lost is recovered or concealed, and the fallback."""

from __future__ import annotations

import ctypes
import logging

import numpy as np
import pytest

from media import opus
from media.codecs import Samples16, VoiceDecoder, VoiceEncoder
from media.opus import (
    OpusError,
    OpusSettings,
    opus_decoder,
    opus_encoder,
    packet_samples,
    pause_packet,
)

RATE_HZ = 48_000
FRAME = RATE_HZ // 50


def voiced(duration_s: float, rate_hz: int = RATE_HZ) -> Samples16:
    """A buzz of 140 Hz that swells and fades four times a second: what a speech codec takes for a voice."""
    t = np.arange(round(duration_s * rate_hz)) / rate_hz
    buzz = sum(np.sin(2 * np.pi * 140 * harmonic * t) / harmonic for harmonic in range(1, 20))
    return np.asarray(6000 * buzz * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * t)), dtype=np.int16)


def packets(encoder: VoiceEncoder, samples: Samples16, frame: int = FRAME) -> list[bytes]:
    return [encoder.encode(samples[at : at + frame]) for at in range(0, len(samples) - frame + 1, frame)]


def similarity(left: Samples16, right: Samples16) -> float:
    """Of two spectra's magnitudes, band by band: 1 is equal."""
    spectra = [np.abs(np.fft.rfft(each.astype(np.float64) * np.hanning(len(each)))) for each in (left, right)]
    return float(np.dot(*spectra) / np.prod([np.linalg.norm(each) for each in spectra]))


@pytest.mark.parametrize("rate_hz", [48_000, 24_000, 16_000, 8_000])
def test_a_voice_comes_back_at_the_rate_that_is_wanted(rate_hz: int) -> None:
    decoder = opus_decoder(rate_hz)
    encoded = packets(opus_encoder(OpusSettings()), voiced(1.0))
    heard = np.concatenate([decoder.decode(packet) for packet in encoded])
    assert len(heard) == rate_hz
    assert heard.dtype == np.int16
    half = rate_hz // 2
    assert similarity(heard[half:], voiced(1.0, rate_hz)[half:]) > 0.95


def test_24_khz_is_taken_too_and_the_bitrate_is_followed() -> None:
    sizes = []
    for bitrate_bps in (12_000, 24_000, 48_000):
        encoder = opus_encoder(OpusSettings(opus_bitrate_bps=bitrate_bps), 24_000)
        sizes.append(sum(map(len, packets(encoder, voiced(2.0, 24_000), 480))))
        assert 8 * sizes[-1] / 2.0 < 1.3 * bitrate_bps
    assert sizes[0] * 1.3 < sizes[1] < sizes[2] / 1.3


def test_a_lost_packet_is_recovered_from_the_next_one() -> None:
    sent = voiced(1.0)
    encoded = packets(opus_encoder(OpusSettings()), sent)
    lost = 30
    whole, recovering, concealing = (opus_decoder(RATE_HZ) for _ in range(3))
    expected = [whole.decode(packet) for packet in encoded][lost]
    for packet in encoded[:lost]:
        recovering.decode(packet)
        concealing.decode(packet)
    recovered = recovering.recover(encoded[lost + 1], FRAME)
    concealed = concealing.conceal(FRAME)
    assert len(recovered) == len(concealed) == FRAME
    assert similarity(recovered, expected) > 0.9
    # Waveforms: what is made up looks like a voice, but is not what was said.
    errors = [np.linalg.norm(each.astype(float) - expected) for each in (recovered, concealed)]
    assert errors[0] < errors[1]


def test_without_an_expected_loss_there_is_no_copy_to_recover_from() -> None:
    with_copies, without = (
        packets(opus_encoder(OpusSettings(opus_expected_loss_percent=percent)), voiced(1.0))
        for percent in (10, 0)
    )
    assert _carries_a_copy(with_copies[30])
    assert not _carries_a_copy(without[30])


def test_concealment_fades() -> None:
    decoder = opus_decoder(16_000)
    for packet in packets(opus_encoder(OpusSettings()), voiced(0.5)):
        decoder.decode(packet)
    levels = [float(np.abs(decoder.conceal(320).astype(float)).mean()) for _ in range(30)]
    assert levels[0] > 500
    assert levels[-1] < levels[0] / 4


def test_a_decoder_that_is_reset_knows_nothing_of_before() -> None:
    encoded = packets(opus_encoder(OpusSettings()), voiced(0.5))
    used, fresh = opus_decoder(16_000), opus_decoder(16_000)
    for packet in encoded:
        used.decode(packet)
    used.reset()
    assert np.array_equal(used.decode(encoded[5]), fresh.decode(encoded[5]))


@pytest.mark.parametrize("payload", [b"", b"\xff" * 3, bytes([0x03])])
def test_what_is_no_packet_raises(payload: bytes) -> None:
    with pytest.raises(OpusError):
        opus_decoder(16_000).decode(payload or b"\x03")


@pytest.mark.parametrize(
    ("payload", "samples"),
    [
        (b"", 0),
        (bytes([0b01001_0_00]), 960),
        (bytes([0b01001_0_01]), 1920),
        (bytes([0b01001_0_11, 3]), 2880),
        (bytes([0b01001_0_11]), 0),
        (bytes([0b00011_0_00]), 2880),
        (bytes([0b01100_0_00]), 480),
        (bytes([0b11100_0_00]), 120),
    ],
)
def test_a_packet_tells_how_long_it_is(payload: bytes, samples: int) -> None:
    assert packet_samples(payload) == samples


def test_a_pause_packet_is_silent_and_as_long_as_those_before() -> None:
    encoder, decoder = opus_encoder(OpusSettings()), opus_decoder(RATE_HZ)
    for packet in packets(encoder, voiced(0.2)):
        decoder.decode(packet)
    for packet in packets(encoder, np.zeros(3 * FRAME, dtype=np.int16)):
        decoder.decode(packet)
    pause = pause_packet(packet)
    assert len(pause) == 1
    assert packet_samples(pause) == FRAME
    assert np.abs(decoder.decode(pause)).max() < 100


@pytest.fixture
def _no_libopus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opus, "_library_names", lambda: ["libopus-that-is-not-there.so"])
    opus._libopus.cache_clear()
    monkeypatch.setattr(opus, "_libopus", opus._libopus.__wrapped__)


@pytest.mark.usefixtures("_no_libopus")
def test_without_libopus_pyavs_codec_serves(caplog: pytest.LogCaptureFixture) -> None:
    decoder: VoiceDecoder = opus_decoder(16_000)
    with caplog.at_level(logging.WARNING):
        encoder = opus_encoder(OpusSettings())
    assert "no libopus is found" in caplog.text
    encoded = packets(encoder, voiced(1.0))
    heard = np.concatenate([decoder.decode(packet) for packet in encoded])
    assert len(heard) == pytest.approx(16_000, abs=320)
    assert similarity(heard[-8000:], voiced(1.0, 16_000)[-8000:]) > 0.9
    assert not decoder.conceal(320).any()
    assert len(decoder.recover(encoded[3], 320)) == 320
    with pytest.raises(OpusError):
        decoder.decode(b"\xff" * 3)
    decoder.reset()
    assert len(decoder.decode(encoded[5])) > 0


def _carries_a_copy(packet: bytes) -> bool:
    library = opus._libopus()
    assert library is not None
    library.opus_packet_has_lbrr.argtypes = (ctypes.c_char_p, ctypes.c_int32)
    return bool(library.opus_packet_has_lbrr(packet, len(packet)))
