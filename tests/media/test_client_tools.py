"""Tools that the client runs: calls are items of a response, outputs are the client's items."""

from __future__ import annotations

from dataclasses import replace

import pytest

from media.conversation_settings import ConversationSettings
from media.engines.protocols import ChatMessage, LlmDelta, ToolCall, ToolCallDelta
from media.errors import CallerError
from media.events import (
    FunctionArgumentsDelta,
    ItemAdded,
    ItemDone,
    OutputBufferStarted,
    OutputBufferStopped,
    OutputItemAdded,
    OutputItemDone,
    OutputPartAdded,
    OutputTextDelta,
    ResponseCreated,
    ResponseDone,
)
from media.items import FunctionCall, FunctionCallOutput, Item, Message, Part, ResponseOptions, Usage
from media.speaking import WritingSettings
from media.tools import Tool
from tests import virtual_time
from tests.scripted import (
    Calls,
    ScriptedEngines,
    ScriptedLlm,
    ScriptedTurnEnd,
    calls,
    quiet,
    speech,
)
from tests.virtual_call import VirtualCall, virtual_call

WEATHER = Tool("get_weather", "Says what the weather is like.", '{"type": "object"}')
BERLIN = '{"city": "Berlin"}'
QUESTION = Message("item_question", "user", (Part("input_text", "How is the weather in Berlin?"),))


def engines_that_say(*replies: str | Calls) -> ScriptedEngines:
    return ScriptedEngines(llm=ScriptedLlm(replies=replies))


def ask(call: VirtualCall, options: ResponseOptions | None = None) -> None:
    call.conversation.add_item(QUESTION)
    call.conversation.create_response(options)


def kinds(items: tuple[Item, ...]) -> list[str]:
    return [type(item).__name__ for item in items]


def test_a_call_is_an_item_of_the_response_and_is_answered() -> None:
    async def main() -> None:
        engines = engines_that_say(calls("get_weather", BERLIN), "It is sunny.")
        async with virtual_call(engines, tools=(WEATHER,)) as call:
            ask(call)
            done = await call.event(ResponseDone)
            (output,) = done.response.output
            assert isinstance(output, FunctionCall)
            assert (output.name, output.arguments, output.status) == ("get_weather", BERLIN, "completed")
            assert output.call_id.startswith("call_"), "not the engine's, which counts anew in each reply"
            assert not output.by_server
            assert done.response.status == "completed"
            assert done.response.usage == Usage(20, 7)
            assert engines.llm.requests[0].tools == (WEATHER,)

            call.conversation.add_item(FunctionCallOutput("item_output", output.call_id, "sunny, 24 degrees"))
            assert len(call.of(ResponseCreated)) == 1, "the client asks for what follows"
            call.conversation.create_response()
            await call.event(OutputBufferStopped)
            assert engines.llm.requests[1].messages == (
                ChatMessage("system", "Be brief."),
                ChatMessage("user", "How is the weather in Berlin?"),
                ChatMessage("assistant", "", (ToolCall(output.call_id, "get_weather", BERLIN),)),
                ChatMessage("tool", "sunny, 24 degrees", call_id=output.call_id),
            )
            assert call.said()[-1] == ("assistant", "It is sunny.")
            assert engines.tts.spoken == ["It is sunny."]

    virtual_time.run(main())


def test_the_events_of_a_call_come_in_the_apis_order() -> None:
    async def main() -> None:
        async with virtual_call(
            engines_that_say(calls("get_weather", BERLIN)), tools=(WEATHER,), modality="text"
        ) as call:
            ask(call)
            await call.event(ResponseDone)
            names = [name for name in call.names() if name != FunctionArgumentsDelta.__name__]
            assert names[2:] == [
                kind.__name__
                for kind in (
                    ResponseCreated,
                    OutputItemAdded,
                    ItemAdded,
                    ItemDone,
                    OutputItemDone,
                    ResponseDone,
                )
            ]
            begun = call.of(OutputItemAdded)[0].item
            assert isinstance(begun, FunctionCall)
            assert (begun.arguments, begun.status) == ("", "in_progress")
            deltas = call.of(FunctionArgumentsDelta)
            assert "".join(event.delta for event in deltas) == BERLIN
            assert len(deltas) == 3
            assert {(event.item_id, event.call_id) for event in deltas} == {(begun.id, begun.call_id)}
            assert call.at_s(FunctionArgumentsDelta) < call.at_s(FunctionArgumentsDelta, 2), "as they come"
            assert not call.of(OutputPartAdded)

    virtual_time.run(main())


