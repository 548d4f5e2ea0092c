"""Tools that the server runs: what they bring, what is said meanwhile, and what happens if they misbehave."""

from __future__ import annotations

import pytest

from media.engines.protocols import ChatMessage
from media.errors import CallerError, ToolError
from media.events import (
    ItemAdded,
    OutputBufferStarted,
    OutputBufferStopped,
    ResponseCreated,
    ResponseDone,
    SpeechStopped,
    TurnMeasured,
)
from media.items import FunctionCall, FunctionCallOutput, Message, Part, ResponseOptions
from media.tools import Tool
from tests import virtual_time
from tests.media.tool_scripts import BERLIN, QUESTION, kinds, outputs, scripted, settings
from tests.scripted import Calls, ScriptedToolbox, calls, quiet, speech
from tests.virtual_call import virtual_call


def test_a_tool_is_run_and_its_output_answered_without_anybodys_asking() -> None:
    async def main() -> None:
        engines = scripted(calls("get_weather", BERLIN), "It is sunny.")
        toolbox = ScriptedToolbox()
        async with virtual_call(engines, toolbox=toolbox) as call:
            await call.say(*QUESTION)
            await call.event(OutputBufferStopped)
            assert toolbox.called == [("get_weather", BERLIN)]
            assert engines.llm.requests[0].tools == toolbox.tools
            assert [message.role for message in engines.llm.requests[1].messages] == [
                "system",
                "user",
                "assistant",
                "tool",
            ]
            asking, brought = engines.llm.requests[1].messages[2:]
            assert brought == ChatMessage("tool", "sunny", call_id=asking.tool_calls[0].call_id)
            assert kinds(call) == ["Message", "FunctionCall", "FunctionCallOutput", "Message"]
            assert call.said()[-1] == ("assistant", "It is sunny.")
            assert [event.response.status for event in call.of(ResponseDone)] == ["completed", "completed"]
            assert all(item.by_server for item in call.conversation.items if not isinstance(item, Message))
            # The tool took 0.2 s; nothing else was waited for.
            assert call.at_s(ResponseCreated, 1) - call.at_s(ResponseDone) == pytest.approx(0.2, abs=0.01)
            (measured,) = call.of(TurnMeasured)
            assert measured.latency.item_id is None, "tools take their own time"
            assert measured.latency.total_ms < 300

    virtual_time.run(main())


def test_calls_of_one_response_run_together() -> None:
    async def main() -> None:
        both = Calls((("get_weather", BERLIN), ("get_time", "{}")))
        engines = scripted(both, "Sunny, at noon.")
        toolbox = ScriptedToolbox({"get_weather": "sunny", "get_time": "noon"})
        async with virtual_call(engines, toolbox=toolbox) as call:
            await call.say(*QUESTION)
            await call.event(OutputBufferStopped)
            assert call.at_s(ResponseCreated, 1) - call.at_s(ResponseDone) == pytest.approx(0.2, abs=0.01)
            asking, *brought = engines.llm.requests[1].messages[2:]
            assert [asked.name for asked in asking.tool_calls] == ["get_weather", "get_time"]
            assert [message.text for message in brought] == ["sunny", "noon"]

    virtual_time.run(main())


def test_one_round_after_the_other() -> None:
    async def main() -> None:
        engines = scripted(calls("get_city"), calls("get_weather", BERLIN), "It is sunny in Berlin.")
        toolbox = ScriptedToolbox({"get_city": "Berlin", "get_weather": "sunny"})
        async with virtual_call(engines, toolbox=toolbox) as call:
            await call.say(*QUESTION)
            await call.event(OutputBufferStopped)
            roles = [message.role for message in engines.llm.requests[2].messages]
            assert roles == ["system", "user", "assistant", "tool", "assistant", "tool"]
            assert engines.llm.requests[2].messages[:4] == engines.llm.requests[1].messages

    virtual_time.run(main())


