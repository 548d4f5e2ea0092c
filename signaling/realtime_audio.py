"""Audio as Realtime events carry it: base64 of PCM or of G.711."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Iterator
from typing import Final, assert_never

import numpy as np

from media.audio import Audio, concatenate
from media.errors import CallerError
from media.g711 import G711_RATE_HZ, decoded, encoded
from media.resampler import StreamResampler
from signaling.realtime_base import AudioFormat

MAX_AUDIO_CHARS: Final = 15 * 1024 * 1024
"""Of base64, in one event. The Realtime API's own limit."""
_PIECE_CHARS: Final = 256 * 1024
"""Is decoded at once: whole samples of every format."""
_DELTA_S: Final = 0.4
"""Audio goes out in deltas of so much at most: some clients take no message of more than 1 MiB."""
_PCM_RATE_HZ: Final = 24_000


def rate_of(form: AudioFormat) -> int:
    """Samples a second."""
    return _PCM_RATE_HZ if form.type == "audio/pcm" else G711_RATE_HZ


def audio_of(text: str, form: AudioFormat) -> Audio:
    """The audio of an event.

    Raises:
        CallerError: `invalid_value`: it is too long, no base64, or ends within a sample.
    """
    return concatenate(list(_pieces(text, form)), rate_of(form))


async def audio_in_turns(text: str, form: AudioFormat) -> Audio:
    """`audio_of`, which lets the other calls have their turns between its pieces: 15 MiB take 30 ms."""
    pieces: list[Audio] = []
    for piece in _pieces(text, form):
        if pieces:
            await asyncio.sleep(0)
        pieces.append(piece)
    return concatenate(pieces, rate_of(form))


def _pieces(text: str, form: AudioFormat) -> Iterator[Audio]:
    """Audio as it is decoded. Raises: CallerError: as `audio_of`."""
    if len(text) > MAX_AUDIO_CHARS:
        raise _mistaken(f"Audio comes in events of up to {MAX_AUDIO_CHARS >> 20} MiB.")
    for start in range(0, len(text), _PIECE_CHARS):
        piece = text[start : start + _PIECE_CHARS]
        try:
            data = base64.b64decode(piece, validate=True)
        except (binascii.Error, ValueError):
            raise _mistaken("The audio is not base64.") from None
        if start + _PIECE_CHARS < len(text) and len(data) != _PIECE_CHARS * 3 // 4:
            # Padding, and more after it.
            raise _mistaken("The audio is not base64.")
        yield _decoded(data, form)


def _decoded(data: bytes, form: AudioFormat) -> Audio:
    match form.type:
        case "audio/pcm":
            if len(data) % 2:
                raise _mistaken("The audio ends within a sample: PCM has two bytes for each.")
            return Audio(np.frombuffer(data, "<i2").astype(np.int16, copy=False), _PCM_RATE_HZ)
        case "audio/pcmu":
            return Audio(decoded(data, "mu"), G711_RATE_HZ)
        case "audio/pcma":
            return Audio(decoded(data, "a"), G711_RATE_HZ)
        case _:
            assert_never(form.type)


def text_of(audio: Audio, form: AudioFormat) -> str:
    """The audio, which has the format's rate, as an event carries it."""
    samples = audio.as_int16()
    match form.type:
        case "audio/pcm":
            data = samples.astype("<i2").tobytes()
        case "audio/pcmu":
            data = encoded(samples, "mu")
        case "audio/pcma":
            data = encoded(samples, "a")
        case _:
            assert_never(form.type)
    return base64.b64encode(data).decode()


def _mistaken(sentence: str) -> CallerError:
    return CallerError(sentence, code="invalid_value", param="audio")


class VoiceData:
    """The assistant's voice on its way into events, item by item. An item keeps the format it began with."""

    def __init__(self) -> None:
        self._items: dict[str, tuple[AudioFormat, StreamResampler]] = {}

    def deltas(self, item_id: str, audio: Audio, form: AudioFormat) -> Iterator[str]:
        """More of an item's sound, as the deltas that carry it."""
        kept = self._items.get(item_id)
        if kept is None:
            kept = self._items[item_id] = (form, StreamResampler(audio.rate_hz, rate_of(form)))
        form, resampler = kept
        yield from _deltas(resampler.push(audio), form)

    def last_deltas(self, item_id: str) -> Iterator[str]:
        """What is left of an item's sound, when all of it was made. None where it had none."""
        form, resampler = self._items.pop(item_id, (None, None))
        if form is not None and resampler is not None:
            yield from _deltas(resampler.finish(), form)


def _deltas(audio: Audio, form: AudioFormat) -> Iterator[str]:
    step = round(_DELTA_S * audio.rate_hz)
    for start in range(0, len(audio), step):
        yield text_of(Audio(audio.samples[start : start + step], audio.rate_hz), form)
