"""One call's conversation: the caller's floor and the agent's, joined by a history.

What concerns both is here, all of it, however long: who gives way, what is due an answer, when one is begun.
What concerns one alone has a module of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from media.acknowledgement import is_acknowledgement
from media.agent_floor import MAKING, AgentState
from media.apology import Apology
from media.audio import Audio
from media.clock import loop_time_s, wall_time_s
from media.conversation_settings import ConversationSettings
from media.digits import Digits, KeyedIn
from media.draft import Draft
from media.echo_guard import EchoGuard
from media.effective_session import effective_session
from media.engines.protocols import Engines, Transcript
from media.errors import CallerError, EngineError
from media.events import (
    CallEvent,
    ConversationReset,
    DigitPressed,
    InputCleared,
    ItemAdded,
    ItemDeleted,
    ItemDone,
    OutputBufferStopped,
    SpeechStarted,
    SpeechStopped,
    TranscriptDelta,
)
from media.history import History
from media.inbox import AudioInbox
from media.items import FunctionCallOutput, Item, Message, Part, ResponseOptions, new_id
from media.listening import Listening
from media.overhearing import Overhearing
from media.playout import Playout
from media.recording import Recordings
from media.reply import Reply
from media.session import SessionConfig
from media.silence_watch import SilenceWatch
from media.speaking import Speaking
from media.tool_use import ToolUse
from media.tools import Toolbox
from media.turn import Turn
from media.turn_items import SILENCE_REMARK, TurnItems
from media.yielding import OverlapJudge, Yielding

log = logging.getLogger(__name__)


class Conversation:
    """One call's conversation, whatever carries it.

    Audio comes in through `hear` and goes out through `playout`; text and wishes come in through the other
    methods, all of which are quick and belong on the loop; all that happens is told through `notify`, at
    once and in order.

    Raises:
        CallerError: from the constructor and `update`, where the session asks for what is not there.
    """

    def __init__(
        self,
        engines: Engines,
        settings: ConversationSettings,
        session: SessionConfig,
        notify: Callable[[CallEvent], None],
        overlap_judge: OverlapJudge | None = None,
        toolbox: Toolbox | None = None,
    ) -> None:
        self._engines = engines
        self._toolbox = toolbox
        self._told = notify
        self._interrupt_after_s = settings.interruption.after_s
        self._history = History()
        self._due: dict[str, Turn | KeyedIn] = {}
        """Turns with words, and keys, that no prompt has held yet, or whose reply was stopped unheard; by
        item."""
        self._vad, self._turn_taking = settings.vad, settings.turn_taking
        self._draft: Draft | None = None
        self._session = self._checked(session)
        self._inbox = AudioInbox(settings.audio.input_backlog_s)
        self._listening = Listening(
            engines, settings.vad, settings.turn_taking, self._inbox, self._session, listener=self
        )
        self._speaking = Speaking(
            engines,
            settings.audio,
            settings.streaming,
            settings.writing,
            self._history,
            self._notify,
            made=self._reply_made,
            toolbox=toolbox,
            called=self._tools_called,
        )
        self._yielding = Yielding(
            settings.interruption, overlap_judge, self._listening, self._speaking, stop=self._give_way
        )
        self._echo_guard = EchoGuard() if settings.interruption.echo_guard == "auto" else None
        if self._echo_guard is not None:
            self.playout.sent_to = self._echo_guard.send
        self._silence = SilenceWatch(
            settings.silence, self._is_quiet, self._say, self._go_on_by_itself, hang_up=self.close
        )
        self._tools = ToolUse(
            toolbox,
            settings.tools,
            self._history,
            self._notify,
            quiet=self._is_audibly_quiet,
            say=self._say,
            ended=self._answer_what_is_due,
        )
        self._apology = Apology(
            settings.apology, lambda: self._answers_by_itself and self._is_audibly_quiet(), self._say
        )
        self._digits_interrupt = settings.digits.interrupt
        self._digits = Digits(settings.digits, self._enter_digits)
        self._turn_items = TurnItems(self._history, self._notify)
        self._recordings = Recordings(engines.stt, self._history, self._notify, self._reply_made)
        self._tasks: asyncio.TaskGroup | None = None
        self._closed = asyncio.Event()
        self._news = asyncio.Event()
        """Something was told since it was cleared."""
        self.overhearing: Overhearing | None = None
        """Is told of what is heard, too."""
        self._forgone_ms = -1
        """What was said by then is due no answer."""

    @property
    def playout(self) -> Playout:
        """What the caller hears."""
        return self._speaking.playout

    @property
    def session(self) -> SessionConfig:
        return self._session

    @property
    def items(self) -> tuple[Item, ...]:
        """What was said so far, in order."""
        return self._history.items

    @property
    def voices(self) -> tuple[str, ...]:
        """The names of the voices that a session can have."""
        return tuple(voice.name for voice in self._engines.tts.voices if voice.unavailable is None)

    async def run(self) -> None:
        """Converses until `close`; speaks the greeting first, unless there is a conversation already.

        Owns every task of the call. A caller who cannot be heard any more ends it with an `EngineError` in an
        exception group.
        """
        try:
            async with asyncio.TaskGroup() as self._tasks:
                listening = self._tasks.create_task(self._listening.run(), name="listening")
                if self._session.greeting and self._session.responds and not self._history.items:
                    self.create_response(ResponseOptions(spoken_text=self._session.greeting))
                self._read_ahead()
                self._watch_for_silence()
                await self._closed.wait()
                self._silence.stop()
                self._digits.forget()
                listening.cancel()
                self._tools.drop()
                self._drop_draft()
                self._speaking.stop("client_cancelled")
                self._speaking.cancel_asides()
                self._speaking.read_no_further()
        finally:
            self._tasks = None

    def close(self) -> None:
        """Ends `run`, whatever is under way. May be called twice."""
        self._closed.set()

    def hear(self, audio: Audio) -> None:
        """More of the caller's voice, 16 kHz, in order. Too much of it unread: the oldest is dropped."""
        self._inbox.put(audio)

    @property
    def lacking_samples(self) -> int:
        """How much more audio, in samples at 16 kHz, it takes until there is something to listen to."""
        return self._inbox.lacking_samples

    async def heard_all(self) -> None:
        """Returns when all that was given to `hear` was listened to, but for less than a window of 32 ms.

        For legs whose audio comes faster than it is spoken. Waits for `run` to begin; once that has ended,
        returns at once.
        """
        await self._inbox.all_read()

    def press(self, digit: str) -> None:
        """The caller pressed a key of their telephone: one of `0`-`9`, `*`, `#`, `A`-`D`.

        The keys are gathered, and answered when they are complete.
        """
        if self._tasks is None or self._closed.is_set():
            return
        self._notify(DigitPressed(digit, wall_time_s()))
        if self._digits_interrupt and self._interruptible:
            self._give_way()
        self._digits.press(digit)
        self._silence.look()

    async def until_said(self) -> None:
        """Returns when all that the assistant says was said; whether or not the caller speaks."""
        while self._speaking.state is not AgentState.IDLE:
            await self._next_news()

    async def until_quiet(self, for_s: float) -> None:
        """Returns when for so long nobody has spoken, and nothing was to be heard; tools may be at work."""
        while True:
            while not self._is_silent():
                await self._next_news()
            try:
                async with asyncio.timeout(for_s):
                    while self._is_silent():
                        await self._next_news()
            except TimeoutError:
                return

    def forgo(self) -> None:
        """What was said until now is due no answer."""
        self._due.clear()
        self._forgone_ms = self._listening.heard_ms

    # What a client may ask for

    def update(self, session: SessionConfig) -> None:
        """Replaces the settings; they hold from the next pause, turn or response on.

        Raises:
            CallerError: an unknown voice or language; nothing changed.
        """
        self._session = self._checked(session)
        if session.turn_detection is None:
            self._yielding.dismiss()
        self._listening.configure(self._session)
        self._read_ahead()
        self._watch_for_silence()

    def add_item(self, item: Item, previous_item_id: str | None = None) -> None:
        """Enters an item that was typed, restored, or is a tool's output. It is not answered by itself.

        Raises:
            CallerError: its id is taken, the previous item is unknown, or it is an output of an unknown call.
        """
        if isinstance(item, FunctionCallOutput):
            self._history.require_call(item.call_id)
        before = self._history.add(item, previous_item_id)
        self._notify(ItemAdded(item, before))
        self._notify(ItemDone(item, before))
        if isinstance(item, Message) and item.role == "user":
            self._listening.taken_up()
        self._read_ahead()

    def add_recording(
        self, item: Message, recordings: Mapping[int, Audio], previous_item_id: str | None = None
    ) -> None:
        """Enters a message of the caller's with speech in it, which is transcribed; it is finished then.

        Args:
            item: the message; its parts that are transcribed have no text.
            recordings: the speech of those, by the part's index.
            previous_item_id: the item that it is put after.

        Raises:
            CallerError: as `add_item`, or the call is over.
        """
        if self._tasks is None or self._closed.is_set():
            raise CallerError("the call is not running", code="call_not_running")
        self._recordings.add(self._tasks, self._session, item, recordings, previous_item_id)

    def item(self, item_id: str) -> Item:
        """The item.

        Raises:
            CallerError: there is none of that id.
        """
        return self._history.get(item_id)

    def delete_item(self, item_id: str) -> None:
        """Takes an item out of the history.

        Raises:
            CallerError: there is none of that id.
        """
        self._history.delete(item_id)
        self._notify(ItemDeleted(item_id))
        self._read_ahead()

    def truncate_item(self, item_id: str, audio_end_ms: int) -> None:
        """Cuts a spoken item to what the client says was heard.

        Raises:
            CallerError: no such item, or it is shorter than that.
        """
        self._history.get(item_id, "item_truncate_invalid_item_id")
        self._speaking.truncate(item_id, audio_end_ms)
        self._read_ahead()

    def create_response(self, options: ResponseOptions | None = None) -> None:
        """Answers what is in the history, or what is given, or says given words.

        What was said and has no words yet is waited for. Written ones out of band are made beside others.

        Raises:
            CallerError: a response is being made already, an unknown voice, a tool that must be called and is
                not there, or the call is over.
        """
        self._respond(options or ResponseOptions(), None)

    def cancel_response(self, response_id: str | None = None) -> None:
        """Makes no more of the response; what was made of it is heard out.

        Where no response is named, tools that are at work are stopped, too.

        Raises:
            CallerError: no such response is being made.
        """
        tools_ran = self._tools.running
        if response_id is None:
            self._tools.stop()
        if response_id is not None or not tools_ran or self._speaking.state in MAKING:
            self._speaking.cancel(response_id)

    def clear_output(self) -> None:
        """Falls silent; the history is cut to what was heard."""
        self._speaking.stop("client_cancelled")
        self._listening.taken_up()
        self._read_ahead()

    def commit_input(self) -> None:
        """The caller's turn is over.

        Raises:
            CallerError: nothing was said.
        """
        self._yielding.concede()
        self._listening.commit()

    def clear_input(self) -> None:
        """Throws away what the caller said since the last turn."""
        self._yielding.dismiss()
        self._listening.clear()
        self._notify(InputCleared())

    def reset(self) -> None:
        """Forgets everything that was said."""
        self._speaking.stop("client_cancelled")
        self._speaking.cancel_asides()
        self._due.clear()
        self._tools.drop()
        self._drop_draft()
        self._digits.forget()
        self._yielding.dismiss()
        self._listening.clear()
        for item_id in self._history.clear():
            self._notify(ItemDeleted(item_id))
        self._notify(ConversationReset())
        self._read_ahead()

    # What the caller's floor tells

    def turn_started(self, turn: Turn) -> None:
        self._drop_draft()
        if self._session.turn_detection is not None:
            self._notify(SpeechStarted(turn.item_id, turn.start_ms))

    def voice_heard(self, speech_s: float) -> None:
        if self._interruptible and speech_s >= self._interrupt_after_s:
            self._give_way()

    def is_own_voice(self, window: Audio, probability: float) -> bool:
        if self._echo_guard is None:
            return False
        return self._echo_guard.hear(window, loop_time_s(), loud=self._yielding.hints(probability))

    def window_heard(self, window: Audio, probability: float) -> None:
        if self.overhearing is not None:
            self.overhearing.window_heard(window, probability)
        may_be_own = self._echo_guard is not None and self._echo_guard.suspects
        self._yielding.hear(window, probability, interrupts=self._interruptible, may_be_own=may_be_own)

    def audio_stalled(self) -> None:
        self._yielding.stall()

    def turn_words(self, turn: Turn, delta: str, text: str) -> None:
        if delta and self._session.transcribe:
            self._notify(TranscriptDelta(turn.item_id, delta))
        if self.overhearing is not None:
            self.overhearing.words_heard(turn.item_id, text)
        # The latest words, settled or not: settled ones may begin with what was misheard at first.
        self._read_ahead(Message(turn.item_id, "user", (Part("input_audio", text),)))

    def turn_guessed(self, turn: Turn, transcript: Transcript) -> None:
        if self.overhearing is not None:
            self.overhearing.words_heard(turn.item_id, transcript.text)
        answers = self._answers_by_itself and self._turn_taking.answer_early
        idle = self._speaking.state is AgentState.IDLE and not (
            self._history.transcribing or self._tools.running
        )
        if transcript.text and answers and idle and self._tasks is not None and not self._closed.is_set():
            self._drop_draft()
            guess = Message(turn.item_id, "user", (Part("input_audio", transcript.text),))
            items = (*self._history.items, guess)
            self._draft = self._speaking.draft(self._tasks, self._session, items)

    def turn_resumed(self, turn: Turn) -> None:
        self._drop_draft()

    def turn_ended(self, turn: Turn) -> None:
        if self._session.turn_detection is not None:
            self._notify(SpeechStopped(turn.item_id, turn.end_ms))
        self._turn_items.enter(turn.item_id)

    def turn_transcribed(self, turn: Turn, transcript: Transcript) -> None:
        self._turn_items.transcribed(self._session, turn.item_id, transcript)
        if self.overhearing is not None:
            self.overhearing.words_heard(turn.item_id, transcript.text)
        if transcript.text and turn.end_ms > self._forgone_ms:
            self._due[turn.item_id] = turn
            if self._answers_by_itself and self._interruptible and not is_acknowledgement(transcript.text):
                # What the tools at work would bring is no longer what the caller wants, or not all of it.
                self._tools.stop()
        self._answer_what_is_due()

    def turn_failed(self, turn: Turn, error: EngineError) -> None:
        self._turn_items.failed(self._session, turn.item_id, error)
        self._apology.owe()
        self._answer_what_is_due()

    def turn_dropped(self, turn: Turn) -> None:
        log.debug("a turn was cleared", extra={"item_id": turn.item_id})
        self._answer_what_is_due()
        self._silence.look()
        self._tools.look()

    def _enter_digits(self, digits: str) -> None:
        """What was keyed in, complete, becomes an item, and is due an answer as a turn is."""
        said = Message(new_id("item"), "user", (Part("input_text", f"I pressed {digits} on the keypad."),))
        self.add_item(said)
        self._due[said.id] = KeyedIn(said.id)
        if self._answers_by_itself and self._interruptible:
            self._tools.stop()
        self._answer_what_is_due()

    @property
    def _answers_by_itself(self) -> bool:
        detection = self._session.turn_detection
        return self._session.responds and detection is not None and detection.create_response

    @property
    def _interruptible(self) -> bool:
        detection = self._session.turn_detection
        return detection is not None and detection.interrupt_response

    def _give_way(self) -> None:
        """Falls silent for good; what was to be answered and was not heard yet is due again."""
        if self._speaking.state is AgentState.IDLE:
            return
        for turn in self._speaking.stop("turn_detected"):
            self._due.setdefault(turn.item_id, turn)
        self._read_ahead()

    def _reply_made(self) -> None:
        self._answer_what_is_due()
        self._read_ahead()
        self._silence.look()
        self._tools.look()

    def _tools_called(self, reply: Reply) -> None:
        if self._tasks is not None and not self._closed.is_set():
            self._tools.begin(self._tasks, reply)

    def _read_ahead(self, *guess: Item) -> None:
        """Lets the LLM read what is new while it has time: the answer then begins that much sooner."""
        wanted = self._session.responds and not self._closed.is_set()
        if wanted and self._tasks is not None and self._draft is None:
            self._speaking.read_ahead(self._tasks, self._session, guess)

    def _answer_what_is_due(self) -> None:
        """Answers the caller's turns that wait for it, and makes something of what tools brought, once nobody
        speaks, nothing is still transcribed and no tool is at work.

        A turn without words (a cough) is due no answer; those that it came in the way of are.
        """
        if self._closed.is_set() or self._is_taken or self._speaking.state in MAKING:
            return
        if self._tools.running:
            self._apology.look()
        elif self._due and self._answers_by_itself:
            self._respond(ResponseOptions(), list(self._due.values())[-1])
        elif self._session.responds and (follow_up := self._tools.follow_up):
            self._respond(follow_up.options, follow_up.turn, follow_up.rounds)
        else:
            self._apology.look()

    def _is_quiet(self) -> bool:
        """Nobody speaks and nothing is to be answered, in a call whose turns we take care of."""
        watched = self._session.turn_detection is not None and self._session.responds
        return watched and not self._due and not self._tools.running and self._is_silent()

    def _is_silent(self) -> bool:
        """Nobody speaks, and nothing is to be heard."""
        return (
            self._tasks is not None
            and not self._closed.is_set()
            and self._speaking.state is AgentState.IDLE
            and not self._is_taken  # asked last: it looks through the history, and we are asked at each event
        )

    @property
    def _is_taken(self) -> bool:
        """Whether the floor is the caller's: they speak, are pressing keys, or what they said is still
        transcribed. Where the client ends turns, nobody knows when they speak."""
        speaking = self._session.turn_detection is not None and self._listening.speaking
        return speaking or self._digits.pending or self._history.transcribing

    def _is_audibly_quiet(self) -> bool:
        return self._session.modality == "audio" and self._is_silent()

    def _say(self, sentence: str) -> None:
        self.create_response(ResponseOptions(spoken_text=sentence))

    def _watch_for_silence(self) -> None:
        detection = self._session.turn_detection
        self._silence.watch(idle_timeout_s=detection.idle_timeout_s if detection else None)

    def _go_on_by_itself(self, idle_timeout_s: float) -> None:
        self._turn_items.enter_silence(idle_timeout_s, self._listening.heard_ms)
        self.create_response(ResponseOptions(remark=SILENCE_REMARK))

    def _notify(self, event: CallEvent) -> None:
        self._told(event)
        self._news.set()
        self._silence.note(event)
        self._apology.note(event)
        self._tools.look()
        if isinstance(event, OutputBufferStopped):
            self._listening.taken_up()
            self._apology.look()

    def _drop_draft(self) -> None:
        draft, self._draft = self._draft, None
        if draft is not None:
            draft.drop()

    def _respond(self, options: ResponseOptions, turn: Turn | KeyedIn | None, rounds: int = 0) -> None:
        if self._tasks is None or self._closed.is_set():
            raise CallerError("the call is not running", code="call_not_running")
        if not self._session.responds:
            raise CallerError("this session transcribes; nothing is answered", code="session_cannot_respond")
        session = self._session
        if options.voice is not None:
            session = self._checked(replace(session, voice=options.voice))
        answers_all = options.conversation == "auto" and options.input is None
        # Not one that says given words, as fillers do, nor what tools brought for something said before.
        answers_caller = options.conversation == "auto" and options.spoken_text is None and not rounds
        heard = partial(self._everything_heard, answers_all) if self._history.transcribing else None
        draft = None
        if answers_all:
            draft, self._draft = self._draft, None
        self._speaking.ask(self._tasks, session, options, turn, draft, heard, rounds)
        if answers_caller:
            self._apology.answered()
        if answers_all and options.spoken_text is None:
            self._due.clear()
            self._tools.answered()

    async def _everything_heard(self, answers_all: bool) -> None:
        """Returns once all that was said has its words. Whoever waited answers it, if it `answers_all`."""
        while self._history.transcribing:
            await self._next_news()
        if answers_all:
            self._due.clear()

    async def _next_news(self) -> None:
        self._news.clear()
        await self._news.wait()

    def _checked(self, session: SessionConfig) -> SessionConfig:
        """The session as it will be, if these engines can serve it."""
        in_server = self._toolbox.tools if self._toolbox is not None else ()
        return effective_session(session, self._engines, self._vad, self._turn_taking, in_server)
