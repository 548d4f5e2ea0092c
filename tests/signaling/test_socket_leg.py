"""Audio over sockets, in virtual time: bursts are heard in time, nothing is lost, nothing hangs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import virtual_time
from scripted import ScriptedEngines, ScriptedLlm, ScriptedStt, ScriptedTts, quiet, speech
from virtual_call import SESSION

from media.audio import SPEECH_RATE_HZ, Audio, concatenate
from media.clock import loop_time_s
from media.conversation import Conversation
from media.conversation_settings import ConversationSettings
from media.errors import CallerError
from media.events import (
    CallEvent,
    InputCommitted,
    ItemTruncated,
    OutputAudioDelta,
    OutputBufferStarted,
    OutputBufferStopped,
    ResponseCreated,
    ResponseDone,
    SpeechStarted,
    TranscriptCompleted,
)
from media.overlap import OverlapScores
from media.playout import AudioSettings
from media.resampler import resample
from media.yielding import OverlapJudge
from signaling.outbox import MAX_WAITING_CHARS, Outbox
from signaling.socket_call import (
    CLIENT_GONE,
    FAILED,
    HUNG_UP,
    NOT_BEGUN,
    NOT_READING,
    OVER,
    Ending,
    SocketCall,
)
from signaling.socket_leg import AHEAD_S, LATE_S, MAX_UNHEARD_S, HearingSchedule, SocketLeg


class Client:
    """The far end of a socket: what it sends and what it was sent."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[str | None] = asyncio.Queue()
        self.received: list[str] = []
        self.closed: Ending | None = None
        self.reads = asyncio.Event()
        self.reads.set()

    async def receive(self) -> str | None:
        return await self.messages.get()

    async def send(self, text: str) -> None:
        await self.reads.wait()
        self.received.append(text)

    async def close(self, ending: Ending) -> None:
        self.closed = ending


class Call:
    """A conversation over a socket, its events and when they were."""

    def __init__(
        self,
        engines: ScriptedEngines,
        begin_limit_s: float | None = None,
        judge: OverlapJudge | None = None,
        settings: ConversationSettings | None = None,
        **session: Any,
    ) -> None:
        self.events: list[tuple[float, CallEvent]] = []
        self.client = Client()
        self.texts: list[str] = []
        self._news = asyncio.Event()
        self.conversation = Conversation(
            engines.engines(),
            settings or ConversationSettings(),
            replace(SESSION, **session),
            self._note,
            judge,
        )
        self.leg = SocketLeg(self.conversation)
        self.outbox = Outbox(lambda: self.call.end(NOT_READING))
        self.call = SocketCall(
            "rtc_1",
            self.client,
            self.conversation,
            self.leg,
            self.outbox,
            self._take,
            begin_limit_s=begin_limit_s,
        )

    async def _take(self, text: str) -> None:
        self.texts.append(text)

    def _note(self, event: CallEvent) -> None:
        self.events.append((loop_time_s(), event))
        self._news.set()

    async def event(self, kind: type[Any], count: int = 1) -> tuple[float, Any]:
        async with asyncio.timeout(60):
            while len(found := [pair for pair in self.events if isinstance(pair[1], kind)]) < count:
                self._news.clear()
                await self._news.wait()
        return found[count - 1]


@asynccontextmanager
async def calling(engines: ScriptedEngines | None = None, **options: Any) -> AsyncIterator[Call]:
    call = Call(engines or ScriptedEngines(), **options)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(call.call.run())
        await asyncio.sleep(0.001)
        yield call
        call.call.hang_up()
        await running
    assert call.client.closed is not None


def in_virtual_time(test: Callable[[], Any]) -> None:
    async def main() -> None:
        async with asyncio.timeout(3600):
            await test()

    virtual_time.run(main())


def test_a_schedule_makes_nobody_wait_who_speaks_in_real_time() -> None:
    schedule = HearingSchedule()
    for number in range(100):
        now_s = 50 + number * 0.1
        assert schedule.arrived(now_s, 0.1) <= now_s


