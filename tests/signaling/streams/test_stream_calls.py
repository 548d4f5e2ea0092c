"""Whole calls over each provider's wire: heard, answered, interrupted, held, keyed, handed on, and left."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from media.clock import loop_time_s
from media.errors import ToolError
from signaling.streams.leg import MESSAGES_A_TURN, MOST_BAD_MESSAGES
from tests.scripted import ScriptedEngines, ScriptedLlm, quiet, speech
from tests.signaling.streams.stream_calls import (
    AHEAD_S,
    CLEARING,
    DELAY_S,
    PROVIDERS,
    Provider,
    StreamCall,
    named,
    run,
)

WORDS = " ".join(f"word{number}," for number in range(1, 21))
"""Six seconds of scripted speech."""
TWILIO, TELNYX, PLIVO = PROVIDERS[0], PROVIDERS[1], PROVIDERS[4]


async def asked(call: StreamCall, said_s: float = 0.8) -> None:
    """The caller says something; returns when they hear the answer begin."""
    call.far.say(speech(said_s), quiet(0.1))
    await call.far.until(lambda: call.far.audible_s() > 0.1)


@pytest.mark.parametrize("provider", PROVIDERS, ids=named)
def test_a_question_is_answered_and_the_answer_is_heard_whole(provider: Provider) -> None:
    async def test(call: StreamCall) -> None:
        far = call.far
        await asked(call)
        reply = call.engines.llm.replies[0]
        assert isinstance(reply, str)
        length_s = 0.3 * len(reply.split())
        await asyncio.sleep(length_s + 0.5)
        assert far.audible_s() == pytest.approx(length_s, abs=0.03)
        heard = [frame.level_dbfs() > -45 for _, frame in far.played]
        first, last = heard.index(True), len(heard) - 1 - heard[::-1].index(True)
        assert all(heard[first : last + 1]), "there are gaps in it"
        # What the far side had queued at most: what leaves ahead, and the frame that plays.
        ahead_s = AHEAD_S if provider.clears else 0.06
        assert ahead_s - 0.02 <= far.most_queued_s <= ahead_s + 0.02 + 1e-6
        assert [item.text for item in call.said("user")] == ["hello"]
        if provider.clears:
            assert far.marks_returned >= length_s / 0.1 - 1

    run(provider, test)


@pytest.mark.parametrize("provider", CLEARING, ids=named)
def test_an_interruption_clears_the_far_side_and_history_is_cut_by_its_marks(provider: Provider) -> None:
    engines = ScriptedEngines(llm=ScriptedLlm(replies=(WORDS, "Yes?")))

    async def test(call: StreamCall) -> None:
        far = call.far
        await asked(call)
        await far.until(lambda: far.audible_s() > 1.5)
        far.say(speech(0.8), quiet(0.1))
        await far.until(lambda: len(far.cleared) > 0)
        heard_s = far.audible_s()
        await far.until(lambda: len(call.engines.llm.requests) == 2)
        cut = call.said("assistant")[0]
        assert cut.status == "incomplete"
        # Of what was heard, that is known here which a mark told of, or should have by now: the way there and
        # back before the clear came.
        words = len(cut.text.split())
        assert (heard_s - 2 * DELAY_S - 0.1) / 0.3 - 0.5 <= words <= heard_s / 0.3 + 0.5, heard_s
        # Then the second answer, and nothing before it.
        await far.until(lambda: far.audible_s() > heard_s + 0.25)
        again_s = next(
            at_s for at_s, frame in far.played if at_s > far.cleared[0] and frame.level_dbfs() > -45
        )
        assert again_s > far.cleared[0] + 0.8
        assert far.audible_s() == pytest.approx(heard_s + 0.3, abs=0.05)

    run(provider, test, engines)


@pytest.mark.parametrize("provider", CLEARING, ids=named)
def test_after_a_hold_nothing_of_the_voice_is_lost(provider: Provider) -> None:
    """The voice was cleared, and goes on: what the far side had not played is sent again."""
    engines = ScriptedEngines(llm=ScriptedLlm(replies=(WORDS,)))

    async def test(call: StreamCall) -> None:
        far = call.far
        await asked(call)
        playout: Any = call.conversation.playout
        for _ in range(4):
            await asyncio.sleep(0.437)
            playout.hold()
            await asyncio.sleep(0.25)
            heard_s = far.audible_s()
            # What counts as heard was heard.
            assert playout.held_at[1] <= heard_s + 1e-3
            await asyncio.sleep(0.25)
            assert far.audible_s() == heard_s, "it goes on while it is held"
            playout.go_on()
        assert len(far.cleared) == 4
        await asyncio.sleep(6)
        repeated_s = far.audible_s() - 6.0
        # All six seconds. Twice is heard what was played but was not known to be, at each hold.
        assert -0.05 <= repeated_s <= 4 * (2 * DELAY_S + 0.12)

    run(provider, test, engines)


@pytest.mark.parametrize("provider", [one for one in PROVIDERS if not one.clears], ids=named)
def test_where_nothing_can_be_taken_back_the_voice_goes_on_just_there(provider: Provider) -> None:
    engines = ScriptedEngines(llm=ScriptedLlm(replies=(WORDS,)))

    async def test(call: StreamCall) -> None:
        far = call.far
        await asked(call)
        playout: Any = call.conversation.playout
        for _ in range(3):
            await asyncio.sleep(0.437)
            playout.hold()
            # What was sent ahead is heard out.
            await asyncio.sleep(0.2)
            heard_s = far.audible_s()
            await asyncio.sleep(0.2)
            assert far.audible_s() == heard_s
            playout.go_on()
        await asyncio.sleep(6)
        # The frames in which it fell silent and went on are heard twice, or half.
        assert far.audible_s() == pytest.approx(6.0, abs=0.13)

    run(provider, test, engines)


def test_a_far_side_that_is_full_is_sent_nothing_until_it_has_room() -> None:
    engines = ScriptedEngines(llm=ScriptedLlm(replies=(WORDS,)))

    async def test(call: StreamCall) -> None:
        far = call.far
        await asked(call)
        await far.line.send('{"event": "MEDIA_XOFF"}')
        await asyncio.sleep(0.5)
        heard_s = far.audible_s()
        await asyncio.sleep(1)
        assert far.audible_s() == heard_s
        await far.line.send('{"event": "MEDIA_XON"}')
        await asyncio.sleep(6)
        assert far.audible_s() == pytest.approx(6.0, abs=0.05)

    run(PROVIDERS[6], test, engines)


def test_a_hold_after_all_was_sent_clears_too_and_its_end_is_not_lost() -> None:
    async def test(call: StreamCall) -> None:
        far = call.far
        await asked(call)
        playout: Any = call.conversation.playout
        await call.far.until(lambda: not playout.pending)
        heard_s = far.audible_s()
        assert heard_s < 1.5 - 0.05
        assert playout.sounding, "it is over before it was heard"
        playout.hold()
        await asyncio.sleep(0.3)
        assert len(far.cleared) == 1
        playout.go_on()
        await asyncio.sleep(1)
        assert far.audible_s() >= 1.5 - 0.021
        assert not playout.sounding

    run(TWILIO, test)


def test_no_word_is_heard_twice_where_marks_of_what_was_cleared_come_back() -> None:
    """Twilio gives them back: they do not count as played. Else the end of the voice would be lost."""

    async def test(call: StreamCall) -> None:
        far = call.far
        await asked(call)
        await asyncio.sleep(0.4)
        playout: Any = call.conversation.playout
        before = far.marks_returned
        playout.hold()
        held_s = playout.held_at[1]
        await asyncio.sleep(0.3)
        assert far.marks_returned > before
        assert playout.held_at[1] == held_s
        assert playout.heard_s(playout.held_at[0]) <= held_s

    run(TWILIO, test)


def test_a_far_side_that_falls_behind_is_noticed_by_its_marks() -> None:
    """The network stands still for a while: what was sent meanwhile was not heard."""
    engines = ScriptedEngines(llm=ScriptedLlm(replies=(WORDS, "Yes?")))

    async def test(call: StreamCall) -> None:
        far = call.far
        await asked(call)
        await asyncio.sleep(0.8)
        ours: Any = far.line.other  # type: ignore[attr-defined]
        # From now on, all that is sent takes 0.6 s longer.
        ours.delay_s += 0.6
        await asyncio.sleep(1.5)
        playout: Any = call.conversation.playout
        (response_id,) = playout.sounding
        heard_s = far.audible_s()
        assert playout.heard_s(response_id) <= heard_s + 1e-3
        assert playout.heard_s(response_id) >= heard_s - 2 * DELAY_S - 0.13
        # As much as it is late, but for what leaves ahead.
        assert playout.heard_lag_s == pytest.approx(0.6 + 2 * DELAY_S - AHEAD_S, abs=0.03)

    run(TWILIO, test, engines)


def test_marks_that_never_come_back_end_nothing() -> None:
    async def test(call: StreamCall) -> None:
        await asked(call)
        await asyncio.sleep(5)
        far, playout = call.far, call.conversation.playout
        assert playout.sounding == ()  # type: ignore[attr-defined]
        far.say(speech(0.8), quiet(0.1))
        await far.until(lambda: far.audible_s() > 2.9)
        assert len(call.engines.llm.requests) == 2

    run(TWILIO, test, side={"returns_marks": False})


@pytest.mark.parametrize("provider", PROVIDERS, ids=named)
def test_keys_that_are_pressed_are_answered(provider: Provider) -> None:
    async def test(call: StreamCall) -> None:
        await asyncio.sleep(0.2)
        for key in "42#":
            await call.far.press(key)
        await call.far.until(lambda: len(call.engines.llm.requests) == 1)
        assert "42" in call.said("user")[0].text.replace(" ", "")

    run(provider, test)


@pytest.mark.parametrize("provider", PROVIDERS, ids=named)
def test_a_caller_who_leaves_ends_the_call(provider: Provider) -> None:
    async def test(call: StreamCall) -> None:
        record = call.exchanged.starter.records.get(call.call_id)
        await asked(call)
        await call.far.leave()
        await call.exchanged.host.until_nobody_calls()
        assert record.outcome == "completed"
        assert record.why in ("the far side hung up", "the stream was stopped")

    run(provider, test)


@pytest.mark.parametrize("provider", PROVIDERS, ids=named)
def test_a_call_that_is_ended_here_ends_there(provider: Provider) -> None:
    async def test(call: StreamCall) -> None:
        call.conversation.close()
        await call.far.ended.wait()
        says_so = provider.name.startswith(("audiosocket", "chan_websocket"))
        assert call.far.got == (["HANGUP"] if says_so else [])

    run(provider, test)


def test_lost_pieces_of_the_callers_voice_keep_their_time() -> None:
    """Every twentieth is lost, and others overtake each other; what is heard is as long as it was spoken."""
    lost = frozenset(range(10, 400, 20))
    swapped = frozenset(range(15, 400, 20))

    async def test(call: StreamCall) -> None:
        before = len(call.engines.stt.sessions)
        call.far.say(speech(3.0), quiet(0.1))
        await call.far.until(lambda: call.far.audible_s() > 0.1)
        (session,) = call.engines.stt.sessions[before:]
        # The turn, and the third of a second before it; and its pause as far as that was transcribed.
        assert 3.0 <= session.pushed_s <= 3.75
        record = call.exchanged.starter.records.get(call.call_id)
        assert record.why is None

    run(TWILIO, test, side={"drops": lost})
    run(TELNYX, test, side={"drops": lost, "swaps": swapped})
    run(PLIVO, test, side={"drops": lost, "swaps": swapped})


def test_nonsense_ends_nothing() -> None:
    async def test(call: StreamCall) -> None:
        for nonsense in (
            "",
            "{",
            "[]",
            "null",
            '{"event": 3}',
            '{"event": "media"}',
            '{"event": "new"}',
            b"\xff",
        ):
            await call.far.line.send(nonsense)
        await asked(call)

    run(TWILIO, test)


def test_a_flood_of_nonsense_ends_the_call() -> None:
    async def test(call: StreamCall) -> None:
        for _ in range(1100):
            await call.far.line.send("{")
        await call.far.ended.wait()

    run(TWILIO, test)


def test_a_far_side_that_cannot_do_what_it_is_told_keeps_its_call() -> None:
    """An Asterisk that knows no marks, say, objects to each: ten times a second while the voice is heard."""

    async def test(call: StreamCall) -> None:
        for _ in range(MOST_BAD_MESSAGES + 100):
            await call.far.line.send('{"event": "ERROR", "error_text": "no such command"}')
        await asked(call)
        leg: Any = call.exchanged.calls.get(call.call_id).leg  # type: ignore[attr-defined]
        assert leg.objections > MOST_BAD_MESSAGES

    run(PROVIDERS[6], test)


def test_others_are_not_kept_waiting_by_a_flood() -> None:
    """Messages that have come are there at once: the loop turns to others between them."""

    async def test(call: StreamCall) -> None:
        ours: Any = call.far.line.other  # type: ignore[attr-defined]
        leg: Any = call.exchanged.calls.get(call.call_id).leg  # type: ignore[attr-defined]
        for _ in range(1000):
            ours._came.put_nowait('{"event": "new"}')
        turns = 0
        while leg.unknown_messages < 1000:
            turns += 1
            await asyncio.sleep(0)
        assert turns >= 1000 / MESSAGES_A_TURN

    run(TWILIO, test)


def test_what_comes_after_the_end_is_not_heard() -> None:
    async def test(call: StreamCall) -> None:
        ours: Any = call.far.line.other  # type: ignore[attr-defined]
        leg: Any = call.exchanged.calls.get(call.call_id).leg  # type: ignore[attr-defined]
        ours._came.put_nowait('{"event": "stop"}')
        for _ in range(5):
            ours._came.put_nowait('{"event": "new"}')
        await call.exchanged.host.until_nobody_calls()
        assert leg.unknown_messages == 0

    run(TWILIO, test)


def test_a_far_side_that_does_not_read_is_hung_up_on() -> None:
    engines = ScriptedEngines(llm=ScriptedLlm(replies=(" ".join([WORDS] * 3),)))

    async def test(call: StreamCall) -> None:
        record = call.exchanged.starter.records.get(call.call_id)
        await asked(call)
        ours: Any = call.far.line.other  # type: ignore[attr-defined]
        stuck = asyncio.Event()
        ours.send = lambda message: stuck.wait()
        began_s = loop_time_s()
        await call.exchanged.host.until_nobody_calls()
        assert record.why == "the far side does not read"
        assert loop_time_s() - began_s < 15

    run(TWILIO, test, engines)


def tones_hz(samples: Any, rate_hz: int) -> list[float]:
    """The two strongest."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 8 * len(samples)))
    found: list[float] = []
    for index in np.argsort(spectrum)[::-1]:
        hz = index * rate_hz / (8 * len(samples))
        if all(abs(hz - other) > 60 for other in found):
            found.append(hz)
        if len(found) == 2:
            break
    return sorted(found)


