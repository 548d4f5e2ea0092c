"""Tools of the server that the caller, or the client, no longer wants."""

from __future__ import annotations

import asyncio

import pytest

from media.errors import CallerError
from media.events import FunctionArgumentsDelta, ResponseDone
from media.tool_runs import STOPPED
from tests import virtual_time
from tests.media.tool_scripts import BERLIN, QUESTION, kinds, outputs, scripted, settings
from tests.scripted import ScriptedToolbox, ScriptedTurnEnd, calls, quiet, speech
from tests.virtual_call import virtual_call


def test_who_wants_something_else_stops_the_tool() -> None:
    async def main() -> None:
        engines = scripted(
            calls("get_weather", BERLIN), "In Rome, then.", says=("weather in Berlin", "no, in Rome")
        )
        toolbox = ScriptedToolbox(takes_s=10.0)
        async with virtual_call(engines, toolbox=toolbox) as call:
            await call.say(*QUESTION, speech(0.8), quiet(2.0))
            assert toolbox.cancelled == ["get_weather"]
            assert engines.tts.spoken == ["In Rome, then."]
            shown = engines.llm.requests[1].messages
            assert [message.role for message in shown] == ["system", "user", "assistant", "tool", "user"]
            assert (shown[3].text, shown[4].text) == (STOPPED, "no, in Rome")
            await call.say(quiet(12.0))
            assert len(engines.llm.requests) == 2

    virtual_time.run(main())


@pytest.mark.parametrize("says", ["Okay.", "Mm-hm, thank you.", ""])
def test_who_only_says_okay_or_coughs_gets_the_answer(says: str) -> None:
    async def main() -> None:
        engines = scripted(calls("get_weather", BERLIN), "It is sunny.", says=("weather in Berlin", says))
        toolbox = ScriptedToolbox(takes_s=6.0)
        async with virtual_call(engines, toolbox=toolbox) as call:
            await call.say(*QUESTION, quiet(2.0), speech(0.5), quiet(6.0))
            assert toolbox.cancelled == []
            assert outputs(call) == ["sunny"]
            assert call.said()[-1] == ("assistant", "It is sunny.")
            assert len(engines.llm.requests) == 2

    virtual_time.run(main())


def test_talking_over_the_filler_silences_it_and_the_tool_if_words_come_of_it() -> None:
    async def main() -> None:
        engines = scripted(
            calls("get_weather", BERLIN), "All right.", says=("weather in Berlin", "never mind")
        )
        filled = settings(fillers=("One moment please while I am looking that up for you.",))
        toolbox = ScriptedToolbox(takes_s=30.0)
        async with virtual_call(engines, filled, toolbox=toolbox) as call:
            await call.say(*QUESTION, quiet(1.2), speech(1.0))
            assert call.of(ResponseDone)[-1].response.output
            await call.say(quiet(3.0))
            assert toolbox.cancelled == ["get_weather"]
            assert call.said()[-1] == ("assistant", "All right.")

    virtual_time.run(main())


def test_a_reply_that_is_interrupted_calls_nothing() -> None:
    async def main() -> None:
        engines = scripted(
            calls("get_weather", BERLIN, says="Let me see. " * 40), "Yes?", says=("weather", "wait")
        )
        toolbox = ScriptedToolbox()
        async with virtual_call(engines, toolbox=toolbox) as call:
            await call.say(*QUESTION, speech(0.8), quiet(2.0))
            assert toolbox.called == []
            assert "FunctionCall" not in kinds(call)

    virtual_time.run(main())


def test_a_draft_runs_no_tool_until_it_is_the_answer() -> None:
    async def main() -> None:
        engines = scripted(calls("get_weather", BERLIN), "It is sunny.")
        engines.turn_end = ScriptedTurnEnd(verdicts=(0.0,))
        toolbox = ScriptedToolbox()
        async with virtual_call(engines, toolbox=toolbox) as call:
            await call.say(quiet(0.3), speech(0.8), quiet(1.55))
            assert len(engines.llm.requests) == 1
            assert toolbox.called == []
            assert not call.of(FunctionArgumentsDelta)
            await call.say(quiet(2.0))
            assert len(toolbox.called) == 1
            assert call.said()[-1] == ("assistant", "It is sunny.")

    virtual_time.run(main())


def test_a_draft_that_is_not_used_runs_no_tool() -> None:
    async def main() -> None:
        engines = scripted(calls("get_weather", BERLIN), "In Rome?")
        engines.turn_end = ScriptedTurnEnd(verdicts=(0.0,))
        toolbox = ScriptedToolbox()
        async with virtual_call(engines, toolbox=toolbox) as call:
            await call.say(quiet(0.3), speech(0.8), quiet(1.2), speech(0.8), quiet(4.0))
            assert toolbox.called == []
            assert call.said()[-1] == ("assistant", "In Rome?")

    virtual_time.run(main())


def test_cancelling_stops_the_tools() -> None:
    async def main() -> None:
        engines = scripted(calls("get_weather", BERLIN), "It is sunny.")
        toolbox = ScriptedToolbox(takes_s=5.0)
        async with virtual_call(engines, toolbox=toolbox) as call:
            await call.say(*QUESTION)
            with pytest.raises(CallerError):
                call.conversation.cancel_response("resp_other")
            call.conversation.cancel_response()
            assert outputs(call) == [STOPPED]
            with pytest.raises(CallerError, match=r"^Cancellation failed"):
                call.conversation.cancel_response()
            await call.say(quiet(8.0))
            assert toolbox.cancelled == ["get_weather"]
            assert len(engines.llm.requests) == 1

    virtual_time.run(main())


def test_a_reset_forgets_the_tools() -> None:
    async def main() -> None:
        engines = scripted(calls("get_weather", BERLIN), "It is sunny.")
        toolbox = ScriptedToolbox(takes_s=5.0)
        async with virtual_call(engines, toolbox=toolbox) as call:
            await call.say(*QUESTION)
            call.conversation.reset()
            await call.say(quiet(8.0))
            assert toolbox.cancelled == ["get_weather"]
            assert call.conversation.items == ()

    virtual_time.run(main())


@pytest.mark.parametrize("pause_s", [0.0, 0.3, 1.3, 2.3, 4.0])
def test_closing_in_the_middle_of_a_tool_ends_everything(pause_s: float) -> None:
    async def main() -> None:
        engines = scripted(calls("get_weather", BERLIN), "It is sunny.")
        async with virtual_call(engines, toolbox=ScriptedToolbox(takes_s=3.0)) as call:
            await call.say(*QUESTION, quiet(pause_s))
            closed_s = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - closed_s < 0.1

    virtual_time.run(main())
