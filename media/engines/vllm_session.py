"""One turn's transcription by a server that streams, but cannot go on once it was told that the sound ends.

A flush has the present stream end, since only that brings what was said last. If the caller goes on after a
real pause, what they say is a segment of its own, with a new stream. If there was no pause, the guess was
wrong: the segment is streamed anew from its beginning, at the server's pace, while the caller speaks; so no
word is cut. A segment that lasts ends at a pause, too: streams neither slow down nor fill the model's
context. A connection that is lost is replaced in the same way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from media.audio import SPEECH_RATE_HZ, Audio
from media.clock import loop_time_s
from media.engines.openai_endpoint import Patience
from media.engines.openai_faults import EndpointFault
from media.engines.protocols import SttOptions, Transcript
from media.engines.speech_blocks import LONGEST_STREAM_S, ROTATE_AFTER_S, Block, SpeechBlocks
from media.engines.speech_pieces import joined
from media.engines.vllm_stream import VllmStream
from media.errors import EngineError

_REST_S = 3.0
"""So much speech after a stream that failed, the next one is opened in the background."""

log = logging.getLogger(__name__)

OpenStream: TypeAlias = Callable[[float], Awaitable[VllmStream]]
"""Opens a stream until a time of the loop's. Raises `EndpointFault`."""


@dataclass(eq=False, slots=True)
class _Segment:
    """What was said from one pause to another.

    Attributes:
        sound: 16-bit samples, until all is transcribed.
        samples: how many there were.
        spoken: where in it somebody spoke last.
        covered: how much of it `text` says.
        stopped: a stream was told to end in it: what follows a pause is another segment.
        ended: no more sound comes.
        stream: the present one.
        opening: one stream at a time.
    """

    sound: bytearray = field(default_factory=bytearray)
    samples: int = 0
    spoken: int = 0
    text: str = ""
    covered: int = 0
    stopped: bool = False
    ended: bool = False
    stream: VllmStream | None = None
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def text_so_far(self) -> str:
        """A stream that begins anew is believed when it has come as far as the one before."""
        written = self.stream.text.strip() if self.stream is not None else ""
        return written if len(written) >= len(self.text) else self.text

    @property
    def wants_stream(self) -> bool:
        return self.spoken > self.covered

    def append(self, block: Block) -> None:
        self.sound += block.samples.astype("<i2").tobytes()
        self.samples += len(block.samples)
        if not block.is_quiet:
            self.spoken = self.samples

    def let_go(self) -> None:
        """Drops the sound of which nothing is to be sent any more."""
        if self.ended and self.stream is None and not self.wants_stream:
            self.sound.clear()

    def since(self, sample: int) -> bytes:
        return bytes(memoryview(self.sound)[2 * sample :])


