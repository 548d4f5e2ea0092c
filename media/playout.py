"""The voice that goes out: queued by response, paced by the clock, and honest about what was heard."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from pydantic import Field

from media.audio import Audio
from media.clock import loop_time_s
from media.opus import OpusSettings
from media.pacing import Pacer
from media.resampler import StreamResampler

PLAYOUT_RATE_HZ = 48_000
FRAME_SAMPLES = PLAYOUT_RATE_HZ // 50
"""20 ms, the ptime of every transport here."""
FADE_SAMPLES = PLAYOUT_RATE_HZ // 200
"""5 ms: a voice that is cut or held ends in a fade, and one that goes on begins with one: a step clicks."""
KEPT_SAMPLES = PLAYOUT_RATE_HZ
"""How much of what was played is kept, so that a voice that was held can go back to the start of a word."""
CLOCK_SLACK_S = 0.001
"""Frames that are handed out on time may be a rounding error late."""


class AudioSettings(OpusSettings):
    """`audio` in `config.yaml`: what goes out and what comes in."""

    output_gain_db: float = Field(0.0, ge=-40, le=20)
    """Added to the assistant's voice."""
    lead_s: float = Field(8.0, ge=0.5, le=60)
    """How far synthesis may run ahead of what is being heard: what is interrupted was made in vain."""
    heard_lag_ms: int = Field(80, ge=0, le=1000)
    """What the caller's jitter buffer and device still hold of what was sent: not heard yet."""
    input_backlog_s: float = Field(2.0, ge=0.2, le=30)
    """How much of the caller's audio may wait for us; beyond it the oldest is dropped and counted."""


@dataclass(slots=True)
class _Track:
    """One response's sound."""

    pieces: deque[npt.NDArray[np.int16]] = field(default_factory=deque)
    queued_samples: int = 0
    played_samples: int = 0
    begun: bool = False
    complete: bool = False
    resampler: StreamResampler | None = None
    kept: deque[npt.NDArray[np.int16]] = field(default_factory=deque)
    """What was played last: what was not heard yet, and `KEPT_SAMPLES` before that if there was as much."""
    kept_samples: int = 0
    progress: deque[tuple[float, int]] = field(default_factory=deque)
    """Of the frames that were not found to be heard yet: when it is heard at the soonest, and how much of the
    track had been played with it."""
    heard: int = 0
    """How much of it was found to be heard."""

    def take(self, most_samples: int) -> npt.NDArray[np.int16]:
        """The next piece to be played."""
        piece = self.pieces.popleft()
        if len(piece) > most_samples:
            self.pieces.appendleft(piece[most_samples:])
            piece = piece[:most_samples]
        self.queued_samples -= len(piece)
        self.played_samples += len(piece)
        self.kept.append(piece)
        self.kept_samples += len(piece)
        needed = KEPT_SAMPLES + max(0, self.played_samples - self.heard)
        while self.kept_samples - len(self.kept[0]) >= needed:
            self.kept_samples -= len(self.kept.popleft())
        return piece

    def go_back(self, samples: int) -> None:
        """Takes back the end of what was played, as far as it is kept."""
        while samples > 0 and self.kept:
            piece = self.kept.pop()
            self.kept_samples -= len(piece)
            if len(piece) > samples:
                self.kept.append(piece[:-samples])
                self.kept_samples += len(piece) - samples
                piece = piece[-samples:]
            samples -= len(piece)
            self.pieces.appendleft(piece)
            self.queued_samples += len(piece)
            self.played_samples -= len(piece)

    def take_back(self, sent_until_s: float) -> None:
        """Takes back what had not been played at that time: it will not be heard."""
        heard = min(self.heard_samples(sent_until_s), self.played_samples)
        self.progress.clear()
        self.go_back(self.played_samples - heard)

    def heard_samples(self, sent_until_s: float) -> int:
        """How much of it had been played at that time. What was found to be heard stays so."""
        while self.progress and self.progress[0][0] <= sent_until_s:
            self.heard = self.progress.popleft()[1]
        return self.heard