def test_what_was_held_up_is_made_good_at_once() -> None:
    schedule = HearingSchedule()
    assert schedule.arrived(0.0, 0.1) <= 0
    assert [schedule.arrived(0.9, 0.1) <= 0.9 for _ in range(9)] == [True] * 9


def test_a_clock_that_is_fast_adds_up_to_no_delay() -> None:
    schedule = HearingSchedule()
    delays_s = [schedule.arrived(now_s := number * 0.02 / 1.01, 0.02) - now_s for number in range(100_000)]
    assert max(delays_s) <= 0


def test_a_file_is_due_as_if_it_had_been_read_out() -> None:
    schedule = HearingSchedule()
    first_s, second_s = schedule.arrived(0.0, 11.0), schedule.arrived(0.0, 1.0)
    assert first_s == pytest.approx(-LATE_S - AHEAD_S)
    assert second_s - first_s == pytest.approx(10.0)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000, 48_000])
def test_a_file_sent_at_once_is_heard_whole(rate_hz: int) -> None:
    """Two turns with the silence between them: both are heard, and answered in their time."""

    async def test() -> None:
        stt = ScriptedStt(says=("one", "two"))
        async with calling(ScriptedEngines(stt=stt)) as call:
            said = [speech(2.0), quiet(8.0), speech(2.0), quiet(2.0)]
            call.leg.hear(resample(concatenate(said, SPEECH_RATE_HZ), rate_hz))
            first_s, _ = await call.event(TranscriptCompleted)
            second_s, second = await call.event(TranscriptCompleted, 2)
            assert 8 < second_s - first_s < 10
            assert second.transcript == "two"
            assert stt.sessions[0].pushed_s > 2.0
            assert stt.sessions[1].pushed_s > 2.0

    in_virtual_time(test)


def test_audio_in_real_time_is_heard_as_it_comes() -> None:
    async def test() -> None:
        async with calling() as call:
            for _ in range(10):
                call.leg.hear(speech(0.1))
                await asyncio.sleep(0.1)
            heard_s, _ = await call.event(SpeechStarted)
            assert heard_s < 0.35

    in_virtual_time(test)


def test_without_turn_detection_all_is_heard_at_once() -> None:
    async def test() -> None:
        stt = ScriptedStt(says=("a long story",))
        async with calling(ScriptedEngines(stt=stt), turn_detection=None) as call:
            call.leg.hear(speech(60.0))
            await call.leg.heard_all()
            call.conversation.commit_input()
            done_s, _ = await call.event(TranscriptCompleted)
            assert done_s < 1
            assert stt.sessions[0].pushed_s == pytest.approx(60.0, abs=0.04)

    in_virtual_time(test)


def test_a_commit_hurries_what_waits() -> None:
    async def test() -> None:
        stt = ScriptedStt(says=("a long story",))
        async with calling(ScriptedEngines(stt=stt)) as call:
            call.leg.hear(speech(20.0))
            await call.leg.heard_all()
            call.conversation.commit_input()
            committed_s, _ = await call.event(InputCommitted)
            assert committed_s < 1
            # What comes afterwards is heard in its own time again.
            call.leg.hear(concatenate([quiet(3.0), speech(1.0), quiet(1.0)], SPEECH_RATE_HZ))
            again_s, _ = await call.event(SpeechStarted, 2)
            assert again_s - committed_s > 1

    in_virtual_time(test)


def test_what_is_committed_ends_with_a_whole_window() -> None:
    """Not one sample of a turn is heard in the next one."""

    async def test() -> None:
        stt = ScriptedStt(says=("one", "two"))
        async with calling(ScriptedEngines(stt=stt), turn_detection=None) as call:
            for number in (1, 2):
                call.leg.hear(resample(speech(0.333), 24_000))
                await call.leg.heard_all()
                call.conversation.commit_input()
                await call.event(TranscriptCompleted, number)
            assert [session.pushed_s for session in stt.sessions] == [pytest.approx(0.352)] * 2

    in_virtual_time(test)


