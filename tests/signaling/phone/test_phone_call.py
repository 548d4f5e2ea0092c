"""A telephone call from its beginning to its end: the greeting is heard whole, either side may end it."""

from __future__ import annotations

import asyncio

import pytest

from media.audio import Audio
from media.errors import CallerError, EngineError, ServerFull
from media.items import Message
from signaling.call_host import VoiceOut
from signaling.phone.leg import PhoneEar
from signaling.realtime_session_objects import SessionUpdate
from tests.scripted import ScriptedEngines, ScriptedLlm, ScriptedStt, quiet, speech
from tests.signaling.phone.phone_calls import Exchange, ScriptedLeg, run

GREETING = {"telephone": {"greeting": "Hello, this is the telephone."}}


def scripted(*replies: str) -> ScriptedEngines:
    return ScriptedEngines(stt=ScriptedStt(says=("what time is it",)), llm=ScriptedLlm(replies=replies))


def test_a_question_is_answered_and_the_far_side_ends_the_call() -> None:
    async def main(exchange: Exchange) -> None:
        leg = ScriptedLeg()
        record, over = exchange.take(leg)
        await asyncio.sleep(2)
        assert record.state == "answered"
        asked_s = asyncio.get_running_loop().time()
        await leg.say(speech(1.0), quiet(3.0))
        assert leg.first_sound_s() > asked_s + 1.0
        leg.hang_up()
        await over.wait()
        assert (record.state, record.outcome, record.why) == ("ended", "completed", "the far side hung up")
        await exchange.host.until_nobody_calls()
        with pytest.raises(CallerError, match="may be over"):
            exchange.calls.get(record.call_id)

    run(main, scripted("It is noon."))


def test_the_greeting_waits_until_sound_flows() -> None:
    async def main(exchange: Exchange) -> None:
        leg = ScriptedLeg(silent_for_s=0.6)
        _, over = exchange.take(leg)
        await asyncio.sleep(5)
        # The first packet came after 0.6 s, and telephones take a moment to connect.
        assert leg.first_sound_s() - leg.answered_s == pytest.approx(0.6 + 0.3, abs=0.3)
        assert leg.first_sound_s() - leg.answered_s >= 0.9
        leg.hang_up()
        await over.wait()

    run(main, **GREETING)


def test_a_far_side_that_sends_nothing_is_greeted_all_the_same() -> None:
    async def main(exchange: Exchange) -> None:
        leg = ScriptedLeg(silent_for_s=100)
        _, over = exchange.take(leg)
        await asyncio.sleep(5)
        assert 1.3 <= leg.first_sound_s() - leg.answered_s < 1.7
        leg.hang_up()
        await over.wait()

    run(main, **GREETING)


def test_this_side_hangs_up() -> None:
    async def main(exchange: Exchange) -> None:
        leg = ScriptedLeg()
        record, over = exchange.take(leg)
        await asyncio.sleep(2)
        exchange.calls.get(record.call_id).hang_up()
        exchange.calls.get(record.call_id).hang_up()
        await over.wait()
        assert leg.ended_s is not None
        assert record.why == "hung up here"

    run(main)


def test_a_call_that_ends_before_it_was_greeted() -> None:
    async def main(exchange: Exchange) -> None:
        leg = ScriptedLeg(silent_for_s=10)
        _, over = exchange.take(leg)
        await asyncio.sleep(0.1)
        leg.hang_up()
        await over.wait()
        await exchange.host.until_nobody_calls()
        assert not exchange.engines.llm.requests

    run(main)


def test_the_server_stops_and_tells_the_telephone() -> None:
    async def main(exchange: Exchange) -> None:
        leg = ScriptedLeg()
        record, over = exchange.take(leg)
        await asyncio.sleep(2)
        await exchange.host.drain(1.0)
        await over.wait()
        assert leg.ended_s is not None
        assert record.why == "the server stops"
        with pytest.raises(ServerFull):
            exchange.starter.admit()

    run(main)


class BrokenLeg(ScriptedLeg):
    async def run(self, ear: PhoneEar, voice: VoiceOut) -> str:
        await asyncio.sleep(2)
        raise OSError("the socket is gone")


def test_a_leg_that_breaks_ends_its_call_only() -> None:
    async def main(exchange: Exchange) -> None:
        other = ScriptedLeg()
        _, other_over = exchange.take(other)
        record, over = exchange.take(BrokenLeg())
        await over.wait()
        assert record.outcome == "error"
        assert not other_over.is_set()
        other.hang_up()

    run(main)


def test_deaf_engines_end_the_call_and_hang_up_the_telephone() -> None:
    async def main(exchange: Exchange) -> None:
        leg = ScriptedLeg()
        record, over = exchange.take(leg)
        await leg.say(quiet(1.0))
        vad = exchange.engines.vad

        async def fails(window: Audio) -> float:
            raise EngineError("the ear broke")

        vad.push = fails  # type: ignore[method-assign]
        await over.wait()
        assert leg.ended_s is not None
        assert record.outcome == "error"

    run(main)