def test_a_model_that_calls_for_ever_has_to_speak_in_the_end() -> None:
    async def main() -> None:
        engines = scripted(calls("get_weather", BERLIN))
        toolbox = ScriptedToolbox()
        async with virtual_call(engines, settings(max_rounds=3), toolbox=toolbox) as call:
            await call.say(*QUESTION, quiet(5.0))
            choices = [request.tool_choice for request in engines.llm.requests]
            assert choices == ["auto", "auto", "auto", "none"]
            assert len(toolbox.called) == 3
            assert all(request.tools for request in engines.llm.requests), "what was read stays read"
            # Asked again, it may call again.
            await call.say(speech(0.8), quiet(0.8))
            assert len(toolbox.called) > 3

    virtual_time.run(main())


def test_a_tool_that_must_be_called_need_not_be_called_twice() -> None:
    async def main() -> None:
        engines = scripted(calls("get_weather", BERLIN), "It is sunny.")
        async with virtual_call(engines, toolbox=ScriptedToolbox()) as call:
            call.conversation.create_response(
                ResponseOptions(instructions="Be a poet.", tool_choice="function:get_weather")
            )
            await call.event(OutputBufferStopped)
            choices = [request.tool_choice for request in engines.llm.requests]
            assert choices == ["function:get_weather", "auto"]
            assert [request.messages[0].text for request in engines.llm.requests] == ["Be a poet."] * 2

    virtual_time.run(main())


def test_something_is_said_while_a_slow_tool_is_at_work() -> None:
    async def main() -> None:
        engines = scripted(calls("get_weather", BERLIN), "It is sunny.")
        filled = settings(fillers=("One moment.", "Still at it."), filler_after_s=1.0, filler_again_s=4.0)
        async with virtual_call(engines, filled, toolbox=ScriptedToolbox(takes_s=7.0)) as call:
            await call.say(*QUESTION)
            await call.event(OutputBufferStopped, 3)
            assert engines.tts.spoken == ["One moment.", "Still at it.", "It is sunny."]
            called_s = call.at_s(ResponseDone)
            assert call.at_s(ResponseCreated, 1) - called_s == pytest.approx(1.0, abs=0.02)
            assert call.at_s(ResponseCreated, 2) - call.at_s(OutputBufferStopped) == pytest.approx(
                4, abs=0.02
            )
            # What was said meanwhile is said with the call, before the output.
            *_, asking, brought = engines.llm.requests[1].messages
            assert (asking.role, asking.text) == ("assistant", "One moment. Still at it.")
            assert asking.tool_calls
            assert brought.text == "sunny"
            assert [text for role, text in call.said() if role == "assistant"] == engines.tts.spoken

    virtual_time.run(main())


def test_a_quick_tool_is_waited_for_in_silence() -> None:
    async def main() -> None:
        engines = scripted(calls("get_weather", BERLIN), "It is sunny.")
        async with virtual_call(engines, toolbox=ScriptedToolbox(takes_s=0.9)) as call:
            await call.say(*QUESTION)
            await call.event(OutputBufferStopped)
            assert engines.tts.spoken == ["It is sunny."]

    virtual_time.run(main())


def test_what_was_said_before_the_call_is_heard_out_before_more_is_said() -> None:
    async def main() -> None:
        engines = scripted(calls("get_weather", BERLIN, says="Let me look at that."), "Sunny.")
        async with virtual_call(engines, toolbox=ScriptedToolbox(takes_s=4.5)) as call:
            await call.say(*QUESTION)
            await call.event(OutputBufferStopped, 3)
            assert engines.tts.spoken == ["Let me look at that.", "One moment, please.", "Sunny."]
            gap_s = call.at_s(ResponseCreated, 1) - call.at_s(OutputBufferStopped)
            assert gap_s == pytest.approx(1.0, abs=0.02)

    virtual_time.run(main())


def test_a_tool_that_is_done_while_something_is_said_is_answered_after_it() -> None:
    async def main() -> None:
        engines = scripted(calls("get_weather", BERLIN), "It is sunny.")
        async with virtual_call(engines, toolbox=ScriptedToolbox(takes_s=1.05)) as call:
            await call.say(*QUESTION)
            await call.event(OutputBufferStopped, 2)
            assert engines.tts.spoken == ["One moment, please.", "It is sunny."]
            began_s = call.at_s(OutputBufferStarted, 1)
            assert began_s - call.at_s(OutputBufferStopped) < 0.05, "without a gap"

    virtual_time.run(main())


