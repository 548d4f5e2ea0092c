"""Keys of a telephone: gathered, answered like a turn, and an interruption."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from media.conversation_settings import ConversationSettings
from media.digits import DigitSettings
from media.events import DigitPressed, ItemAdded, ItemTruncated, OutputBufferStopped, ResponseCreated
from media.items import ResponseOptions
from media.session import TurnDetection
from tests import virtual_time
from tests.media.tool_scripts import BERLIN
from tests.scripted import (
    Calls,
    ScriptedEngines,
    ScriptedLlm,
    ScriptedStt,
    ScriptedToolbox,
    calls,
    quiet,
    speech,
)
from tests.virtual_call import VirtualCall, virtual_call

LONG = "One two three four five six seven eight nine ten eleven twelve thirteen."


def scripted(*replies: str | Calls, says: tuple[str, ...] = ("hello",)) -> ScriptedEngines:
    return ScriptedEngines(llm=ScriptedLlm(replies=replies), stt=ScriptedStt(says=says))


def settings(**digits: Any) -> ConversationSettings:
    return ConversationSettings(digits=DigitSettings(**digits))


def keyed(call: VirtualCall) -> list[str]:
    return [text for role, text in call.said() if role == "user"]


def press(call: VirtualCall, digits: str) -> None:
    for digit in digits:
        call.conversation.press(digit)


def test_a_pause_ends_what_is_keyed_in() -> None:
    async def main() -> None:
        async with virtual_call(scripted("Thanks."), settings(pause_s=2.0)) as call:
            for digit in "42":
                call.conversation.press(digit)
                await asyncio.sleep(1.5)
            assert not keyed(call)
            await call.event(OutputBufferStopped)
            assert keyed(call) == ["I pressed 42 on the keypad."]
            assert call.at_s(ItemAdded) - call.at_s(DigitPressed, 1) == pytest.approx(2.0, abs=0.01)
            assert [event.digit for event in call.of(DigitPressed)] == ["4", "2"]

    virtual_time.run(main())


@pytest.mark.parametrize(
    ("pressed", "options", "entered"),
    [
        ("12#", {}, ["12"]),
        ("1#2#", {}, ["1", "2"]),
        ("#", {}, ["#"]),
        ("1*2", {"end": "*"}, ["1", "2"]),
        ("1#", {"end": ""}, ["1#"]),
        ("12345", {"most": 2}, ["12", "34", "5"]),
    ],
)
def test_when_it_is_complete(pressed: str, options: dict[str, Any], entered: list[str]) -> None:
    async def main() -> None:
        async with virtual_call(scripted("Thanks."), settings(**options)) as call:
            press(call, pressed)
            await asyncio.sleep(5)
            assert keyed(call) == [f"I pressed {digits} on the keypad." for digits in entered]
            assert len(call.of(ResponseCreated)) >= 1

    virtual_time.run(main())


@pytest.mark.parametrize("interrupt", [True, False])
def test_a_key_interrupts_if_it_is_to(interrupt: bool) -> None:
    async def main() -> None:
        async with virtual_call(scripted("Thanks."), settings(interrupt=interrupt)) as call:
            call.conversation.create_response(ResponseOptions(spoken_text=LONG))
            await asyncio.sleep(1)
            press(call, "1#")
            await asyncio.sleep(0.1)
            assert bool(call.of(ItemTruncated)) == interrupt
            await asyncio.sleep(10)
            assert call.said()[-1] == ("assistant", "Thanks.")

    virtual_time.run(main())


def test_a_session_that_is_not_to_be_interrupted_is_not() -> None:
    async def main() -> None:
        detection = TurnDetection(interrupt_response=False)
        async with virtual_call(scripted("Thanks."), turn_detection=detection) as call:
            call.conversation.create_response(ResponseOptions(spoken_text=LONG))
            await asyncio.sleep(1)
            press(call, "1#")
            await asyncio.sleep(10)
            assert not call.of(ItemTruncated)
            assert call.said()[-1] == ("assistant", "Thanks.")

    virtual_time.run(main())


@pytest.mark.parametrize("detection", [None, TurnDetection(create_response=False)])
def test_a_client_that_answers_itself_is_told(detection: TurnDetection | None) -> None:
    async def main() -> None:
        async with virtual_call(scripted("Thanks."), turn_detection=detection) as call:
            press(call, "1#")
            await asyncio.sleep(5)
            assert keyed(call) == ["I pressed 1 on the keypad."]
            assert not call.of(ResponseCreated)

    virtual_time.run(main())


def test_keys_and_words_are_answered_together() -> None:
    async def main() -> None:
        engines = scripted("Thanks.", says=("my number is",))
        async with virtual_call(engines) as call:
            await call.say(speech(0.5))
            press(call, "7#")
            await call.say(speech(0.5), quiet(3))
            (request,) = engines.llm.requests
            said = [message.text for message in request.messages if message.role == "user"]
            words = sorted(" ".join(said).split())
            assert words == ["7", "I", "is", "keypad.", "my", "number", "on", "pressed", "the"]

    virtual_time.run(main())


def test_a_key_stops_a_tool_at_work() -> None:
    async def main() -> None:
        toolbox = ScriptedToolbox(takes_s=10)
        engines = scripted(calls("get_weather", BERLIN), "All right.")
        async with virtual_call(engines, toolbox=toolbox) as call:
            await call.say(quiet(0.3), speech(0.8), quiet(1.0))
            assert toolbox.called
            press(call, "0#")
            await asyncio.sleep(3)
            assert call.said()[-1] == ("assistant", "All right.")

    virtual_time.run(main())


def test_keys_are_answered_though_a_cough_came_in_the_way_of_it() -> None:
    async def main() -> None:
        engines = scripted("Thank you for the number.", "You are welcome.", says=("",))
        async with virtual_call(engines) as call:
            press(call, "1#")
            await call.say(speech(0.8), quiet(4))
            assert len(call.of(ResponseCreated)) == 2
            assert call.said()[-1] == ("assistant", "You are welcome.")

    virtual_time.run(main())


def test_who_is_still_pressing_keys_is_let_finish() -> None:
    async def main() -> None:
        engines = scripted("Thanks.", says=("my number is",))
        async with virtual_call(engines) as call:
            await call.say(speech(0.5), quiet(0.2))
            press(call, "1")
            await call.say(quiet(2))
            assert not call.of(ResponseCreated)
            press(call, "2#")
            await call.say(quiet(2))
            assert len(call.of(ResponseCreated)) == 1
            assert call.said()[-1] == ("assistant", "Thanks.")

    virtual_time.run(main())


def test_what_was_keyed_in_is_forgotten_with_the_rest() -> None:
    async def main() -> None:
        async with virtual_call(scripted("Thanks.")) as call:
            press(call, "12")
            call.conversation.reset()
            await asyncio.sleep(5)
            assert not keyed(call)
            press(call, "3")

    virtual_time.run(main())