class Playout:
    """What one caller hears.

    Responses play one after the other, in the order in which they were opened. `next_frame` is the pacer:
    whoever carries the audio awaits it. Nothing here is thread-safe; all of it runs on the loop.
    """

    def __init__(
        self, settings: AudioSettings, began: Callable[[str], None], ended: Callable[[str], None]
    ) -> None:
        self._gain = float(10 ** (settings.output_gain_db / 20))
        self._lead_samples = round(settings.lead_s * PLAYOUT_RATE_HZ)
        self._began, self._ended = began, ended
        self._tracks: dict[str, _Track] = {}
        self._tail: npt.NDArray[np.int16] | None = None
        self._held = False
        self._fades_in = False
        self._room = asyncio.Event()
        self._changed = asyncio.Event()
        self.pacer = Pacer(FRAME_SAMPLES, PLAYOUT_RATE_HZ)
        self.pausable = True
        """Whether whoever hears it falls silent with it. A client that plays the voice itself does not:
        there, holding changes nothing, so that what counts as heard goes on with what is."""
        self.heard_lag_s = settings.heard_lag_ms / 1000
        """How long after it is due a frame is heard. May be set to what was measured, at any time."""
        self.silenced: Callable[[], None] | None = None
        """For legs that can take back what the far side has not played yet: is told to, whenever the voice is
        held or cut. What was not heard then is played again after a hold."""
        self.spoke = False
        """Whether the last frame held any of a response's sound, however quiet."""
        self.sent_to: Callable[[Audio, float], None] | None = None
        """Is told of each frame that is handed out, and when it is heard if it takes no time on its way."""

    @property
    def ahead_s(self) -> float:
        """Frames are handed out up to this much before they are due, where there is sound for them.

        For far sides that play what they have one after the other: that is the buffer they have against an
        uneven network. A response then ends when its end is heard, not when it was handed out.
        """
        return self.pacer.ahead_s

    @ahead_s.setter
    def ahead_s(self, ahead_s: float) -> None:
        self.pacer.ahead_s = ahead_s

    @property
    def phase_s(self) -> float:
        """How long after the beat that all calls share its frames leave."""
        return self.pacer.phase_s

    @phase_s.setter
    def phase_s(self, phase_s: float) -> None:
        self.pacer.phase_s = phase_s

    @property
    def heard_from_s(self) -> float:
        """When the last frame is heard, in loop time, if it takes no time on its way."""
        return self.pacer.heard_from_s

    def open(self, response_id: str) -> None:
        """A response will be heard after those that were opened before it."""
        self._tracks[response_id] = _Track()

    async def room(self, response_id: str) -> None:
        """Waits until synthesis for this response is no longer too far ahead of the listener."""
        while response_id in self._tracks and self._queued_samples() > self._lead_samples:
            self._room.clear()
            await self._room.wait()

    @property
    def lead_s(self) -> float:
        """How much sound waits to be heard, in seconds."""
        return self._queued_samples() / PLAYOUT_RATE_HZ

    def append(self, response_id: str, audio: Audio) -> Audio:
        """More of a response's sound. Not heard of a response that was flushed, or cancelled just now.

        Returns it as loud as it is heard.
        """
        audio = self._amplified(audio)
        track = self._tracks.get(response_id)
        if track is None or track.complete:
            return audio
        if track.resampler is None:
            track.resampler = StreamResampler(audio.rate_hz, PLAYOUT_RATE_HZ)
        self._queue(track, track.resampler.push(audio))
        return audio

    def _amplified(self, audio: Audio) -> Audio:
        if self._gain == 1.0:
            return audio
        return Audio(
            Audio(audio.as_float32() * np.float32(self._gain), audio.rate_hz).as_int16(), audio.rate_hz
        )

    def complete(self, response_id: str) -> bool:
        """No more will come. Returns whether any of it is still to be heard; if none is, it has ended."""
        track = self._tracks.get(response_id)
        if track is None:
            return False
        track.complete = True
        if track.resampler is not None:
            self._queue(track, track.resampler.finish())
        if track.queued_samples or self._sounds_on(track):
            self._changed.set()
            return True
        del self._tracks[response_id]
        if track.played_samples:
            self._ended(response_id)
        return False

    def heard_s(self, response_id: str) -> float:
        """How much of a response has been heard, in seconds of its own sound; 0 for one that has ended."""
        track = self._tracks.get(response_id)
        if track is None:
            return 0.0
        return track.heard_samples(self._sent_until_s) / PLAYOUT_RATE_HZ

    @property
    def _sent_until_s(self) -> float:
        """What was due by then has been heard by now."""
        return loop_time_s() - self.heard_lag_s + CLOCK_SLACK_S

    @property
    def sounding(self) -> tuple[str, ...]:
        """The responses that are audible or will be, the first one first."""
        return tuple(self._tracks)

    @property
    def pending(self) -> bool:
        """Whether there is sound that waits to be heard."""
        return any(track.queued_samples for track in self._tracks.values())

    def flush(self) -> None:
        """Falls silent within a 5 ms fade; what was to be heard is gone."""
        if self.silenced is not None:
            self._take_back(self.silenced)
        elif not self._held:
            self._fade_out()
        self._held = self._fades_in = False
        self._tracks.clear()
        self._room.set()

    def hold(self) -> None:
        """Falls silent within a 5 ms fade; `go_on` continues just there."""
        if not self._held and self.pausable:
            if self.silenced is not None:
                self._take_back(self.silenced)
            else:
                self._fade_out()
            self._held = True

    def _take_back(self, silenced: Callable[[], None]) -> None:
        """What was handed out and is not heard yet is not to be heard now. No fade: nobody knows exactly
        where the far side stops."""
        for track in self._tracks.values():
            track.take_back(self._sent_until_s)
        self._tail = None
        self.pacer.restart()
        silenced()

    @property
    def held_at(self) -> tuple[str, float] | None:
        """Which response was held, and after how many seconds of it; None where none was in mid-sound."""
        for response_id, track in self._tracks.items():
            if self._held and track.begun:
                return response_id, track.played_samples / PLAYOUT_RATE_HZ
        return None

    def go_on(self, back_s: float = 0.0) -> None:
        """Is heard again after a hold, from this much before it: a second at most."""
        if not self._held:
            return
        self._held, self._fades_in = False, True
        self._changed.set()
        held = next((track for track in self._tracks.values() if track.begun), None)
        if held is not None:
            held.go_back(round(back_s * PLAYOUT_RATE_HZ))

    async def next_frame(self) -> tuple[Audio, int]:
        """The next 20 ms, 48 kHz int16, and its position in samples since the first frame.

        Returns when the frame is to leave, on an absolute schedule. After a stall the schedule moves on
        instead of catching up in a burst, and the position shows the gap. Silence where there is nothing to
        say.
        """
        position = await self.pacer.next_position()
        if self.ahead_s:
            await self._until_filled(self.pacer.heard_from_s)
        frame = Audio(self._pull(), PLAYOUT_RATE_HZ)
        if self.sent_to is not None:
            self.sent_to(frame, self.pacer.heard_from_s)
        return frame, position

    async def until_sound(self, limit_s: float) -> None:
        """Returns once there is sound to hand out, or after so long; the next frame is due at once then.

        For legs that send nothing in silence: sound need not wait for the next frame that nobody would get.
        """
        self.pacer.pause()
        try:
            async with asyncio.timeout(limit_s):
                while self._tail is None and (self._held or not (self.pending or self._ends)):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return

    async def _until_filled(self, until_s: float) -> None:
        """Waits for a whole frame of sound: what leaves ahead of its time need not be filled up yet."""
        while not self._fills_frame and (wait_s := until_s - loop_time_s()) > 0:
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()

    @property
    def _fills_frame(self) -> bool:
        track = next(iter(self._tracks.values()), None)
        if self._tail is not None:
            return True
        if self._held or track is None:
            return False
        return track.queued_samples >= (1 if track.complete else FRAME_SAMPLES)

    def _sounds_on(self, track: _Track) -> bool:
        """Whether the end of what was handed out is not heard yet, and somebody wants to know when it is."""
        return self.ahead_s > 0 and track.heard_samples(self._sent_until_s) < track.played_samples

    @property
    def _ends(self) -> bool:
        """Whether a response is over but for being heard to its end."""
        return any(track.complete for track in self._tracks.values())

    def _queue(self, track: _Track, audio: Audio) -> None:
        if not len(audio):
            return
        samples = audio.as_int16()
        track.pieces.append(samples)
        track.queued_samples += len(samples)
        self._changed.set()

    def _queued_samples(self) -> int:
        return sum(track.queued_samples for track in self._tracks.values())

    def _pull(self) -> npt.NDArray[np.int16]:
        """One frame from the first response that has sound, from the next one where it ends."""
        frame = np.zeros(FRAME_SAMPLES, dtype=np.int16)
        filled = 0
        self.spoke = False
        if self._tail is not None:
            filled = len(self._tail)
            frame[:filled] = self._tail
            self._tail = None
        if self._held:
            return frame
        for response_id, track in list(self._tracks.items()):
            filled = self._take(track, frame, filled)
            if track.played_samples and not track.begun:
                track.begun = True
                self._began(response_id)
            if track.queued_samples or not track.complete or self._sounds_on(track):
                break
            del self._tracks[response_id]
            self._ended(response_id)
        if self._queued_samples() <= self._lead_samples:
            self._room.set()
        return frame

    def _take(self, track: _Track, frame: npt.NDArray[np.int16], filled: int) -> int:
        began = filled
        while track.pieces and filled < len(frame):
            piece = track.take(len(frame) - filled)
            frame[filled : filled + len(piece)] = piece
            filled += len(piece)
        if filled > began:
            self.spoke = True
            track.progress.append((self.pacer.heard_from_s, track.played_samples))
            track.heard_samples(loop_time_s() - self.heard_lag_s)
            if self._fades_in:
                self._fades_in = False
                rising = frame[began : min(filled, began + FADE_SAMPLES)]
                ramp = np.linspace(0.0, 1.0, len(rising), endpoint=False, dtype=np.float32)
                rising[:] = (rising * ramp).astype(np.int16)
        return filled

    def _fade_out(self) -> None:
        """The next frame begins with the end of what is heard now, which is not played by that."""
        sounding = next(iter(self._tracks.values()), None)
        if sounding is not None and sounding.begun and sounding.pieces:
            rest = sounding.pieces[0][:FADE_SAMPLES]
            ramp = np.linspace(1.0, 0.0, len(rest), endpoint=False, dtype=np.float32)
            self._tail = (rest * ramp).astype(np.int16)
