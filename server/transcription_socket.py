"""One client's connection to an engine host's `/v1/realtime`: turns, one after the other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import assert_never

from media.audio import Audio
from media.engines.protocols import SttEngine, SttOptions, SttSession
from media.errors import CallerError, EngineError, VoxtralKokoroError
from server.transcription_wire import (
    Append,
    Clear,
    ClientMessage,
    Commit,
    Flush,
    SessionUpdate,
    created,
    delta,
    done,
    fault,
    flushed,
    interim,
    read_message,
)
from signaling.socket_call import CLIENT_GONE, STOPPING, Ending, TextSocket

_SILENCE_LIMIT_S = 60.0
"""A client that sends nothing for so long is let go: it holds a slot that another one wants."""

_SILENT = Ending(1008, "nothing was sent for a minute")

_log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _Turn:
    """A turn that is being transcribed.

    Attributes:
        session: the engine's.
        heard_s: how much sound.
        told: of its transcript, in deltas.
        over: nothing more is told of it.
    """

    session: SttSession
    heard_s: float = 0.0
    told: str = ""
    over: bool = False


@dataclass(slots=True)
class TranscriptionSocket:
    """Serves one connection. `run` it once.

    Args:
        socket: open.
        stt: what transcribes.
        require_model: raises `CallerError` where a model is not the one that is here.
        draining: set when the host is to end: then the connection ends with its turn.
        longest_turn_s: what goes on for longer is not heard: its sound is kept until the turn is over.
    """

    socket: TextSocket
    stt: SttEngine
    require_model: Callable[[str], None]
    draining: asyncio.Event
    longest_turn_s: float
    _wanted: SessionUpdate = field(default_factory=lambda: SessionUpdate(type="session.update"))
    _turn: _Turn | None = None

    async def run(self) -> None:
        """Takes messages until the client goes, or is let go. What was under way is given up then."""
        try:
            async with asyncio.TaskGroup() as tasks:
                drain = tasks.create_task(self._end_when_draining(), name="end of a realtime transcription")
                await self.socket.send(created())
                await self.socket.close(await self._converse(tasks))
                drain.cancel()
                await self._give_up()
        finally:
            await self._give_up()

    async def _converse(self, tasks: asyncio.TaskGroup) -> Ending:
        while not (self.draining.is_set() and self._turn is None):
            try:
                async with asyncio.timeout(_SILENCE_LIMIT_S):
                    text = await self.socket.receive()
            except TimeoutError:
                return _SILENT
            if text is None:
                return CLIENT_GONE
            try:
                await self._take(read_message(text), tasks)
            except VoxtralKokoroError as error:
                await self.socket.send(fault(error))
        return STOPPING

    async def _take(self, message: ClientMessage, tasks: asyncio.TaskGroup) -> None:
        match message:
            case SessionUpdate():
                if message.model is not None:
                    self.require_model(message.model)
                self._wanted = message
            case Append():
                await self._hear(message.sound(), self._present(tasks))
            case Commit(final=False):
                self._present(tasks)
            case Commit():
                turn = self._present(tasks)
                try:
                    transcript = await turn.session.flush()
                    turn.over = True
                    if transcript.text.startswith(turn.told) and transcript.text != turn.told:
                        await self.socket.send(delta(transcript.text[len(turn.told) :]))
                    await self.socket.send(done(transcript))
                finally:
                    await self._give_up()
            case Flush():
                await self.socket.send(flushed(await self._present(tasks).session.flush()))
            case Clear():
                await self._give_up()
            case _:
                assert_never(message)

    async def _hear(self, sound: Audio, turn: _Turn) -> None:
        """Raises: CallerError: the turn is too long by now."""
        if turn.heard_s + sound.duration_s > self.longest_turn_s:
            raise CallerError(
                f"A turn has {self.longest_turn_s:g} s of sound at most: commit it, or clear it.",
                code="turn_too_long",
                param="audio",
            )
        turn.heard_s += sound.duration_s
        await turn.session.push(sound)

    def _present(self, tasks: asyncio.TaskGroup) -> _Turn:
        """The turn that is under way, or a new one.

        Raises:
            CallerError: its language is not transcribed here.
        """
        if self._turn is None:
            try:
                session = self.stt.open(SttOptions(self._wanted.language, self._wanted.prompt))
            except EngineError as error:
                if error.code != "language_unavailable":
                    raise
                raise CallerError(str(error), code=error.code, param="language") from error
            self._turn = _Turn(session)
            tasks.create_task(self._follow(self._turn), name="interim transcripts")
        return self._turn

    async def _follow(self, turn: _Turn) -> None:
        """Tells what each new transcript adds to what was told. One in other words is passed over: the last
        one counts."""
        try:
            async for transcript in turn.session.partials():
                if turn.over:
                    return
                if self._wanted.interim:
                    await self.socket.send(interim(transcript))
                if transcript.text.startswith(turn.told) and transcript.text != turn.told:
                    added, turn.told = transcript.text[len(turn.told) :], transcript.text
                    await self.socket.send(delta(added))
        except EngineError as error:
            # Whoever asks for the transcript will hear of it.
            _log.info("an interim transcript is left out", extra={"reason": str(error)})

    async def _give_up(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.over = True
            await turn.session.abort()

    async def _end_when_draining(self) -> None:
        await self.draining.wait()
        if self._turn is None:
            await self.socket.close(STOPPING)
