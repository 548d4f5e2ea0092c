"""What the LLM reads while nobody waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from media.clock import loop_time_s
from media.conversation_settings import ConversationSettings
from media.engines.protocols import ChatMessage, LlmDelta, LlmRequest
from media.errors import EngineError
from media.events import OutputBufferStarted, OutputBufferStopped, ResponseDone, TranscriptDelta
from media.items import Message, Part
from media.speaking import WritingSettings
from tests.scripted import ScriptedEngines, ScriptedLlm, ScriptedStt, speech
from tests.virtual_call import virtual_call
from tests.virtual_time import run


def texts(request: LlmRequest) -> list[str]:
    return [message.text for message in request.messages]


def test_a_calls_beginning_is_read_while_it_is_greeted() -> None:
    async def main() -> None:
        engines = ScriptedEngines()
        async with virtual_call(engines, greeting="Hello!") as call:
            await call.event(ResponseDone)
            await call.event(OutputBufferStarted)
        assert texts(engines.llm.read_ahead[-1]) == ["Be brief.", "Hello!"]
        assert not engines.llm.requests

    run(main())


def test_after_a_turn_everything_but_the_next_words_was_read() -> None:
    async def main() -> None:
        engines = ScriptedEngines(stt=ScriptedStt(says=("one two three", "four five six")))
        async with virtual_call(engines) as call:
            for turn in (1, 2):
                await call.say(speech(1.6))
                await call.listen()
                await call.event(OutputBufferStopped, turn)
        answer = texts(engines.llm.requests[-1])
        read = [texts(ahead) for ahead in engines.llm.read_ahead]
        assert answer == ["Be brief.", "one two three", "Hello there. How are you?", "four five six"]
        assert answer[:-1] in read
        assert [*answer[:-1], "four five"] in read
        everything = (*engines.llm.requests, *engines.llm.read_ahead)
        assert len({asked.conversation for asked in everything}) == 1

    run(main())


def test_what_is_read_of_a_turn_is_read_once_and_stays_read() -> None:
    async def main() -> None:
        engines = ScriptedEngines(stt=ScriptedStt(says=("one two three four",)))
        async with virtual_call(engines) as call:
            await call.say(speech(1.9))
            assert [texts(ahead) for ahead in engines.llm.read_ahead] == [
                ["Be brief."],
                ["Be brief.", "one"],
                ["Be brief.", "one two"],
                ["Be brief.", "one two three"],
            ]

    run(main())


def test_what_is_cut_is_read_again_before_it_is_asked() -> None:
    async def main() -> None:
        engines = ScriptedEngines(llm=ScriptedLlm(replies=("a " * 30 + "end.", "Yes.")))
        async with virtual_call(engines) as call:
            await call.say(speech(1.0))
            await call.listen()
            await call.event(OutputBufferStarted)
            before = len(engines.llm.read_ahead)
            call.conversation.clear_output()
            await call.say(speech(0.02))
            cut = engines.llm.read_ahead[before:]
            heard = call.said()[-1][1]
        assert [texts(asked)[-1] for asked in cut][-1] == (heard or "hello")

    run(main())


def test_a_full_conversation_is_compacted_after_the_answer_and_read_at_once() -> None:
    async def main() -> None:
        engines = ScriptedEngines()
        settings = ConversationSettings(writing=WritingSettings(history_chars=200))
        async with virtual_call(engines, settings, modality="text") as call:
            for turn in range(12):
                part = Part("input_text", f"question {turn} of a dozen")
                call.conversation.add_item(Message(f"item_{turn}", "user", (part,)))
                call.conversation.create_response()
                await call.event(ResponseDone, turn + 1)
                await call.listen()
        for asked in engines.llm.requests[1:]:
            *read, question = asked.messages
            assert question == ChatMessage("user", question.text)
            assert tuple(read) in {ahead.messages for ahead in engines.llm.read_ahead}
        assert len({texts(asked)[1] for asked in engines.llm.requests}) > 2

    run(main())


def test_the_200th_question_is_read_as_soon_as_the_second() -> None:
    """An answer is broken off soon after it is heard, and the next question follows at once."""

    class Reader(ScriptedLlm):
        """Reads 300 characters a second. What it read last stays read, wherever it moves."""

        def __init__(self) -> None:
            super().__init__(replies=("Some answer that is long enough to be broken off. " * 4,))
            self.read: tuple[ChatMessage, ...] = ()
            self.waits_s: list[float] = []

        async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmDelta, None]:
            start_s, before = loop_time_s(), self.read
            for at, message in enumerate(request.messages, 1):
                if message not in before:
                    await asyncio.sleep(len(message.text) / 300)
                self.read = request.messages[:at]
            if request.max_tokens:
                self.waits_s.append(loop_time_s() - start_s)
            async for delta in super().reply(request):
                yield delta

    async def main() -> None:
        llm = Reader()
        async with virtual_call(ScriptedEngines(llm=llm)) as call:
            for turn in range(200):
                part = Part(
                    "input_text", f"What would you say about {turn:03} {'to somebody ' * (turn % 7)}?"
                )
                call.conversation.add_item(Message(f"item_{turn}", "user", (part,)))
                call.conversation.create_response()
                await call.event(OutputBufferStarted, turn + 1)
                await asyncio.sleep(0.4)
                call.conversation.clear_output()
                await asyncio.sleep(0.3)
            everything = sum(len(text) for _, text in call.said())
        assert everything > 3 * WritingSettings().history_chars
        # A question's own words, and what of the last answer is new since it was cut.
        assert max(llm.waits_s[1:20]) < 0.4
        assert max(llm.waits_s[-19:]) < 0.4
        assert max(llm.waits_s) < 0.5

    run(main())


def test_a_call_ends_while_it_is_read() -> None:
    class Busy(ScriptedLlm):
        async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmDelta, None]:
            await asyncio.sleep(3600)
            yield LlmDelta("", "length")

    async def main() -> None:
        async with virtual_call(ScriptedEngines(llm=Busy())) as call:
            await call.say(speech(0.1))
        assert loop_time_s() < 10

    run(main())


def test_an_engine_that_cannot_read_ahead_does_no_harm() -> None:
    class Forgetful(ScriptedLlm):
        async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmDelta, None]:
            if request.max_tokens == 0:
                raise EngineError("no cache here")
            async for delta in super().reply(request):
                yield delta

    async def main() -> None:
        engines = ScriptedEngines(llm=Forgetful())
        async with virtual_call(engines) as call:
            await call.say(speech(1.0))
            await call.listen()
            await call.event(ResponseDone)
            assert call.of(TranscriptDelta)
        assert call.done_texts("assistant") == ["Hello there. How are you?"]

    run(main())