def test_what_is_said_before_a_call_is_an_item_before_it() -> None:
    async def main() -> None:
        engines = engines_that_say(calls("get_weather", BERLIN, says="Let me see."), "It is sunny.")
        async with virtual_call(engines, tools=(WEATHER,)) as call:
            ask(call)
            done = await call.event(ResponseDone)
            assert kinds(done.response.output) == ["Message", "FunctionCall"]
            message, output = done.response.output
            order = [event for _, event in call.events if isinstance(event, OutputItemAdded | OutputItemDone)]
            assert [event.item.id for event in order] == [message.id, message.id, output.id, output.id]
            (arguments,) = call.of(FunctionArgumentsDelta)
            assert arguments.delta == BERLIN
            await call.event(OutputBufferStopped)
            assert engines.tts.spoken == ["Let me see."]
            assert isinstance(output, FunctionCall)
            call.conversation.add_item(FunctionCallOutput("item_output", output.call_id, "sunny"))
            call.conversation.create_response()
            await call.event(OutputBufferStopped, 2)
            assert engines.llm.requests[1].messages[2] == ChatMessage(
                "assistant", "Let me see.", (ToolCall(output.call_id, "get_weather", BERLIN),)
            )

    virtual_time.run(main())


def test_words_after_a_call_are_said_too() -> None:
    class Talkative(ScriptedLlm):
        async def reply(self, request):  # type: ignore[no-untyped-def]
            yield LlmDelta("", tool_calls=(ToolCallDelta(0, "", "get_weather", BERLIN),))
            yield LlmDelta("I am looking.")
            yield LlmDelta("", "stop")

    async def main() -> None:
        engines = ScriptedEngines(llm=Talkative())
        async with virtual_call(engines, tools=(WEATHER,)) as call:
            ask(call)
            done = await call.event(ResponseDone)
            assert kinds(done.response.output) == ["FunctionCall", "Message"]
            assert engines.tts.spoken == ["I am looking."]
            output = done.response.output[0]
            assert isinstance(output, FunctionCall)
            assert output.call_id.startswith("call_"), "engines without ids are given one"

    virtual_time.run(main())


def test_several_calls_of_one_response() -> None:
    async def main() -> None:
        twice = Calls((("get_weather", BERLIN), ("get_weather", '{"city": "Rome"}')))
        engines = engines_that_say(twice, "Sunny in both.")
        async with virtual_call(engines, tools=(WEATHER,)) as call:
            ask(call)
            done = await call.event(ResponseDone)
            first, second = done.response.output
            assert isinstance(first, FunctionCall)
            assert isinstance(second, FunctionCall)
            call.conversation.add_item(FunctionCallOutput("o2", second.call_id, "warm"))
            call.conversation.add_item(FunctionCallOutput("o1", first.call_id, "mild"))
            call.conversation.create_response()
            await call.event(OutputBufferStopped)
            asking, *brought = engines.llm.requests[1].messages[2:]
            assert [asked.call_id for asked in asking.tool_calls] == [second.call_id, first.call_id]
            assert [message.text for message in brought] == ["warm", "mild"]

    virtual_time.run(main())


@pytest.mark.parametrize("by_response", [False, True])
def test_one_call_a_response_where_they_may_not_be_parallel(by_response: bool) -> None:
    async def main() -> None:
        twice = Calls((("get_weather", BERLIN), ("get_weather", '{"city": "Rome"}')))
        engines = engines_that_say(twice, "Sunny in Berlin.")
        async with virtual_call(engines, tools=(WEATHER,), parallel_calls=by_response) as call:
            ask(call, ResponseOptions(parallel_calls=False) if by_response else None)
            done = await call.event(ResponseDone)
            (output,) = done.response.output
            assert isinstance(output, FunctionCall)
            assert (output.arguments, output.status) == (BERLIN, "completed")
            assert len(call.of(OutputItemAdded)) == 1
            call.conversation.add_item(FunctionCallOutput("o1", output.call_id, "mild"))
            call.conversation.create_response()
            await call.event(OutputBufferStopped)
            assert call.said()[-1] == ("assistant", "Sunny in Berlin.")

    virtual_time.run(main())


