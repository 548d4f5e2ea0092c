"""What the LLM does on the telephone: nobody is cut off in a goodbye, and failures are told to it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from media.items import FunctionCallOutput, Message
from tests.scripted import Calls, ScriptedEngines, ScriptedLlm, ScriptedStt, calls, quiet, speech
from tests.signaling.phone.phone_calls import OUTBOUND, Exchange, ScriptedLeg, run

SALES = {"transfer_targets": [{"name": "sales", "to": "sip:20@PBX.example.org", "description": "orders"}]}


def scripted(*replies: str | Calls, says: tuple[str, ...] = ("that was all",)) -> ScriptedEngines:
    return ScriptedEngines(stt=ScriptedStt(says=says), llm=ScriptedLlm(replies=replies))


def offered(exchange: Exchange) -> list[str]:
    return [tool.name for tool in exchange.engines.llm.requests[-1].tools]


def outputs(exchange: Exchange, call_id: str) -> list[str]:
    items = exchange.calls.session(call_id).conversation.items
    return [item.output for item in items if isinstance(item, FunctionCallOutput)]


async def asked(exchange: Exchange, leg: ScriptedLeg) -> tuple[Any, asyncio.Event]:
    """A call in which the caller has said something, and has waited for half a second."""
    record, over = exchange.take(leg)
    await asyncio.sleep(2)
    await leg.say(speech(1.0), quiet(0.5))
    return record, over


def test_the_goodbye_is_heard_whole_before_the_assistant_hangs_up() -> None:
    async def main(exchange: Exchange) -> None:
        leg = ScriptedLeg()
        record, over = await asked(exchange, leg)
        await over.wait()
        assert leg.ended_s is not None
        assert 0.4 < leg.ended_s - leg.last_sound_s() < 1.0
        assert record.why == "the assistant hung up"

    engines = scripted(calls("hang_up", says="Thank you for calling us. Have a nice day and goodbye."))
    run(main, engines)


def test_the_goodbye_may_be_left_to_the_tool() -> None:
    async def main(exchange: Exchange) -> None:
        leg = ScriptedLeg()
        _, over = await asked(exchange, leg)
        await over.wait()
        assert leg.ended_s is not None
        assert 0.4 < leg.ended_s - leg.last_sound_s() < 1.0

    run(main, scripted(calls("hang_up", '{"goodbye": "Goodbye, and thank you for calling."}')))


@pytest.mark.parametrize(
    "called",
    [
        calls("hang_up", says="Goodbye."),
        calls("hang_up", '{"goodbye": "Goodbye."}'),
        calls("send_digits", '{"digits": "0123456789"}', says="Goodbye."),
    ],
)
def test_nothing_is_said_between_the_goodbye_and_the_end(called: Calls) -> None:
    async def main(exchange: Exchange) -> None:
        leg = ScriptedLeg(party=OUTBOUND)
        record, over = await asked(exchange, leg)
        conversation = exchange.calls.session(record.call_id).conversation
        await leg.say(quiet(4.0))
        said = [item.text for item in conversation.items if isinstance(item, Message) and item.text]
        assert said == ["that was all", "Goodbye."]
        leg.hang_up()
        await over.wait()

    run(
        main,
        scripted(called, ""),
        tools={"filler_after_s": 0.2},
        telephone={"answering_machines": {"detect": False}},
    )


def test_who_speaks_into_the_goodbye_goes_on_talking() -> None:
    async def main(exchange: Exchange) -> None:
        leg = ScriptedLeg()
        record, over = await asked(exchange, leg)
        await leg.say(quiet(0.6), speech(1.2), quiet(3.0))
        assert not over.is_set()
        assert outputs(exchange, record.call_id) == [
            "Error: this was stopped before it brought a result, since the caller went on speaking."
        ]
        leg.hang_up()
        await over.wait()

    run(
        main,
        scripted(
            calls("hang_up", says="Thank you for calling us. Have a nice day and goodbye."),
            "Of course.",
            says=("that was all", "wait one more thing"),
        ),
        interruption={"classify": False},
    )


def test_who_presses_keys_into_the_goodbye_goes_on() -> None:
    async def main(exchange: Exchange) -> None:
        leg = ScriptedLeg()
        record, over = await asked(exchange, leg)
        for digit in "12":
            await leg.say(quiet(1.2))
            leg.press(digit)
        leg.press("#")
        await leg.say(quiet(3.0))
        assert not over.is_set()
        assert outputs(exchange, record.call_id) == [
            "Error: this was stopped before it brought a result, since the caller went on speaking."
        ]
        leg.hang_up()
        await over.wait()

    run(
        main,
        scripted(
            calls("hang_up", says="Thank you for calling us. Have a nice day and goodbye."), "Of course."
        ),
    )


def test_a_caller_is_handed_on() -> None:
    async def main(exchange: Exchange) -> None:
        leg = ScriptedLeg()
        record, over = await asked(exchange, leg)
        await over.wait()
        assert leg.transferred == ["sip:20@pbx.example.org"]
        assert leg.ended_s is not None
        assert record.why == "transferred"

    engines = scripted(calls("transfer_call", '{"target": "sales"}', says="I connect you with sales."))
    run(main, engines, telephone=SALES)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ('{"target": "sales"}', "Error: sales is busy."),
        ('{"target": "the boss"}', "Error: target is one of sales."),
        ("{}", "Error: target is one of sales."),
        ("nonsense", "Error: The arguments are not JSON: Expecting value: line 1 column 1 (char 0)."),
        ("[]", "Error: The arguments are not a JSON object."),
    ],
)
def test_why_a_transfer_failed_is_told_and_the_call_goes_on(arguments: str, sentence: str) -> None:
    async def main(exchange: Exchange) -> None:
        leg = ScriptedLeg(transfer_fails="sales is busy.")
        record, over = await asked(exchange, leg)
        await leg.say(quiet(5.0))
        assert outputs(exchange, record.call_id) == [sentence]
        assert exchange.engines.llm.requests[-1].messages[-1].text == sentence
        assert not over.is_set()
        leg.hang_up()
        await over.wait()

    run(main, scripted(calls("transfer_call", arguments), "Nobody is there."), telephone=SALES)


def test_keys_are_pressed_in_a_call_that_was_placed() -> None:
    async def main(exchange: Exchange) -> None:
        leg = ScriptedLeg(party=OUTBOUND)
        record, over = await asked(exchange, leg)
        await leg.say(quiet(3.0))
        assert leg.digits == ["12#"]
        assert outputs(exchange, record.call_id) == ["The keys 12# were pressed."]
        leg.hang_up()
        await over.wait()

    run(main, scripted(calls("send_digits", '{"digits": "1 2 #"}'), "Done."))


def test_keys_are_pressed_while_a_menu_speaks() -> None:
    async def main(exchange: Exchange) -> None:
        leg = ScriptedLeg(party=OUTBOUND)
        _, over = await asked(exchange, leg)
        await leg.say(quiet(0.3), speech(3.0))
        assert leg.digits == ["1"]
        leg.hang_up()
        await over.wait()

    run(main, scripted(calls("send_digits", '{"digits": "1"}'), "Done.", says=("press one", "or two")))


@pytest.mark.parametrize("goodbye", ["", '{"goodbye": "Goodbye."}'])
def test_a_far_side_that_is_never_quiet_is_hung_up_on(goodbye: str) -> None:
    async def main(exchange: Exchange) -> None:
        leg = ScriptedLeg()
        record, over = await asked(exchange, leg)
        await leg.say(quiet(0.2), speech(36.0))
        assert over.is_set()
        assert record.why == "the assistant hung up"

    run(main, scripted(calls("hang_up", goodbye), says=("that was all", "")))


@pytest.mark.parametrize("digits", ["", "12x", "1" * 65, "１"])
def test_what_no_telephone_has_a_key_for_is_not_pressed(digits: str) -> None:
    async def main(exchange: Exchange) -> None:
        leg = ScriptedLeg(party=OUTBOUND)
        record, over = await asked(exchange, leg)
        await leg.say(quiet(3.0))
        assert leg.digits == []
        assert outputs(exchange, record.call_id)[0].startswith("Error: digits are")
        leg.hang_up()
        await over.wait()

    run(main, scripted(calls("send_digits", f'{{"digits": "{digits}"}}'), "Done."))


@pytest.mark.parametrize(
    ("leg", "telephone", "tools"),
    [
        (ScriptedLeg, {}, ["hang_up"]),
        (ScriptedLeg, SALES, ["hang_up", "transfer_call"]),
        (lambda: ScriptedLeg(party=OUTBOUND), SALES, ["hang_up", "transfer_call", "send_digits"]),
        (lambda: ScriptedLeg(party=OUTBOUND, abilities=frozenset()), SALES, ["hang_up"]),
        (lambda: ScriptedLeg(party=OUTBOUND), {"tools": ["send_digits"]}, ["send_digits"]),
        (ScriptedLeg, {"tools": []}, []),
    ],
)
def test_what_is_offered(leg: Any, telephone: dict[str, Any], tools: list[str]) -> None:
    async def main(exchange: Exchange) -> None:
        answered = leg()
        _, over = await asked(exchange, answered)
        await answered.say(quiet(1.0))
        assert offered(exchange) == tools
        answered.hang_up()
        await over.wait()

    run(main, scripted("Well."), telephone=telephone)


def test_what_is_not_offered_cannot_be_called() -> None:
    async def main(exchange: Exchange) -> None:
        leg = ScriptedLeg()
        record, over = await asked(exchange, leg)
        await leg.say(quiet(3.0))
        assert outputs(exchange, record.call_id) == ["Error: there is no tool 'send_digits'."]
        assert leg.digits == []
        leg.hang_up()
        await over.wait()

    run(main, scripted(calls("send_digits", '{"digits": "1"}'), "Done."))
