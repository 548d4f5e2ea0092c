"""One response on its way from the LLM to the playout."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

from media.clauses import StreamingSettings
from media.clock import loop_time_s
from media.digits import KeyedIn
from media.draft import Draft
from media.engines.protocols import ChatMessage, Engines, LlmDelta, LlmRequest, TtsEngine, TtsRequest
from media.errors import EngineError, VoxtralKokoroError
from media.events import (
    CallEvent,
    FunctionArgumentsDelta,
    OutputAudioDelta,
    OutputItemAdded,
    OutputItemDone,
    OutputPartAdded,
    OutputTextDelta,
)
from media.heard import SpokenClause, heard_text, word_start_s
from media.items import (
    Item,
    Message,
    Part,
    PartKind,
    Response,
    ResponseOptions,
    StatusReason,
    Usage,
    new_id,
)
from media.latency import ReplyTimes
from media.opening import Piece, PieceSplitter
from media.playout import Playout
from media.session import SessionConfig
from media.speakable import speakable
from media.tool_offer import NO_TOOLS, ToolOffer
from media.turn import Turn
from media.written_calls import WrittenCalls

CLAUSES_AHEAD = 32
"""How many clauses may wait for their synthesis; the LLM waits beyond it."""


@dataclass(frozen=True, slots=True)
class Writing:
    """What the LLM is asked, and how its words are cut. `whole`: of the conversation nothing is left out."""

    messages: tuple[ChatMessage, ...]
    max_output_tokens: int
    temperature: float
    streaming: StreamingSettings
    conversation: str = ""
    offer: ToolOffer = NO_TOOLS
    whole: bool = False

    @property
    def request(self) -> LlmRequest:
        return LlmRequest(
            self.messages,
            self.max_output_tokens,
            self.temperature,
            self.conversation,
            self.offer.tools,
            self.offer.choice,
        )

    def shorter(self) -> Writing | None:
        """The same without the older half of the conversation; None where only its last message is left, or
        its last calls of tools with their outputs, or where nothing of it is to be left out."""
        if self.whole:
            return None
        system, *said = self.messages
        at = (len(said) + 1) // 2
        while at < len(said) and said[at].role == "tool":
            at += 1
        if at == len(said):
            at = max((at for at, message in enumerate(said) if message.tool_calls), default=0)
        return replace(self, messages=(system, *said[at:])) if at else None


class Reply:
    """A response while it is made and heard."""

    def __init__(
        self,
        options: ResponseOptions,
        session: SessionConfig,
        turn: Turn | KeyedIn | None,
        offer: ToolOffer,
        rounds: int = 0,
    ) -> None:
        modality = options.modality or session.modality
        limit = session.max_output_tokens if options.max_output_tokens is None else options.max_output_tokens
        self.response = Response(
            id=new_id("resp"),
            modality=modality,
            metadata=options.metadata,
            voice=session.voice if modality == "audio" else "",
            max_output_tokens=None if limit == "inf" else limit,
            conversation=options.conversation,
        )
        kind: PartKind = "output_audio" if modality == "audio" else "output_text"
        self.item = Message(new_id("item"), "assistant", (Part(kind, ""),), "in_progress")
        """What it says. A reply that only calls tools never tells of it."""
        self.calls = WrittenCalls(offer)
        self.rounds = rounds
        """How many replies called tools before it since the caller, or the client, asked."""
        self._told: list[str] = []
        """The items that were told of, in order."""
        self.times = ReplyTimes(asked_s=loop_time_s())
        self.task: asyncio.Task[None] | None = None
        """Makes it."""
        self.draft: Draft | None = None
        """What was made of it before it was asked for."""
        self.shortened = False
        """Whether the LLM could not be shown all of the conversation that was meant for it."""
        self.cut = False
        """Whether the client or the caller ended it before its end."""
        self._turn = turn
        self.clauses: list[SpokenClause] = []
        self.sound_s = 0.0
        """How much sound was made of it."""
        self._options = options
        self._session = session

    @property
    def id(self) -> str:
        return self.response.id

    @property
    def spoken(self) -> bool:
        return self.response.modality == "audio"

    @property
    def apart(self) -> bool:
        """Whether it is out of band: no item of the conversation."""
        return self.response.conversation == "none"

    @property
    def verbatim(self) -> bool:
        """Whether its words were given, not thought of: a greeting."""
        return self._options.spoken_text is not None

    @property
    def options(self) -> ResponseOptions:
        return self._options

    @property
    def output(self) -> tuple[Item, ...]:
        """Its items, in the order in which they were told of."""
        items: dict[str, Item] = {call.id: call for call in self.calls.written}
        items[self.item.id] = self.item
        return tuple(items[item_id] for item_id in self._told)

    @property
    def turn(self) -> Turn | KeyedIn | None:
        """The caller's turn that it answers, if it answers one."""
        return self._turn

    async def make(
        self, writing: Writing, engines: Engines, playout: Playout, notify: Callable[[CallEvent], None]
    ) -> None:
        """Writes and, for a spoken one, speaks it, both at once. Ends when all of it is made.

        Raises:
            ExceptionGroup: of `EngineError` or `CallerError`, from the LLM or the TTS.
        """
        clauses: asyncio.Queue[Piece | None] = asyncio.Queue(CLAUSES_AHEAD)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._write(writing, engines, clauses, notify), name=f"write {self.id}")
            if self.spoken:
                tasks.create_task(self._speak(engines, clauses, playout, notify), name=f"speak {self.id}")

    @property
    def opened(self) -> bool:
        """Whether its message was told of."""
        return self.item.id in self._told

    def begin(self, notify: Callable[[CallEvent], None]) -> None:
        """Tells of its message, which is empty so far; where it may call a tool, there may be none."""
        if not self.calls.possible:
            self._open(notify)

    def heard_text(self, heard_s: float) -> str:
        """What was heard of it after `heard_s` of its sound."""
        return heard_text(self.clauses, heard_s)

    def word_start_s(self, at_s: float) -> float:
        """Where the word that sounds at this time began; the same time where none does."""
        return word_start_s(self.clauses, at_s)

    def forget_unspoken(self) -> None:
        """Takes back the words that have no sound: they will never be heard."""
        if self.spoken and not self.cut:
            self.say(self.heard_text(self.sound_s))

    def fail(self, error: VoxtralKokoroError) -> None:
        """It cannot be made to its end."""
        self.response = replace(self.response, status="failed", error=str(error), error_code=error.code)
        self.forget_unspoken()

    def abandon(self, reason: StatusReason) -> None:
        """Makes no more of it."""
        if self.task is not None:
            self.task.cancel()
        if self.draft is not None:
            self.draft.drop()
        self.response = replace(self.response, status="cancelled", reason=reason)
        self.forget_unspoken()

    def conclude(self, notify: Callable[[CallEvent], None]) -> None:
        """No more of it will be made: tells the end of its items, and gives the response its last status.

        Calls that waited for the message to be spoken are told now.
        """
        ended = self.response.status in ("in_progress", "incomplete")
        if ended and not self.calls.written:
            self._open(notify)
        whole = self.response.status == "in_progress" and not self.cut
        self.item = replace(self.item, status="completed" if whole else "incomplete")
        self.calls.finish(ended=ended, cut_off=self.response.status == "incomplete")
        for item in self.output:
            notify(OutputItemDone(self.id, item))
        for call in self.calls.written:
            if ended and call.id not in self._told:
                self._tell_of(replace(call, arguments="", status="in_progress"), notify)
                notify(FunctionArgumentsDelta(self.id, call.id, call.call_id, call.arguments))
                notify(OutputItemDone(self.id, call))
        if self.response.status == "in_progress":
            self.response = replace(self.response, status="completed")
        self.response = replace(self.response, output=self.output)

    def say(self, text: str) -> None:
        """Sets what the item says."""
        self.item = replace(self.item, parts=(replace(self.item.parts[0], text=text),))

    async def _write(
        self,
        writing: Writing,
        engines: Engines,
        clauses: asyncio.Queue[Piece | None],
        notify: Callable[[CallEvent], None],
    ) -> None:
        splitter = PieceSplitter(writing.streaming)

        async def put(ready: list[Piece]) -> None:
            for piece in ready:
                self.times.first_clause_s = self.times.first_clause_s or loop_time_s()
                self._append(piece.text, notify)
                await clauses.put(piece)

        cut_off = False
        async with aclosing(self._words(writing, engines)) as words:
            async for delta in words:
                if delta.finish is not None:
                    cut_off = delta.finish == "length"
                    usage = Usage(delta.input_tokens, delta.output_tokens, delta.cached_tokens)
                    self.response = replace(self.response, usage=usage)
                if not self.spoken:
                    self._append(delta.text, notify)
                elif delta.text:
                    await put(splitter.push(delta.text))
                if delta.tool_calls:
                    await put(splitter.finish())  # what is said before a call is whole
                    self._call(delta, notify)
        if self.spoken:
            # A reply that the token limit cut off ends with its last whole clause: half a thought is worse.
            leave_out = cut_off and self.item.text and not splitter.amid_clause
            await put([] if leave_out else splitter.finish())
            await clauses.put(None)
        if cut_off:
            self.response = replace(self.response, status="incomplete", reason="max_output_tokens")

    def _append(self, text: str, notify: Callable[[CallEvent], None]) -> None:
        if not text or self.cut or not (text.strip() or self._told):
            # What the client says it did not hear is not said later either.
            return
        self._open(notify)
        before = self.item.parts[0].text or ""
        if self.spoken and before and not before[-1].isspace() and not text[0].isspace():
            text = f" {text}"
        text = text if before else text.lstrip()
        self.say(before + text)
        notify(OutputTextDelta(self.id, self.item.id, text))

    def _call(self, delta: LlmDelta, notify: Callable[[CallEvent], None]) -> None:
        """Takes pieces of calls. They are told as they come; where a message is being said they wait until it
        is, since clients expect one item after the other."""
        for piece in delta.tool_calls:
            call, is_new = self.calls.take(piece)
            if call is None:
                continue
            if is_new and not self.opened:
                self._tell_of(replace(call, arguments=""), notify)
            if piece.arguments and call.id in self._told:
                notify(FunctionArgumentsDelta(self.id, call.id, call.call_id, piece.arguments))

    def _open(self, notify: Callable[[CallEvent], None]) -> None:
        if not self.opened:
            self._tell_of(self.item, notify)
            notify(OutputPartAdded(self.id, self.item))

    def _tell_of(self, item: Item, notify: Callable[[CallEvent], None]) -> None:
        self._told.append(item.id)
        notify(OutputItemAdded(self.id, item))

    async def _words(self, writing: Writing, engines: Engines) -> AsyncGenerator[LlmDelta, None]:
        """The LLM's deltas.

        Where it failed before its first word it is asked again: once if it may recover, and with ever less
        of a conversation that is too long for it.
        """
        if self._options.spoken_text is not None:
            yield LlmDelta(self._options.spoken_text, finish="stop")
            return
        begun = tried_again = False
        while True:
            try:
                async with aclosing(engines.llm.reply(writing.request)) as deltas:
                    async for delta in deltas:
                        begun = True
                        yield delta
                return
            except EngineError as error:
                shorter = writing.shorter() if error.code == "context_full" else None
                if begun or (shorter is None and (tried_again or not error.retryable)):
                    raise
                tried_again = tried_again or shorter is None
                self.shortened = self.shortened or shorter is not None
                writing = shorter or writing

    async def _speak(
        self,
        engines: Engines,
        clauses: asyncio.Queue[Piece | None],
        playout: Playout,
        notify: Callable[[CallEvent], None],
    ) -> None:
        language = voice_language(engines.tts, self._session.voice)
        while (piece := await clauses.get()) is not None:
            await playout.room(self.id)
            words = speakable(piece.text, language)
            clause = SpokenClause(piece.text, self.sound_s, len(words.split()), end_s=self.sound_s)
            self.clauses.append(clause)
            if not words:
                clause.complete = True
                continue
            self.times.synthesis_s = self.times.synthesis_s or loop_time_s()
            voice, speed = self._session.voice, self._session.speed
            request = TtsRequest(words, voice, speed, playout.lead_s, piece.before, piece.after)
            async with aclosing(engines.tts.speak(request)) as chunks:
                async for chunk in chunks:
                    self.times.first_sound_s = self.times.first_sound_s or loop_time_s()
                    clause.words.extend(chunk.words)
                    self.sound_s += chunk.audio.duration_s
                    clause.end_s = self.sound_s
                    loud = playout.append(self.id, chunk.audio)
                    notify(OutputAudioDelta(self.id, self.item.id, loud))
            clause.complete = True


def voice_language(engine: TtsEngine, name: str) -> str:
    """What language a voice speaks, as a BCP-47 tag; American English for one that is unknown."""
    return next((voice.language for voice in engine.voices if voice.name == name), "en-us")