def test_keys_are_pressed_as_tones_where_the_wire_has_no_word_for_them() -> None:
    async def test(call: StreamCall) -> None:
        leg: Any = call.exchanged.calls.get(call.call_id).leg  # type: ignore[attr-defined]
        assert "digits" in leg.abilities
        await leg.send_digits("5D")
        await asyncio.sleep(0.3)
        heard = call.far.heard().as_int16().astype(float)
        loud = np.flatnonzero(np.abs(heard) > 1000)
        first = heard[loud[0] : loud[0] + 800]
        second = heard[loud[0] + 1600 : loud[0] + 2400]
        assert tones_hz(first, 8000) == pytest.approx([770, 1336], abs=10)
        assert tones_hz(second, 8000) == pytest.approx([941, 1633], abs=10)
        assert AHEAD_S - 0.02 <= call.far.most_queued_s <= AHEAD_S + 0.02 + 1e-6
        with pytest.raises(ToolError):
            await leg.send_digits("5x")

    run(TWILIO, test)


def test_plivo_presses_keys_itself() -> None:
    async def test(call: StreamCall) -> None:
        leg: Any = call.exchanged.calls.get(call.call_id).leg  # type: ignore[attr-defined]
        await leg.send_digits("12#")
        await call.far.until(lambda: call.far.got == ["12#"])

    run(PLIVO, test)


def test_a_wire_that_cannot_transfer_says_so() -> None:
    async def test(call: StreamCall) -> None:
        leg: Any = call.exchanged.calls.get(call.call_id).leg  # type: ignore[attr-defined]
        assert leg.abilities == {"digits"}
        with pytest.raises(ToolError):
            await leg.transfer("+4930123")

    run(TELNYX, test)


def test_who_is_on_the_line() -> None:
    async def test(call: StreamCall) -> None:
        party = call.exchanged.calls.get(call.call_id).leg.party  # type: ignore[attr-defined]
        assert (party.caller, party.called) == ("+13122010094", "+13122123456")
        assert party.parameters == {"customer_id": "customer_123"}
        assert (party.carrier, party.direction) == ("telnyx", "inbound")

    run(TELNYX, test)

    async def asterisk(call: StreamCall) -> None:
        party = call.exchanged.calls.get(call.call_id).leg.party  # type: ignore[attr-defined]
        assert (party.caller, party.call_ref) == ("+4930", "pbx1-123456789.999")
        assert party.parameters == {"TENANT": "blue"}

    run(PROVIDERS[6], asterisk)