class VllmSession:
    """Satisfies `SttSession`. Made by `VllmRealtime.open`."""

    def __init__(self, open_stream: OpenStream, options: SttOptions, patience: Patience) -> None:
        self._open_stream = open_stream
        self._options = options
        self._patience = patience
        self._blocks = SpeechBlocks()
        self._segments = [_Segment()]
        self._samples = 0
        self._rests_until_samples = 0
        self._aborted = False
        self._changed = asyncio.Event()
        self._flushing = asyncio.Lock()

    async def push(self, audio: Audio) -> None:
        """More of the turn, sent on where a stream is open.

        Raises:
            ValueError: another rate than 16 kHz.
        """
        if audio.rate_hz != SPEECH_RATE_HZ:
            raise ValueError(f"speech is transcribed at {SPEECH_RATE_HZ} Hz; got {audio.rate_hz} Hz")
        for block in self._blocks.push(audio.as_int16()):
            self._append(block)
        self._changed.set()
        for segment in self._segments:
            await self._send(segment)

    async def partials(self) -> AsyncGenerator[Transcript, None]:
        """The transcript so far, whenever there is more of it. Streams are opened here, in the background."""
        text = ""
        while not self._aborted:
            self._changed.clear()
            transcript = self._transcript()
            if self._options.partials and transcript.text != text:
                text = transcript.text
                yield transcript
                continue
            segment = self._under_way()
            if segment is None:
                await self._changed.wait()
                continue
            try:
                await self._follow(segment)
            except EndpointFault as fault:
                if not self._aborted:
                    log.info("a transcription's stream is lost", extra={"reason": str(fault)})
                self._rests_until_samples = self._samples + round(_REST_S * SPEECH_RATE_HZ)

    async def flush(self) -> Transcript:
        """The transcript of all that was pushed: at once where nothing audible came since the last one.

        Raises:
            EngineError: the server failed, or the session was aborted.
        """
        if self._aborted:
            raise EngineError("The transcription was aborted.", code="aborted")
        deadline_s = loop_time_s() + self._patience.first_s
        async with self._flushing:
            for segment in list(self._segments):
                await self._complete(segment, segment.spoken, deadline_s)
        return self._transcript()

    async def abort(self) -> None:
        """Ends the session, and its streams."""
        self._aborted = True
        self._changed.set()
        for segment in self._segments:
            await self._drop(segment, segment.stream)

    def _append(self, block: Block) -> None:
        segment = self._segments[-1]
        long_s = segment.samples / SPEECH_RATE_HZ
        if long_s >= LONGEST_STREAM_S or (
            block.after_pause and (segment.stopped or long_s >= ROTATE_AFTER_S)
        ):
            segment.ended = True
            segment.let_go()
            segment = _Segment()
            self._segments.append(segment)
        segment.append(block)
        self._samples += len(block.samples)

    def _under_way(self) -> _Segment | None:
        """The oldest segment that is not transcribed whole."""
        rests = self._samples < self._rests_until_samples
        for segment in self._segments:
            if segment.stream is not None or (segment.wants_stream and not rests):
                return segment
        return None

    async def _follow(self, segment: _Segment) -> None:
        """Waits for what a segment's stream says next."""
        deadline_s = loop_time_s() + self._patience.first_s
        stream = segment.stream or await self._opened(segment, deadline_s)
        try:
            await stream.news(stream.received)
        except EndpointFault:
            await self._drop(segment, stream)
            raise
        await self._settle(segment, stream)

    async def _complete(self, segment: _Segment, spoken: int, deadline_s: float) -> None:
        """Has a segment transcribed to where somebody spoke last.

        Raises:
            EngineError: the server failed, and it helps no more to ask again.
        """
        delays_s = list(self._patience.retries_s)
        while segment.covered < spoken and not self._aborted:
            try:
                async with asyncio.timeout_at(deadline_s):
                    await self._finished(segment, deadline_s)
            except TimeoutError:
                await self._drop(segment, segment.stream)
                raise EngineError(
                    "The transcriber's endpoint did not answer in time.", code="stt_timeout"
                ) from None
            except EndpointFault as fault:
                if not (fault.retryable and delays_s) or loop_time_s() + delays_s[0] >= deadline_s:
                    raise EngineError(str(fault), code=fault.code) from fault
                await asyncio.sleep(delays_s.pop(0))

    async def _finished(self, segment: _Segment, deadline_s: float) -> None:
        """Waits for the end of a segment's present stream."""
        stream = segment.stream or await self._opened(segment, deadline_s)
        segment.stopped = True
        try:
            await self._send(segment)
            await stream.finish()
            received = stream.received
            while not stream.done:
                received = await stream.news(received)
        except EndpointFault:
            await self._drop(segment, stream)
            raise
        await self._settle(segment, stream)

    async def _opened(self, segment: _Segment, deadline_s: float) -> VllmStream:
        async with segment.opening:
            if segment.stream is None:
                stream = await self._open_stream(deadline_s)
                if self._aborted:
                    await stream.close()
                    raise EndpointFault("The transcription was aborted.", code="aborted")
                segment.stream = stream
            await self._send(segment)
            return segment.stream

    async def _send(self, segment: _Segment) -> None:
        """Sends a segment's stream what it lacks. That it is lost is noticed by who waits for its words."""
        stream = segment.stream
        if stream is None:
            return
        try:
            await stream.send(segment.since(stream.sent_samples))
            if segment.ended:
                await stream.finish()
        except EndpointFault:
            self._changed.set()

    async def _settle(self, segment: _Segment, stream: VllmStream) -> None:
        """A stream that has said all is done with."""
        if stream.done and segment.stream is stream:
            segment.text, segment.covered, segment.stream = stream.text.strip(), stream.sent_samples, None
            segment.let_go()
            self._changed.set()
            await stream.close()

    @staticmethod
    async def _drop(segment: _Segment, stream: VllmStream | None) -> None:
        """A stream that failed. Another may have taken its place."""
        if segment.stream is stream:
            segment.stream = None
        if stream is not None:
            await stream.close()

    def _transcript(self) -> Transcript:
        language = self._options.language
        text = joined([segment.text_so_far for segment in self._segments], language)
        return Transcript(text, self._samples / SPEECH_RATE_HZ, language)