def test_a_leg_that_does_not_end_is_cancelled() -> None:
    class Stubborn(ScriptedLeg):
        def hang_up(self) -> None:
            pass

    async def main(exchange: Exchange) -> None:
        leg = Stubborn()
        record, over = exchange.take(leg)
        await asyncio.sleep(2)
        exchange.calls.get(record.call_id).hang_up()
        await over.wait()
        assert leg.ended_s is not None

    run(main)


def test_no_call_goes_on_for_ever() -> None:
    async def main(exchange: Exchange) -> None:
        leg = ScriptedLeg()
        record, over = exchange.take(leg)
        await over.wait()
        assert leg.ended_s is not None
        assert leg.ended_s - leg.answered_s == pytest.approx(20, abs=0.1)
        assert record.why == "no call may be longer"

    run(main, telephone={"max_call_s": 20})


def test_a_slot_is_taken_before_the_call_is_answered() -> None:
    async def main(exchange: Exchange) -> None:
        admissions = [exchange.starter.admit() for _ in range(2)]
        with pytest.raises(ServerFull):
            exchange.starter.start(ScriptedLeg())
        for admission in admissions:
            admission.release()
            admission.release()
        assert exchange.host.active == 0

    run(main)


def test_a_session_that_cannot_be_frees_the_slot() -> None:
    async def main(exchange: Exchange) -> None:
        update = SessionUpdate.model_validate({"audio": {"output": {"voice": "nobody"}}})
        with pytest.raises(CallerError, match="nobody"):
            exchange.starter.start(ScriptedLeg(), update)
        assert exchange.host.active == 0

    run(main)


def test_clients_join_and_hear_the_assistant() -> None:
    async def main(exchange: Exchange) -> None:
        leg = ScriptedLeg()
        record, over = exchange.take(leg)
        events = exchange.joined(record.call_id)
        await asyncio.sleep(2)
        await leg.say(speech(1.0), quiet(3.0))
        types = [event["type"] for event in events]
        assert types[0] == "session.created"
        order = [
            "input_audio_buffer.speech_started",
            "response.created",
            "output_audio_buffer.started",
            "output_audio_buffer.stopped",
        ]
        assert types.count("response.output_audio.delta") > 1
        assert sorted(order, key=types.index) == order
        leg.hang_up()
        await over.wait()

    run(main, scripted("It is noon."))


def test_instructions_of_the_telephone_are_added() -> None:
    async def main(exchange: Exchange) -> None:
        leg = ScriptedLeg()
        record, over = exchange.take(leg)
        instructions = exchange.calls.session(record.call_id).conversation.session.instructions
        assert instructions == "Be brief.\nSay numbers slowly."
        leg.hang_up()
        await over.wait()

    run(
        main,
        speech_to_speech={"instructions": "Be brief.", "greeting": ""},
        telephone={"instructions": "Say numbers slowly."},
    )


def test_keys_are_told_gathered_and_answered() -> None:
    async def main(exchange: Exchange) -> None:
        leg = ScriptedLeg()
        record, over = exchange.take(leg)
        events = exchange.joined(record.call_id)
        await asyncio.sleep(2)
        leg.press("4", "7", "1", "1", "#")
        await asyncio.sleep(2)
        pressed = [event for event in events if event["type"] == "input_audio_buffer.dtmf_event_received"]
        assert [event["event"] for event in pressed] == ["4", "7", "1", "1", "#"]
        assert all(isinstance(event["received_at"], int) for event in pressed)
        (request,) = exchange.engines.llm.requests
        assert request.messages[-1].text == "I pressed 4711 on the keypad."
        said = [
            item
            for item in exchange.calls.session(record.call_id).conversation.items
            if isinstance(item, Message)
        ]
        assert said[-1].text == "Thank you."
        leg.hang_up()
        await over.wait()

    run(main, scripted("Thank you."))


def test_keys_that_are_pressed_at_once_are_not_lost() -> None:
    async def main(exchange: Exchange) -> None:
        leg = ScriptedLeg(silent_for_s=100)
        record, over = exchange.take(leg)
        events = exchange.joined(record.call_id)
        await asyncio.sleep(0.1)
        leg.press("1", "#")
        await asyncio.sleep(4)
        pressed = [event for event in events if event["type"] == "input_audio_buffer.dtmf_event_received"]
        assert [event["event"] for event in pressed] == ["1", "#"]
        (request,) = exchange.engines.llm.requests
        assert request.messages[-1].text == "I pressed 1 on the keypad."
        leg.hang_up()
        await over.wait()

    run(main, scripted("Thank you."))


def test_a_call_that_is_ended_in_its_first_moment_hangs_up_all_the_same() -> None:
    async def main(exchange: Exchange) -> None:
        leg = ScriptedLeg()
        record, over = exchange.take(leg)
        exchange.calls.get(record.call_id).hang_up()
        await over.wait()
        assert leg.ended_s is not None
        assert record.outcome == "completed"

    run(main)
