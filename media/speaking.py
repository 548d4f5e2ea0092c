"""The shell around the agent's floor: from a wish for an answer to what is heard of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import assert_never

from pydantic import Field

from media.agent_floor import (
    MAKING,
    AbandonResponse,
    AgentFloor,
    AgentState,
    Asked,
    FlushPlayout,
    MadeAudible,
    MadeSilent,
    SoundBegan,
    SoundEnded,
    StartResponse,
    Stopped,
)
from media.asides import Asides
from media.clauses import StreamingSettings
from media.clock import loop_time_s
from media.digits import KeyedIn
from media.draft import Draft
from media.engines.protocols import Engines
from media.errors import CallerError, VoxtralKokoroError, first_error
from media.events import (
    CallEvent,
    CallFault,
    ItemAdded,
    ItemDone,
    ItemTruncated,
    OutputBufferCleared,
    OutputBufferHeld,
    OutputBufferResumed,
    OutputBufferStarted,
    OutputBufferStopped,
    OutputItemAdded,
    OutputItemDone,
    ResponseCreated,
    ResponseDone,
    TurnMeasured,
)
from media.history import History
from media.items import Item, Message, Part, ResponseOptions, StatusReason, new_id
from media.latency import measure
from media.playout import AudioSettings, Playout
from media.prompt_window import PromptWindow
from media.read_ahead import ReadAhead
from media.reply import Reply, Writing, voice_language
from media.section import Section
from media.session import SessionConfig
from media.tool_offer import ToolOffer, require_choice, tool_offer
from media.tools import Toolbox
from media.turn import Turn

log = logging.getLogger(__name__)

BREAK_S = 0.12
"""After a shorter hold the voice goes on in the middle of a word, as after a lost packet."""
KEPT_REPLIES = 8
"""Replies whose word times are kept after they were made, for clients that truncate late."""


class WritingSettings(Section):
    """What of `llm` in `config.yaml` steers every reply."""

    max_output_tokens: int = Field(160, ge=1, le=4096)
    """A reply ends there, at its last whole clause."""
    temperature: float = Field(0.3, ge=0, le=2)
    """0 says the likeliest word each time."""
    history_chars: int = Field(3000, ge=200)
    """How much of the conversation the LLM is shown, in characters (about four a token)."""


class Speaking:
    """Answers one caller."""

    def __init__(
        self,
        engines: Engines,
        audio: AudioSettings,
        streaming: StreamingSettings,
        writing: WritingSettings,
        history: History,
        notify: Callable[[CallEvent], None],
        made: Callable[[], None],
        toolbox: Toolbox | None = None,
        called: Callable[[Reply], None] = lambda reply: None,
    ) -> None:
        self._engines = engines
        self._streaming = streaming
        self._writing = writing
        self._history = history
        self._notify = notify
        self._made = made
        self._toolbox = toolbox
        self._called = called
        self._floor = AgentFloor()
        self.playout = Playout(audio, self._sound_began, self._sound_ended)
        self._conversation = new_id("conv")
        self._shown = PromptWindow(writing.history_chars)
        self._read_ahead = ReadAhead(engines.llm)
        self._asides = Asides(engines, self.playout, notify)
        self._replies: dict[str, Reply] = {}
        self._making: Reply | None = None
        self._held_since_s = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        """Of replies that are made, or were abandoned and have not ended yet."""

    @property
    def state(self) -> AgentState:
        return self._floor.state

    def draft(self, tasks: asyncio.TaskGroup, session: SessionConfig, items: tuple[Item, ...]) -> Draft:
        """Begins the answer to a history that may come about, unheard and untold."""
        self._read_ahead.drop()
        writing = self._writing_for(session, ResponseOptions(), items)
        language = voice_language(self._engines.tts, session.voice)
        draft = Draft(writing.request, session, language, self._streaming, self._engines, self._notify)
        draft.start(tasks)
        return draft

    def read_ahead(
        self, tasks: asyncio.TaskGroup, session: SessionConfig, guess: tuple[Item, ...] = ()
    ) -> None:
        """Has the LLM read what was said so far, and what seems to be said just now, while it has time.

        Does nothing while a response is made.
        """
        if self._floor.state in MAKING:
            return
        if not guess:
            self._shown.compact(self._history.items, session.retention)
        items = (*self._history.items, *guess)
        self._read_ahead.begin(tasks, self._writing_for(session, ResponseOptions(), items).request)

    def read_no_further(self) -> None:
        """Ends what `read_ahead` began."""
        self._read_ahead.drop()

    def ask(
        self,
        tasks: asyncio.TaskGroup,
        session: SessionConfig,
        options: ResponseOptions,
        turn: Turn | KeyedIn | None,
        draft: Draft | None = None,
        heard: Callable[[], Awaitable[None]] | None = None,
        rounds: int = 0,
    ) -> None:
        """Begins a response, to a turn of the caller, to what is in the history, or to what is given.

        Takes over the draft: what of it fits is used, and it ends with the response. A written response out
        of band is made beside what is said; a spoken one is heard like any other.

        Args:
            tasks: own its task.
            session: how it is spoken and limited.
            options: how it differs from that.
            turn: the caller's, or what they keyed in, if it answers one.
            draft: what was made of it already.
            heard: to be awaited before what is to be answered is known; None where it is.
            rounds: how many responses called tools before this one since something was asked.

        Raises:
            CallerError: one is being made already, or as many as may be; or a tool must be called that is not
                there.
        """
        offer = self._offer(session, options)
        if options.tool_choice is not None:
            require_choice(options.tool_choice, offer.tools)
        if options.conversation == "none" and (options.modality or session.modality) == "text":
            reply = Reply(options, session, None, offer)
            self._asides.begin(tasks, reply, lambda: self._writing_when(heard, session, options))
            return
        if self._floor.state in MAKING:
            raise CallerError(
                "a response is being made already; cancel it or wait until it is done",
                code="conversation_already_has_active_response",
            )
        for command in self._floor.feed(Asked(loop_time_s(), options)):
            match command:
                case StartResponse():
                    reply = Reply(options, session, turn, offer, rounds)
                    self._start(tasks, session, reply, draft, heard)
                case AbandonResponse() | FlushPlayout():
                    raise AssertionError("asking stops nothing")
                case _:
                    assert_never(command)

    def stop(self, reason: StatusReason, told: tuple[str, float] | None = None) -> tuple[Turn | KeyedIn, ...]:
        """Falls silent and makes no more.

        Args:
            reason: why.
            told: a response of which the client says how many seconds were heard; else the playout knows.

        Returns the turns whose answers were stopped before a word of them was heard.
        """
        if self._floor.state is AgentState.IDLE:
            return ()
        stopped = [self._replies[response_id] for response_id in self.playout.sounding]
        if self._making is not None and self._making not in stopped:
            stopped.append(self._making)
        for command in self._floor.feed(Stopped(loop_time_s(), reason)):
            match command:
                case AbandonResponse():
                    self._abandon(command.reason)
                case FlushPlayout():
                    self._flush(told)
                case StartResponse():
                    raise AssertionError("stopping starts nothing")
                case _:
                    assert_never(command)
        return tuple(reply.turn for reply in stopped if reply.turn is not None and not reply.item.text)

    @property
    def audible(self) -> bool:
        """Whether a response is being heard, or is held."""
        return self._floor.state in (AgentState.SPEAKING, AgentState.FINISHING)

    @property
    def pausable(self) -> bool:
        """Whether the caller hears nothing while it is held."""
        return self.playout.pausable

    def ends_within(self, length_s: float) -> bool:
        """Whether all is made, and no more than this is still to be heard of it."""
        return self._floor.state is AgentState.FINISHING and self.playout.lead_s <= length_s

    def hold(self) -> None:
        """Falls silent for now."""
        self._held_since_s = loop_time_s()
        self.playout.hold()
        if self.playout.held_at is not None:
            response_id, _ = self.playout.held_at
            self._notify(OutputBufferHeld(response_id))

    def release(self) -> None:
        """Goes on after a hold: with the word that was broken off, if it has been quiet for long enough."""
        held_at, back_s = self.playout.held_at, 0.0
        if held_at is not None and loop_time_s() - self._held_since_s >= BREAK_S:
            response_id, at_s = held_at
            back_s = at_s - self._replies[response_id].word_start_s(at_s)
        self.playout.go_on(back_s)
        if held_at is not None:
            response_id, at_s = held_at
            self._notify(OutputBufferResumed(response_id, round(1000 * (at_s - back_s))))

    def cancel(self, response_id: str | None) -> None:
        """What a client means by cancelling: no more is made; what was made is still heard out.

        Raises:
            CallerError: no such response is being made.
        """
        if response_id is not None and self._asides.cancel(response_id):
            return
        if self._making is None or response_id not in (None, self._making.id):
            raise CallerError(
                "Cancellation failed: no active response found", code="response_cancel_not_active"
            )
        reply = self._making
        self._abandon("client_cancelled")
        self._feed_made(reply)
        self._made()

    def cancel_asides(self) -> None:
        """Makes no more of what is written out of band."""
        self._asides.cancel_all()

    def truncate(self, item_id: str, audio_end_ms: int) -> None:
        """The client heard this much of an item, and no more.

        Raises:
            CallerError: the item is not a spoken one of late, or is shorter than that.
        """
        reply = next((reply for reply in self._replies.values() if reply.item.id == item_id), None)
        if reply is None or not reply.spoken:
            raise CallerError(
                f"{item_id} is no spoken item that could be truncated",
                code="item_truncate_invalid_item_id",
                param="item_id",
            )
        if audio_end_ms > reply.sound_s * 1000:
            raise CallerError(
                f"Audio content of {round(reply.sound_s * 1000)}ms is already shorter than {audio_end_ms}ms",
                code="invalid_value",
                param="audio_end_ms",
            )
        if reply.id in self.playout.sounding:
            # Whoever says so has stopped playing it.
            self.stop("client_cancelled", (reply.id, audio_end_ms / 1000))
        else:
            self._cut(reply, audio_end_ms / 1000)

    # Making

    def _writing_for(
        self, session: SessionConfig, options: ResponseOptions, items: tuple[Item, ...]
    ) -> Writing:
        instructions = session.instructions if options.instructions is None else options.instructions
        return Writing(
            self._shown.messages(instructions, items, session.retention),
            self._most_tokens(session, options),
            self._writing.temperature,
            self._streaming,
            # What an engine keeps of the conversation is not to be spoilt by what is none of it.
            self._conversation if options.input is None and options.conversation == "auto" else "",
            self._offer(session, options),
            session.retention.share is None,
        )

    def _offer(self, session: SessionConfig, options: ResponseOptions) -> ToolOffer:
        return tool_offer(session, options, self._toolbox.tools if self._toolbox is not None else ())

    def _most_tokens(self, session: SessionConfig, options: ResponseOptions) -> int:
        if options.max_output_tokens == "inf":
            return self._writing.max_output_tokens
        return options.max_output_tokens or session.max_output_tokens or self._writing.max_output_tokens

    def _answered(self, options: ResponseOptions) -> tuple[Item, ...]:
        """What a response is to answer, as it is now."""
        items = self._history.items
        if options.input is not None:
            items = tuple(self._history.latest(item) for item in options.input)
        if options.remark:
            return (*items, Message(new_id("item"), "user", (Part("input_text", options.remark),)))
        return items

    async def _writing_when(
        self, heard: Callable[[], Awaitable[None]] | None, session: SessionConfig, options: ResponseOptions
    ) -> Writing:
        if heard is not None:
            await heard()
        return self._writing_for(session, options, self._answered(options))

    def _start(
        self,
        tasks: asyncio.TaskGroup,
        session: SessionConfig,
        reply: Reply,
        draft: Draft | None,
        heard: Callable[[], Awaitable[None]] | None,
    ) -> None:
        self._read_ahead.drop()
        options = reply.options
        writing = None if heard else self._writing_for(session, options, self._answered(options))
        if draft is not None and writing is not None and draft.request == writing.request:
            draft.use()
            reply.draft = draft
        elif draft is not None:
            draft.drop()
        self._making = reply
        before_it = frozenset(self._tasks)
        self._remember(reply)
        if reply.spoken:
            self.playout.open(reply.id)
        self._notify(ResponseCreated(reply.response))
        reply.begin(partial(self._relay, reply))

        async def known() -> Writing:
            return writing or await self._writing_when(heard, session, options)

        reply.task = tasks.create_task(self._make(reply, known, before_it), name=f"reply {reply.id}")
        self._tasks.add(reply.task)
        reply.task.add_done_callback(self._tasks.discard)

    async def _make(
        self,
        reply: Reply,
        writing: Callable[[], Awaitable[Writing]],
        before_it: frozenset[asyncio.Task[None]],
    ) -> None:
        if before_it:
            # Interrupted replies free their engines first: two at once would starve each other.
            await asyncio.wait(before_it)
        error: VoxtralKokoroError | None = None
        engines = reply.draft.engines if reply.draft else self._engines
        try:
            relay = partial(self._relay, reply)
            await reply.make(await writing(), engines, self.playout, relay)
        except* VoxtralKokoroError as group:
            error = first_error(group)
        if reply.shortened:
            self._shown.tighten()
        if reply is not self._making:
            return
        if error is not None:
            log.warning("a response failed", extra={"error": str(error), "code": error.code})
            self._notify(CallFault(str(error), error.code))
            reply.fail(error)
        self._conclude(reply)
        self._feed_made(reply)
        if reply.calls.for_server and reply.response.status in ("completed", "incomplete"):
            self._called(reply)
        self._made()

    def _relay(self, reply: Reply, event: CallEvent) -> None:
        """Tells what happens in a reply, and has the history follow."""
        if reply is not self._making:
            return
        match event:
            case OutputItemAdded() if not reply.apart:
                self._notify(event)
                self._notify(ItemAdded(event.item, self._history.add(event.item)))
            case OutputItemDone() if not reply.apart:
                self._history.put(event.item)
                self._notify(ItemDone(event.item, self._history.before(event.item.id)))
                self._notify(event)
            case _:
                self._history.put(reply.item)
                self._notify(event)

    def _abandon(self, reason: StatusReason) -> None:
        reply = self._making
        assert reply is not None
        reply.abandon(reason)
        self._conclude(reply)

    def _conclude(self, reply: Reply) -> None:
        """Says that no more of the reply will be made."""
        reply.conclude(partial(self._relay, reply))
        self._making = None
        self._notify(ResponseDone(reply.response))

    def _feed_made(self, reply: Reply) -> None:
        """Tells the floor that the reply is made, after the playout, which may find its sound ended."""
        audible = self.playout.complete(reply.id) or bool(self.playout.sounding)
        now_s = loop_time_s()
        self._floor.feed(MadeAudible(now_s) if audible else MadeSilent(now_s))

    # Being heard

    def _sound_began(self, response_id: str) -> None:
        now_s = loop_time_s()
        self._floor.feed(SoundBegan(now_s))
        self._notify(OutputBufferStarted(response_id))
        reply = self._replies[response_id]
        if not reply.verbatim:
            # What comes after tools is measured for itself: they take their own time.
            turn = None if reply.rounds else reply.turn
            turn_times, item_id = (turn.times, turn.item_id) if isinstance(turn, Turn) else (None, None)
            self._notify(TurnMeasured(measure(reply.id, item_id, turn_times, reply.times, now_s)))

    def _sound_ended(self, response_id: str) -> None:
        if not self.playout.pending:
            self._floor.feed(SoundEnded(loop_time_s()))
        self._notify(OutputBufferStopped(response_id))

    def _flush(self, told: tuple[str, float] | None) -> None:
        heard = {response_id: self.playout.heard_s(response_id) for response_id in self.playout.sounding}
        if told is not None:
            heard.update([told])
        self.playout.flush()
        for response_id, heard_s in heard.items():
            reply = self._replies[response_id]
            if reply.sound_s:
                self._notify(OutputBufferCleared(response_id))
            self._cut(reply, heard_s)

    def _cut(self, reply: Reply, heard_s: float) -> None:
        """Makes the history say what was heard, and no more."""
        text = reply.heard_text(heard_s)
        reply.cut = True
        reply.say(text)
        reply.item = replace(reply.item, status="incomplete")
        self._history.put(reply.item)
        if reply.opened and not reply.apart:
            self._notify(ItemTruncated(reply.item.id, round(heard_s * 1000), text))

    def _remember(self, reply: Reply) -> None:
        self._replies[reply.id] = reply
        spare = [old for old in self._replies if old not in self.playout.sounding]
        for old in spare[: max(0, len(self._replies) - KEPT_REPLIES)]:
            if old != reply.id:
                del self._replies[old]