def test_nothing_is_said_meanwhile_where_replies_are_written() -> None:
    async def main() -> None:
        engines = scripted(calls("get_weather", BERLIN), "It is sunny.")
        async with virtual_call(engines, toolbox=ScriptedToolbox(takes_s=5.0), modality="text") as call:
            call.conversation.create_response()
            await call.event(ResponseDone, 2)
            assert [text for _, text in call.said()] == ["It is sunny."]

    virtual_time.run(main())


def test_nobody_is_spoken_over() -> None:
    async def main() -> None:
        engines = scripted(calls("get_weather", BERLIN), "It is sunny.", says=("how is the weather", "okay"))
        async with virtual_call(engines, toolbox=ScriptedToolbox(takes_s=1.5)) as call:
            await call.say(*QUESTION)
            await call.say(speech(3.0), quiet(2.0))
            spoken_at_s = call.at_s(OutputBufferStarted)
            assert spoken_at_s > call.at_s(SpeechStopped, 1), (
                "neither filler nor answer while the caller speaks"
            )
            assert engines.tts.spoken == ["It is sunny."]

    virtual_time.run(main())


@pytest.mark.parametrize(
    ("brings", "told"),
    [
        (ToolError("the city is unknown"), "Error: the city is unknown"),
        ("x" * 1_000_000, "x" * 292 + " … (cut)"),
        ("", ""),
    ],
)
def test_a_tool_that_misbehaves_is_told_to_the_llm(brings: str | ToolError, told: str) -> None:
    async def main() -> None:
        engines = scripted(calls("get_weather", BERLIN), "Sorry.")
        toolbox = ScriptedToolbox({"get_weather": brings})
        async with virtual_call(engines, settings(max_output_chars=300), toolbox=toolbox) as call:
            await call.say(*QUESTION)
            await call.event(OutputBufferStopped)
            assert outputs(call) == [told]
            assert engines.llm.requests[1].messages[-1].text == told
            assert call.said()[-1] == ("assistant", "Sorry.")

    virtual_time.run(main())


def test_a_tool_that_hangs_is_given_up() -> None:
    async def main() -> None:
        engines = scripted(calls("get_weather", BERLIN), "Sorry.")
        toolbox = ScriptedToolbox(takes_s=1e6)
        async with virtual_call(engines, settings(timeout_s=3), toolbox=toolbox) as call:
            await call.say(*QUESTION)
            await call.event(OutputBufferStopped, 2)
            assert outputs(call) == ["Error: get_weather brought nothing within 3 seconds."]
            assert toolbox.cancelled == ["get_weather"]
            assert call.said()[-1] == ("assistant", "Sorry.")

    virtual_time.run(main())


@pytest.mark.parametrize("has_toolbox", [True, False])
def test_a_tool_that_the_llm_imagined(has_toolbox: bool) -> None:
    async def main() -> None:
        engines = scripted(calls("get_rich"), "I cannot.")
        toolbox = ScriptedToolbox() if has_toolbox else None
        mine = (Tool("other", "", "{}"),)
        async with virtual_call(engines, toolbox=toolbox, tools=mine) as call:
            await call.say(*QUESTION)
            await call.event(OutputBufferStopped)
            assert outputs(call) == ["Error: there is no tool 'get_rich'."]
            assert call.said()[-1] == ("assistant", "I cannot.")

    virtual_time.run(main())


def test_a_client_tool_of_the_same_name_is_the_clients() -> None:
    async def main() -> None:
        engines = scripted(calls("get_weather", BERLIN))
        toolbox = ScriptedToolbox()
        mine = Tool("get_weather", "Mine.", "{}")
        async with virtual_call(engines, toolbox=toolbox, tools=(mine,)) as call:
            await call.say(*QUESTION, quiet(2.0))
            assert engines.llm.requests[0].tools == (mine,)
            assert toolbox.called == []
            assert len(engines.llm.requests) == 1

    virtual_time.run(main())