def test_without_tools_a_reply_is_what_it_always_was() -> None:
    async def main() -> None:
        engines = engines_that_say(calls("get_weather", BERLIN, says="I would call something."))
        async with virtual_call(engines) as call:
            call.conversation.create_response()
            assert call.names() == [
                kind.__name__ for kind in (ResponseCreated, OutputItemAdded, ItemAdded, OutputPartAdded)
            ], "the message is there at once"
            done = await call.event(ResponseDone)
            assert kinds(done.response.output) == ["Message"], "who may not call does not call"
            assert engines.llm.requests[0].tools == ()
            assert engines.llm.requests[0].tool_choice == "auto"

    virtual_time.run(main())


@pytest.mark.parametrize("choice", ["none", "auto"])
def test_a_reply_that_could_call_and_does_not(choice: str) -> None:
    async def main() -> None:
        engines = engines_that_say("Hello there.")
        async with virtual_call(engines, tools=(WEATHER,), tool_choice=choice) as call:
            call.conversation.create_response()
            done = await call.event(ResponseDone)
            assert kinds(done.response.output) == ["Message"]
            assert call.said() == [("assistant", "Hello there.")]
            assert (call.of(OutputItemAdded) and not call.of(FunctionArgumentsDelta)) is True
            assert engines.llm.requests[0].tool_choice == choice

    virtual_time.run(main())


def test_a_response_may_have_tools_of_its_own() -> None:
    async def main() -> None:
        engines = engines_that_say("Hello there.")
        async with virtual_call(engines, tools=(WEATHER,)) as call:
            other = replace(WEATHER, name="get_time")
            call.conversation.create_response(
                ResponseOptions(tools=(other,), tool_choice="function:get_time")
            )
            await call.event(ResponseDone)
            request = engines.llm.requests[0]
            assert (request.tools, request.tool_choice) == ((other,), "function:get_time")
            call.conversation.create_response(ResponseOptions(tools=(), tool_choice="required"))
            await call.event(ResponseDone, 2)
            request = engines.llm.requests[1]
            assert (request.tools, request.tool_choice) == ((), "auto")

    virtual_time.run(main())


def test_a_tool_that_is_not_there_cannot_be_demanded() -> None:
    async def main() -> None:
        async with virtual_call(ScriptedEngines(), tools=(WEATHER,)) as call:
            session = call.conversation.session
            for demand in (
                lambda: call.conversation.create_response(ResponseOptions(tool_choice="function:nothing")),
                lambda: call.conversation.update(replace(session, tool_choice="function:nothing")),
            ):
                with pytest.raises(CallerError, match="no tool 'nothing'") as refused:
                    demand()
                assert refused.value.param == "tool_choice"
            assert call.conversation.session == session
            assert not call.of(ResponseCreated)

    virtual_time.run(main())


def test_a_drafted_call_is_told_only_when_the_turn_is_over() -> None:
    async def main() -> None:
        engines = ScriptedEngines(
            turn_end=ScriptedTurnEnd(verdicts=(0.0,)),
            llm=ScriptedLlm(replies=(calls("get_weather", BERLIN),)),
        )
        async with virtual_call(engines, tools=(WEATHER,)) as call:
            await call.say(quiet(0.3), speech(0.8), quiet(1.55))
            assert len(engines.llm.requests) == 1, "it is written already"
            assert not call.of(FunctionArgumentsDelta)
            assert not call.of(OutputItemAdded)
            await call.say(quiet(1.0))
            done = call.of(ResponseDone)[0]
            assert kinds(done.response.output) == ["FunctionCall"]
            assert len(engines.llm.requests) == 1

    virtual_time.run(main())