def test_what_was_forgotten_is_not_heard() -> None:
    async def test() -> None:
        async with calling() as call:
            call.leg.hear(concatenate([quiet(5.0), speech(5.0)], SPEECH_RATE_HZ))
            await asyncio.sleep(1.0)
            call.leg.forget()
            await call.leg.heard_all()
            await asyncio.sleep(10.0)
            assert not any(isinstance(event, SpeechStarted) for _, event in call.events)

    in_virtual_time(test)


def test_too_much_is_refused_and_the_rest_is_heard() -> None:
    async def test() -> None:
        async with calling() as call:
            call.leg.hear(quiet(MAX_UNHEARD_S - 1))
            with pytest.raises(CallerError) as refused:
                call.leg.hear(quiet(2.0))
            assert refused.value.code == "input_audio_buffer_full"
            call.leg.hear(quiet(1.0))
            await asyncio.sleep(10.0)
            call.leg.hear(quiet(8.0))

    in_virtual_time(test)


def test_a_client_that_falls_silent_hangs_nothing() -> None:
    """It sends nothing between its turns, and nothing after its last word."""

    async def test() -> None:
        engines = ScriptedEngines(stt=ScriptedStt(says=("one", "two")), tts=ScriptedTts(word_s=0.1))
        async with calling(engines) as call:
            call.leg.hear(speech(1.0))
            await call.event(OutputBufferStopped)
            await asyncio.sleep(600)
            call.leg.hear(speech(1.0))
            await call.event(OutputBufferStopped, 2)

    in_virtual_time(test)


def test_audio_goes_out_as_it_is_made_and_is_heard_in_its_time() -> None:
    async def test() -> None:
        engines = ScriptedEngines(llm=ScriptedLlm(replies=("One two three four five six seven eight.",)))
        async with calling(engines) as call:
            call.conversation.create_response()
            made_s, _ = await call.event(OutputAudioDelta)
            done_s, _ = await call.event(ResponseDone)
            made = [event for _, event in call.events if isinstance(event, OutputAudioDelta)]
            sound_s = sum(event.audio.duration_s for event in made)
            began_s, _ = await call.event(OutputBufferStarted)
            ended_s, _ = await call.event(OutputBufferStopped)
            assert sound_s > 2
            assert done_s - made_s < 0.5
            assert ended_s - began_s == pytest.approx(sound_s, abs=0.05)

    in_virtual_time(test)


def test_an_interruption_cuts_to_what_was_heard() -> None:
    async def test() -> None:
        words = "one two three four five six seven eight nine ten"
        engines = ScriptedEngines(llm=ScriptedLlm(replies=(f"{words}.", "Yes.")))
        async with calling(engines) as call:
            call.conversation.create_response()
            await call.event(OutputBufferStarted)
            await asyncio.sleep(1.0)
            for _ in range(10):
                call.leg.hear(speech(0.1))
                await asyncio.sleep(0.1)
            _, cut = await call.event(ItemTruncated)
            assert 1000 < cut.audio_end_ms < 1500
            assert words.startswith(cut.heard_text)
            assert cut.heard_text

    in_virtual_time(test)


def test_a_noise_over_the_voice_changes_nothing_of_what_counts_as_heard() -> None:
    """The client goes on playing: so does the playout that stands for it."""

    class Noise:
        def judge(self, sound: Audio, speech: Sequence[float], /) -> OverlapScores:
            sure = min(0.45, 0.04 * sum(probability > 0.5 for probability in speech))
            return OverlapScores(0.5 - sure, 0.0, 0.5 + sure)

    async def test() -> None:
        engines = ScriptedEngines(llm=ScriptedLlm(replies=("One two three four five six seven eight.",)))
        async with calling(engines, judge=Noise()) as call:
            call.conversation.create_response()
            began_s, _ = await call.event(OutputBufferStarted)
            for piece in [quiet(0.1)] * 5 + [speech(0.1)] * 5 + [quiet(0.1)] * 10:
                call.leg.hear(piece)
                await asyncio.sleep(0.1)
            ended_s, _ = await call.event(OutputBufferStopped)
            assert ended_s - began_s == pytest.approx(8 * 0.3, abs=0.05)
            assert not any(isinstance(event, ItemTruncated) for _, event in call.events)

    in_virtual_time(test)