def test_a_client_tool_beside_a_server_tool_is_answered_by_the_client() -> None:
    async def main() -> None:
        both = Calls((("get_weather", BERLIN), ("show_map", "{}")))
        engines = scripted(both, "Here it is.")
        async with virtual_call(
            engines, toolbox=ScriptedToolbox(), tools=(Tool("show_map", "", "{}"),)
        ) as call:
            await call.say(*QUESTION, quiet(2.0))
            assert outputs(call) == ["sunny"]
            assert len(engines.llm.requests) == 1, "the client's output is missing"
            mine = next(
                item
                for item in call.conversation.items
                if isinstance(item, FunctionCall) and not item.by_server
            )
            call.conversation.add_item(FunctionCallOutput("o", mine.call_id, "shown"))
            call.conversation.create_response()
            await call.event(OutputBufferStopped)
            assert len(engines.llm.requests) == 2
            assert len(engines.llm.requests[1].messages[2].tool_calls) == 2

    virtual_time.run(main())


def test_manual_turns_are_followed_up_too() -> None:
    async def main() -> None:
        engines = scripted(calls("get_weather", BERLIN), "It is sunny.")
        async with virtual_call(engines, toolbox=ScriptedToolbox(), turn_detection=None) as call:
            await call.say(quiet(0.2), speech(1.0))
            call.conversation.commit_input()
            await call.say(quiet(0.5))
            call.conversation.create_response()
            await call.say(quiet(3.0))
            assert call.said()[-1] == ("assistant", "It is sunny.")

    virtual_time.run(main())


def test_a_typed_question_while_a_tool_is_at_work_is_answered_at_once() -> None:
    async def main() -> None:
        engines = scripted(calls("get_weather", BERLIN), "I am still looking.", "It is sunny.")
        async with virtual_call(engines, toolbox=ScriptedToolbox(takes_s=3.0), modality="text") as call:
            call.conversation.add_item(Message("q1", "user", (Part("input_text", "Weather?"),)))
            call.conversation.create_response()
            await call.event(ResponseDone)
            call.conversation.add_item(Message("q2", "user", (Part("input_text", "Well?"),)))
            call.conversation.create_response()
            await call.event(ResponseDone, 3)
            assert [message.role for message in engines.llm.requests[2].messages] == [
                "system",
                "user",
                "assistant",
                "tool",
            ]
            texts = [text for _, text in call.said()]
            assert texts == ["Weather?", "Well?", "I am still looking.", "It is sunny."]
            assert len(call.of(ItemAdded)) == 6

    virtual_time.run(main())


def test_out_of_band_and_own_input_have_no_server_tools() -> None:
    async def main() -> None:
        engines = scripted("Fine.")
        async with virtual_call(engines, toolbox=ScriptedToolbox()) as call:
            for count, options in enumerate(
                (
                    ResponseOptions(conversation="none"),
                    ResponseOptions(input=(Message("q", "user", (Part("input_text", "Hi"),)),)),
                    ResponseOptions(tools=()),
                ),
                start=1,
            ):
                call.conversation.create_response(options)
                await call.event(ResponseDone, count)
            assert [request.tools for request in engines.llm.requests] == [()] * 3

    virtual_time.run(main())


def test_a_server_tool_that_a_response_does_not_have_cannot_be_required() -> None:
    async def main() -> None:
        engines = scripted("Fine.")
        toolbox = ScriptedToolbox()
        choice = f"function:{toolbox.tools[0].name}"
        async with virtual_call(engines, toolbox=toolbox) as call:
            for options in (
                ResponseOptions(conversation="none", tool_choice=choice),
                ResponseOptions(input=(), tool_choice=choice),
            ):
                with pytest.raises(CallerError, match="no tool") as refused:
                    call.conversation.create_response(options)
                assert refused.value.param == "tool_choice"
            call.conversation.create_response(ResponseOptions(tool_choice=choice))
            await call.event(ResponseDone)
            assert [request.tool_choice for request in engines.llm.requests] == [choice]

    virtual_time.run(main())