def test_a_drafted_call_of_a_turn_that_goes_on_never_was() -> None:
    async def main() -> None:
        engines = ScriptedEngines(
            turn_end=ScriptedTurnEnd(verdicts=(0.0,)),
            llm=ScriptedLlm(replies=(calls("get_weather", BERLIN), "In Rome?")),
        )
        async with virtual_call(engines, tools=(WEATHER,)) as call:
            await call.say(quiet(0.3), speech(0.8), quiet(1.2), speech(0.8), quiet(4.0))
            assert not call.of(FunctionArgumentsDelta)
            assert call.said()[-1] == ("assistant", "In Rome?")

    virtual_time.run(main())


def test_a_call_that_is_interrupted_does_not_count() -> None:
    async def main() -> None:
        engines = engines_that_say(calls("get_weather", '{"city": "' + "x" * 400 + '"}'), "Yes?")
        async with virtual_call(engines, tools=(WEATHER,)) as call:
            ask(call)
            await call.event(FunctionArgumentsDelta, 5)
            call.conversation.cancel_response()
            done = await call.event(ResponseDone)
            (output,) = done.response.output
            assert output.status == "incomplete"
            call.conversation.create_response()
            await call.event(ResponseDone, 2)
            assert [message.role for message in engines.llm.requests[1].messages] == ["system", "user"]

    virtual_time.run(main())


def test_arguments_that_the_token_limit_cuts_off() -> None:
    class CutOff(ScriptedLlm):
        async def reply(self, request):  # type: ignore[no-untyped-def]
            yield LlmDelta("", tool_calls=(ToolCallDelta(0, "a", "get_weather", BERLIN),))
            yield LlmDelta("", tool_calls=(ToolCallDelta(1, "b", "get_weather", '{"city": "Ro'),))
            yield LlmDelta("", "length")

    async def main() -> None:
        async with virtual_call(ScriptedEngines(llm=CutOff()), tools=(WEATHER,)) as call:
            ask(call)
            done = await call.event(ResponseDone)
            assert (done.response.status, done.response.reason) == ("incomplete", "max_output_tokens")
            assert [item.status for item in done.response.output] == ["completed", "incomplete"]

    virtual_time.run(main())


def test_a_megabyte_from_the_client_is_shown_in_part() -> None:
    async def main() -> None:
        engines = engines_that_say(calls("get_weather", BERLIN), "That was a lot.")
        settings = ConversationSettings(writing=WritingSettings(history_chars=1000))
        async with virtual_call(engines, settings, tools=(WEATHER,)) as call:
            ask(call)
            done = await call.event(ResponseDone)
            output = done.response.output[0]
            assert isinstance(output, FunctionCall)
            call.conversation.add_item(FunctionCallOutput("o", output.call_id, "x" * 1_000_000))
            call.conversation.create_response()
            await call.event(OutputBufferStarted)
            messages = engines.llm.requests[1].messages
            assert [message.role for message in messages] == ["system", "user", "assistant", "tool"]
            assert sum(len(message.text) for message in messages) < 1000
            assert messages[-1].text.endswith("(cut)")

    virtual_time.run(main())


def test_a_message_of_the_caller_while_the_client_runs_a_tool() -> None:
    async def main() -> None:
        engines = engines_that_say(calls("get_weather", BERLIN), "A moment.", "It is sunny.")
        async with virtual_call(engines, tools=(WEATHER,)) as call:
            ask(call)
            done = await call.event(ResponseDone)
            output = done.response.output[0]
            assert isinstance(output, FunctionCall)
            call.conversation.add_item(Message("item_2", "user", (Part("input_text", "Well?"),)))
            call.conversation.create_response()
            await call.event(OutputBufferStopped)
            roles = [message.role for message in engines.llm.requests[1].messages]
            assert roles == ["system", "user", "assistant", "tool", "user"]
            assert engines.llm.requests[1].messages[3].text == "There is no result yet."
            call.conversation.add_item(FunctionCallOutput("o", output.call_id, "sunny"))
            call.conversation.create_response()
            await call.event(OutputBufferStopped, 2)
            shown = engines.llm.requests[2].messages
            assert [message.role for message in shown] == ["system", "user", "assistant", "tool"]
            assert shown[1].text == "How is the weather in Berlin? Well?"
            assert shown[2].text == "A moment."
            assert call.of(OutputTextDelta)

    virtual_time.run(main())