def test_the_gain_is_in_what_is_sent() -> None:
    async def test() -> None:
        levels: list[float] = []
        for gain_db in (0.0, -6.0):
            settings = ConversationSettings(audio=AudioSettings(output_gain_db=gain_db))
            async with calling(settings=settings) as call:
                call.conversation.create_response()
                _, delta = await call.event(OutputAudioDelta)
                levels.append(delta.audio.level_dbfs())
        assert levels[1] - levels[0] == pytest.approx(-6.0, abs=0.1)

    in_virtual_time(test)


def test_who_does_not_read_is_ended() -> None:
    async def test() -> None:
        async with calling() as call:
            call.client.reads.clear()
            for _ in range(5):
                call.outbox.put("x" * (MAX_WAITING_CHARS // 4))
                await asyncio.sleep(0)
            call.outbox.put("x" * (MAX_WAITING_CHARS // 4))
        assert call.client.closed == NOT_READING

    in_virtual_time(test)


def test_the_ends_of_a_call() -> None:
    async def test() -> None:
        async with calling() as call:
            call.client.messages.put_nowait("hello")
            call.client.messages.put_nowait(None)
            await asyncio.sleep(1)
        assert (call.client.closed, call.texts) == (CLIENT_GONE, ["hello"])

        async with calling() as call:
            call.outbox.put("farewell")
            call.call.hang_up()
        assert (call.client.closed, call.client.received) == (HUNG_UP, ["farewell"])

        async with calling() as call:
            call.conversation.close()
            await asyncio.sleep(1)
        assert call.client.closed == OVER

    in_virtual_time(test)


def test_a_conversation_may_wait_for_its_client() -> None:
    async def test() -> None:
        async with calling(greeting="Hello!", begin_limit_s=20.0) as call:
            await asyncio.sleep(10)
            assert not call.events
            await call.call.begin()
            assert [type(event) for _, event in call.events][:1] == [ResponseCreated]

        async with calling(greeting="Hello!", begin_limit_s=20.0) as call:
            await asyncio.sleep(21)
        assert (call.client.closed, call.events) == (NOT_BEGUN, [])

        call = Call(ScriptedEngines(), greeting="Hello!")
        call.call.hang_up()
        await call.call.run()
        assert (call.client.closed, call.events) == (HUNG_UP, [])

    in_virtual_time(test)


def test_a_conversation_that_fails_is_told() -> None:
    async def test() -> None:
        engines = ScriptedEngines()

        async def fails(window: Audio) -> float:
            raise CallerError("no ears")

        engines.vad.push = fails  # type: ignore[method-assign]
        call = Call(engines)
        call.leg.hear(speech(1.0))
        with pytest.raises(ExceptionGroup):
            await call.call.run()
        assert call.client.closed == FAILED

    in_virtual_time(test)


def test_samples_come_through_unchanged_but_for_their_rate() -> None:
    """In pieces and bursts of any size, the conversation hears what a whole conversion gives."""

    async def test() -> None:
        t = np.arange(24_000 * 3) / 24_000
        tone = Audio((8000 * np.sin(2 * np.pi * 300 * t)).astype(np.int16), 24_000)
        async with calling(turn_detection=None) as call:
            heard: list[Audio] = []
            hear = call.conversation.hear
            call.conversation.hear = lambda audio: (heard.append(audio), hear(audio))[1]  # type: ignore[method-assign]
            start = 0
            for size in (1, 7, 480, 4801, 11, 30_000, 100_000):
                call.leg.hear(Audio(tone.samples[start : start + size], 24_000))
                start += size
            await call.leg.heard_all()
        whole = resample(tone, SPEECH_RATE_HZ).as_int16()
        given = concatenate(heard, SPEECH_RATE_HZ).as_int16()
        assert np.array_equal(given[: len(whole)], whole)
        assert not np.count_nonzero(given[len(whole) :])

    in_virtual_time(test)
