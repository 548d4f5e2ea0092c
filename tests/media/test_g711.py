"""G.711 against libavcodec's and against the recommendation's tables."""

from __future__ import annotations

import av
import numpy as np
import numpy.typing as npt
import pytest

from media.g711 import G711_RATE_HZ, Law, decoded, encoded

CODECS: dict[Law, str] = {"mu": "pcm_mulaw", "a": "pcm_alaw"}
CODES = bytes(range(256))
SAMPLES = np.arange(-32768, 32768).astype(np.int16)


def decoded_by_av(data: bytes, law: Law) -> npt.NDArray[np.int16]:
    codec = av.CodecContext.create(CODECS[law], "r")
    codec.sample_rate, codec.layout = G711_RATE_HZ, "mono"
    (frame,) = codec.decode(av.Packet(data))
    return frame.to_ndarray().reshape(-1)


def decision_values(law: Law) -> list[int]:
    """G.711's tables 1a and 2a: from which amplitude on each code is chosen, at 13 and 14 bits."""
    if law == "a":
        return [*range(0, 64, 2), *(2**n + 2 ** (n - 4) * step for n in range(6, 12) for step in range(16))]
    values, width = [0, 1], 2
    for segment in range(8):
        for _ in range(15 if segment == 0 else 16):
            values.append(values[-1] + width)
        width *= 2
    return values[:128]


@pytest.mark.parametrize("law", CODECS)
def test_every_code_is_decoded_as_by_libavcodec(law: Law) -> None:
    assert np.array_equal(decoded(CODES, law), decoded_by_av(CODES, law))


@pytest.mark.parametrize("law", CODECS)
def test_every_sample_is_encoded_by_the_decision_values(law: Law) -> None:
    bits_cut, flipped, negative = (3, 0xD5, 0x80) if law == "a" else (2, 0xFF, 0x80)
    amplitudes = np.where(SAMPLES < 0, ~SAMPLES.astype(np.int32), SAMPLES) >> bits_cut
    steps = np.searchsorted(decision_values(law), amplitudes, side="right") - 1
    codes = (steps ^ flipped ^ np.where(SAMPLES < 0, negative, 0)).astype(np.uint8)
    assert encoded(SAMPLES, law) == codes.tobytes()


@pytest.mark.parametrize("law", CODECS)
def test_what_was_decoded_is_encoded_as_it_was(law: Law) -> None:
    again = decoded(encoded(decoded(CODES, law), law), law)
    assert np.array_equal(again, decoded(CODES, law))


@pytest.mark.parametrize(
    ("law", "code", "sample"),
    [
        # G.711, tables 1a and 2a: decoder outputs, at 16 bits.
        ("mu", 0x80, 8031 * 4),
        ("mu", 0x8F, 4191 * 4),
        ("mu", 0x9F, 2079 * 4),
        ("mu", 0xEF, 33 * 4),
        ("mu", 0xFE, 2 * 4),
        ("mu", 0xFF, 0),
        ("mu", 0x00, -8031 * 4),
        ("a", 0xFF ^ 0x55, 4032 * 8),
        ("a", 0xF0 ^ 0x55, 2112 * 8),
        ("a", 0xA0 ^ 0x55, 66 * 8),
        ("a", 0x80 ^ 0x55, 1 * 8),
        ("a", 0x00 ^ 0x55, -1 * 8),
    ],
)
def test_the_tables_of_the_recommendation(law: Law, code: int, sample: int) -> None:
    assert decoded(bytes([code]), law)[0] == sample
    assert encoded(np.array([sample], np.int16), law)[0] == code
