"""Speech that comes whole, in an item, and not as it is spoken."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

from media.audio import SPEECH_RATE_HZ, Audio
from media.engines.protocols import SttEngine, SttOptions, Transcript
from media.errors import EngineError
from media.events import CallEvent, ItemAdded, ItemDone, TranscriptCompleted
from media.history import History
from media.items import ItemStatus, Message
from media.resampler import StreamResampler
from media.session import SessionConfig
from media.turn_items import transcription_failure

_PIECE_S = 1.0
"""Converted at once, before others have their turn."""

log = logging.getLogger(__name__)


class Recordings:
    """Enters messages with speech in them, and finds out what it says.

    Args:
        stt: transcribes.
        history: takes the messages.
        notify: told of everything that happens.
        transcribed: called when a message has all its words, or never will.
    """

    def __init__(
        self,
        stt: SttEngine,
        history: History,
        notify: Callable[[CallEvent], None],
        transcribed: Callable[[], None],
    ) -> None:
        self._stt = stt
        self._history = history
        self._notify = notify
        self._transcribed = transcribed

    def add(
        self,
        tasks: asyncio.TaskGroup,
        session: SessionConfig,
        item: Message,
        recordings: Mapping[int, Audio],
        previous_item_id: str | None,
    ) -> None:
        """Enters a message, whose transcription `tasks` then owns.

        Raises:
            CallerError: its id is taken, or the previous item is unknown.
        """
        item = replace(item, status="in_progress")
        before = self._history.add(item, previous_item_id)
        self._notify(ItemAdded(item, before))
        tasks.create_task(self._transcribe(session, item, recordings), name=f"recording {item.id}")

    async def _transcribe(
        self, session: SessionConfig, item: Message, recordings: Mapping[int, Audio]
    ) -> None:
        options = SttOptions(session.language, session.spelling, partials=False)
        parts = list(item.parts)
        status: ItemStatus = "completed"
        for index, recording in recordings.items():
            try:
                transcript = await self._words_of(recording, options)
            except EngineError as error:
                log.warning("a recording could not be transcribed", extra={"code": error.code})
                status = "incomplete"
                self._notify(transcription_failure(session, item.id, error, index))
                continue
            parts[index] = replace(parts[index], text=transcript.text)
            if session.transcribe:
                self._notify(TranscriptCompleted(item.id, transcript.text, transcript.audio_s, index))
        item = replace(item, parts=tuple(parts), status=status)
        self._history.put(item)
        self._notify(ItemDone(item, self._history.before(item.id)))
        self._transcribed()

    async def _words_of(self, recording: Audio, options: SttOptions) -> Transcript:
        session = self._stt.open(options)
        try:
            converter = StreamResampler(recording.rate_hz, SPEECH_RATE_HZ)
            step = round(_PIECE_S * recording.rate_hz)
            for start in range(0, len(recording), step):
                piece = Audio(recording.samples[start : start + step], recording.rate_hz)
                await session.push(converter.push(piece))
                await asyncio.sleep(0)
            await session.push(converter.finish())
            return await session.flush()
        finally:
            await session.abort()
