"""What comes of the far side's voice over a stream: in order, and without gaps on its own timeline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

import numpy as np

from media.audio import SPEECH_RATE_HZ, Audio
from media.clock import loop_time_s
from media.codecs import PacketError, Samples16
from signaling.phone.leg import LegFigures
from signaling.streams.chunk_order import ChunkOrder, Piece
from signaling.streams.codecs import decoder
from signaling.streams.wire import Heard, StreamFormat

LONGEST_CONCEALMENT_S: Final = 0.08
"""What is made up beyond this is no speech any more."""
LONGEST_GAP_S: Final = 1.0
"""A pause that lasted longer is not heard any longer than this."""
SMALLEST_GAP_MS: Final = 40
"""Of timestamps: with less they are merely inexact."""
MOST_AHEAD_S: Final = 5.0
"""Sound that comes by so much faster than it is spoken is too much: it is not heard."""
LONGEST_PIECE_S: Final = 2.0


class InboundStream:
    """Decodes what comes.

    Args:
        heard: takes 16 kHz mono int16.
        format: of the sound.
    """

    def __init__(self, heard: Callable[[Audio], None], format: StreamFormat) -> None:
        self._heard = heard
        self._format = format
        self._decoder = decoder(format)
        self._order = ChunkOrder()
        self._timer: asyncio.TimerHandle | None = None
        self._piece_samples = SPEECH_RATE_HZ // 50
        """Of the last piece: as long is one that is missing."""
        self._epoch_ms: float | None = None
        """Where the far side's timeline was, on its own clock, when nothing had been heard yet."""
        self._began_s = 0.0
        self._samples = 0
        self._received = self._lost = 0
        self.undecodable = 0
        """Pieces that were no sound of this format."""
        self.dropped = 0
        """Pieces that came too fast."""

    @property
    def figures(self) -> LegFigures:
        """What came so far; of what is sent it knows nothing."""
        return LegFigures(self._received, self._lost + self._order.late)

    def take(self, heard: Heard) -> None:
        """A piece."""
        if heard.format is not None and heard.format != self._format:
            self._format = heard.format
            self._decoder = decoder(heard.format)
        now_s = loop_time_s()
        if not self._received:
            self._began_s = now_s
        self._received += 1
        if not heard.payload:
            # Some decoders take nothing for the end of all.
            self.undecodable += 1
            return
        if self._samples / SPEECH_RATE_HZ > now_s - self._began_s + MOST_AHEAD_S:
            self.dropped += 1
            return
        if heard.chunk is None:
            self._hear(Piece(heard.payload), heard.at_ms)
        else:
            self._hear_all(self._order.push(heard.chunk, heard.payload, now_s))

    def close(self) -> None:
        """Waits for nothing any more. May be called twice."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _hear_all(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            self._hear(piece)
        self.close()
        if self._order.due_s is not None:
            self._timer = asyncio.get_running_loop().call_at(self._order.due_s, self._gap_is_due)

    def _gap_is_due(self) -> None:
        self._timer = None
        # A timer may be early by its clock's resolution.
        self._hear_all(self._order.overdue(max(loop_time_s(), self._order.due_s or 0.0)))

    def _hear(self, piece: Piece, at_ms: int | None = None) -> None:
        self._lost += piece.missing
        if piece.missing:
            self._fill(piece.missing * self._piece_samples)
        elif at_ms is not None:
            self._keep_to(at_ms)
        try:
            samples = self._decoder.decode(piece.payload)
        except PacketError:
            self.undecodable += 1
            samples = self._decoder.silence(self._piece_samples)
        if 0 < len(samples) <= LONGEST_PIECE_S * SPEECH_RATE_HZ:
            self._piece_samples = len(samples)
        self._give(samples)

    def _keep_to(self, at_ms: int) -> None:
        """Fills what the timestamps say is missing. Where they go back, they begin anew."""
        heard_ms = 1000 * self._samples / SPEECH_RATE_HZ
        gap_ms = 0.0 if self._epoch_ms is None else at_ms - self._epoch_ms - heard_ms
        if self._epoch_ms is None or abs(gap_ms) > 1000 * LONGEST_GAP_S:
            self._epoch_ms = at_ms - heard_ms
        if gap_ms >= SMALLEST_GAP_MS:
            self._lost += round(gap_ms * SPEECH_RATE_HZ / 1000 / self._piece_samples)
            self._fill(round(gap_ms * SPEECH_RATE_HZ / 1000))

    def _fill(self, samples: int) -> None:
        """Makes up what is missing: a moment of what may have been said, then silence."""
        samples = min(samples, round(LONGEST_GAP_S * SPEECH_RATE_HZ))
        step = SPEECH_RATE_HZ // 400  # 2.5 ms, as decoders have it
        made_up = min(samples, round(LONGEST_CONCEALMENT_S * SPEECH_RATE_HZ)) // step * step
        self._give(self._decoder.conceal(made_up))
        self._give(self._decoder.silence((samples - made_up) // step * step))

    def _give(self, samples: Samples16) -> None:
        if len(samples):
            self._samples += len(samples)
            self._heard(Audio(np.ascontiguousarray(samples), SPEECH_RATE_HZ))
