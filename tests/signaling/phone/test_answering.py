"""Calls that were placed, and who answered: a person, a machine, or nobody that says a word."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pytest

from media.audio import SPEECH_RATE_HZ, Audio
from media.items import Message
from signaling.phone.record import CallRecord
from signaling.realtime_session_objects import SessionUpdate
from tests.scripted import ScriptedEngines, ScriptedLlm, ScriptedStt, quiet, speech
from tests.signaling.phone.phone_calls import OUTBOUND, Exchange, ScriptedDialler, ScriptedLeg, run

GREETING = "Good morning, this is the bakery."


def engines(*says: str) -> ScriptedEngines:
    return ScriptedEngines(stt=ScriptedStt(says=says), llm=ScriptedLlm(replies=("Well, it is me.",)))


def beep(duration_s: float = 0.4) -> Audio:
    t = np.arange(round(duration_s * SPEECH_RATE_HZ)) / SPEECH_RATE_HZ
    # Quiet enough for the scripted ear to take it for silence.
    return Audio((0.05 * np.sin(2 * np.pi * 1000 * t)).astype(np.float32), SPEECH_RATE_HZ)


class Call:
    """A call that was answered just now."""

    def __init__(self, exchange: Exchange, leg: ScriptedLeg, record: CallRecord) -> None:
        self.exchange, self.leg, self.record = exchange, leg, record
        self.events = exchange.joined(record.call_id)
        self.conversation = exchange.calls.session(record.call_id).conversation
        session = '{"type": "session.update", "session": {"include": ["vk.call.answered_by"]}}'
        exchange.calls.session(record.call_id).receive(session)

    def told(self) -> list[str]:
        return [event["answered_by"] for event in self.events if event["type"] == "vk.call.answered_by"]

    def said(self) -> list[tuple[str, str]]:
        return [(item.role, item.text) for item in self.conversation.items if isinstance(item, Message)]


async def answered(exchange: Exchange, **options: Any) -> Call:
    leg = ScriptedLeg(party=OUTBOUND)
    dialler = ScriptedDialler(leg, rings_s=0.5, answers_s=1.0)
    given = {name: options.pop(name) for name in ("greeting",) if name in options}
    update = SessionUpdate.model_validate(given)
    record = exchange.starter.place(dialler, "+4930999", None, update, options)
    call = Call(exchange, leg, record)
    await asyncio.sleep(1.02)
    assert record.state == "answered"
    return call


TELEPHONE = {"telephone": {"allowed_destinations": ["+49*"]}}


def test_a_person_is_greeted_once_they_said_hello() -> None:
    async def main(exchange: Exchange) -> None:
        call = await answered(exchange, greeting=GREETING)
        await call.leg.say(quiet(0.5), speech(0.6), quiet(4.0))
        assert call.told() == ["human"]
        assert call.record.answered_by == "human"
        hello_ended_s = call.leg.answered_s + 1.1
        assert 0.7 < call.leg.first_sound_s() - hello_ended_s < 1.5
        await call.leg.say(quiet(3.0))
        assert call.said() == [("user", "hello"), ("assistant", GREETING)], "one answer to one hello"
        # From now on it is a call like any other.
        await call.leg.say(speech(1.0), quiet(3.0))
        assert call.said()[-1] == ("assistant", "Well, it is me.")
        call.leg.hang_up()

    run(main, engines("hello", "who is there"), **TELEPHONE)


def test_without_a_greeting_the_llm_answers_the_hello() -> None:
    async def main(exchange: Exchange) -> None:
        call = await answered(exchange)
        await call.leg.say(quiet(0.5), speech(0.6), quiet(4.0))
        assert call.said() == [("user", "hello"), ("assistant", "Well, it is me.")]
        call.leg.hang_up()

    run(main, engines("hello"), **TELEPHONE)


@pytest.mark.parametrize("greeting", ["", GREETING])
def test_who_says_nothing_is_spoken_to(greeting: str) -> None:
    async def main(exchange: Exchange) -> None:
        call = await answered(exchange, greeting=greeting)
        await call.leg.say(quiet(8.0))
        assert call.told() == ["uncertain"]
        assert 4.0 <= call.leg.first_sound_s() - call.leg.answered_s < 5.0
        assert call.said()[-1] == ("assistant", greeting or "Well, it is me.")
        call.leg.hang_up()

    run(main, engines("hello"), **TELEPHONE)


def test_who_was_answered_for_a_client_that_joined_is_not_greeted_besides() -> None:
    async def main(exchange: Exchange) -> None:
        call = await answered(exchange, greeting=GREETING)
        session = {"audio": {"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 300}}}}
        update = json.dumps({"type": "session.update", "session": session})
        exchange.calls.session(call.record.call_id).receive(update)
        await call.leg.say(quiet(0.5), speech(0.6), quiet(4.0))
        assert call.told() == ["human"]
        assert call.said() == [("user", "hello"), ("assistant", "Well, it is me.")]
        call.leg.hang_up()

    run(main, engines("hello"), **TELEPHONE)


def test_a_machine_is_hung_up() -> None:
    async def main(exchange: Exchange) -> None:
        call = await answered(exchange, greeting=GREETING)
        await call.leg.say(quiet(0.5), speech(3.0), quiet(2.0))
        assert call.told() == ["machine"]
        await exchange.host.until_nobody_calls()
        assert call.record.why == "an answering machine answered"
        assert not [level for _, level in call.leg.levels if level > -45], "not a word"

    run(main, engines("you have reached the bakery please leave a message"), **TELEPHONE)


def test_who_talks_on_and_on_is_a_machine_whatever_they_say() -> None:
    async def main(exchange: Exchange) -> None:
        call = await answered(exchange)
        await call.leg.say(speech(7.0))
        assert call.told() == ["machine"]
        await exchange.host.until_nobody_calls()

    run(main, engines("la la la la la la la la la la la la la la la"), **TELEPHONE)


@pytest.mark.parametrize(("message", "heard"), [("Call me back.", "Call me back."), ("", "Well, it is me.")])
def test_a_message_is_left_after_the_beep(message: str, heard: str) -> None:
    async def main(exchange: Exchange) -> None:
        call = await answered(exchange, then="message", message=message)
        await call.leg.say(quiet(0.5), speech(3.0), quiet(1.0))
        assert call.told() == ["machine"]
        assert not [level for _, level in call.leg.levels if level > -45]
        beeped_s = asyncio.get_running_loop().time()
        await call.leg.say(beep(), quiet(1.5))
        assert 0.4 < call.leg.first_sound_s() - beeped_s < 1.0
        await exchange.host.until_nobody_calls()
        assert call.said()[-1] == ("assistant", heard)
        assert call.record.why == "a message was left"
        assert call.leg.ended_s is not None
        assert call.leg.ended_s - call.leg.last_sound_s() > 0.4

    run(main, engines("leave a message after the tone"), **TELEPHONE)


def test_a_machine_that_does_not_beep_is_spoken_to_when_it_is_silent() -> None:
    async def main(exchange: Exchange) -> None:
        call = await answered(exchange, then="message", message="Call me back.")
        await call.leg.say(quiet(0.5), speech(3.0), quiet(6.0))
        ended_s = call.leg.answered_s + 3.5
        assert 2.4 < call.leg.first_sound_s() - ended_s < 3.3
        await exchange.host.until_nobody_calls()

    run(main, engines("leave a message after the tone"), **TELEPHONE)


def test_going_on_with_a_machine_the_llm_knows() -> None:
    async def main(exchange: Exchange) -> None:
        call = await answered(exchange, then="go_on")
        await call.leg.say(quiet(0.5), speech(3.0), quiet(6.0))
        assert call.said()[-2:] == [
            ("system", "An answering machine took this call. What is said from now on is recorded."),
            ("assistant", "Well, it is me."),
        ]
        assert call.conversation.session.turn_detection is not None
        assert call.conversation.session.turn_detection.create_response
        call.leg.hang_up()

    run(main, engines("leave a message after the tone"), **TELEPHONE)


def test_a_call_that_ends_before_it_is_known() -> None:
    async def main(exchange: Exchange) -> None:
        call = await answered(exchange)
        await call.leg.say(quiet(0.5), speech(0.3))
        call.leg.hang_up()
        await exchange.host.until_nobody_calls()
        assert call.record.answered_by is None
        assert call.record.outcome == "completed"

    run(main, engines("hello"), **TELEPHONE)


def test_a_client_that_ends_turns_itself_is_not_helped() -> None:
    async def main(exchange: Exchange) -> None:
        leg = ScriptedLeg(party=OUTBOUND)
        update = SessionUpdate.model_validate_json('{"audio": {"input": {"turn_detection": null}}}')
        record = exchange.starter.place(ScriptedDialler(leg), "+4930999", None, update)
        await asyncio.sleep(10)
        assert record.answered_by is None
        leg.hang_up()

    run(main, engines("hello"), **TELEPHONE)
