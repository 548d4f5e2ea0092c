"""How many words are mistaken of what the server hears over a bad network."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from bench.impaired_calls import ImpairedCall, impaired_calls, pulsed
from bench.said import Said
from bench.udp_relay import NONE, Impairment
from bench.word_errors import WordErrors, total, word_errors
from media.audio import SPEECH_RATE_HZ, Audio, concatenate
from media.clock import loop_time_s
from media.engines.whisper_decoder import WhisperDecoder

SILENCE_S = 0.8
"""Between two clips: what is late has come by then."""
LANES = 4
"""Calls at once that say the clips between them."""
EVENT_CHARS = 8_000
EVENT_LIMIT_S = 20.0


@dataclass(frozen=True, slots=True)
class BadNetwork:
    """What the packets of both directions meet while the clips are said.

    Attributes:
        impairment: all the time, from the call's first packet on.
        every_s: instead, only so often; 0 for all the time.
        spell_s: how long it lasts then.
    """

    impairment: Impairment
    every_s: float = 0.0
    spell_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Words:
    """What was heard of the clips over one network.

    Attributes:
        errors: in all clips together, against what is said in them.
        connect_s: until each call stood.
        event_s: until an event of 8,000 characters, and the answer that repeats it, had come through.
        texts: of each clip, by name.
    """

    errors: WordErrors
    connect_s: list[float]
    event_s: list[float]
    texts: dict[str, str]


async def heard_under(
    network: BadNetwork, clips: Sequence[Said]
) -> tuple[dict[str, Audio], list[float], list[float]]:
    """What the server hears of each clip, by its name; how long the calls took to connect, and events."""
    lasting = NONE if network.every_s else network.impairment
    async with impaired_calls(LANES, lasting) as calls, AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        pulses = [
            tasks.create_task(pulsed(call.relay, network.impairment, network.spell_s, network.every_s))
            for call in calls
            if network.every_s
        ]
        event_s = [await _event_time_s(call) for call in calls]
        lanes = await asyncio.gather(
            *(_say_all(call, clips[index::LANES]) for index, call in enumerate(calls))
        )
        for pulse in pulses:
            pulse.cancel()
        connect_s = [call.caller.setup.connected_s for call in calls if call.caller.setup]
        return {name: audio for lane in lanes for name, audio in lane.items()}, connect_s, event_s


async def _say_all(call: ImpairedCall, clips: Sequence[Said]) -> dict[str, Audio]:
    heard = {}
    for clip in clips:
        begin_s = loop_time_s()
        await call.caller.say(clip.audio)
        await asyncio.sleep(SILENCE_S)
        pieces = call.heard_between(begin_s, loop_time_s())
        heard[clip.name] = concatenate([piece.audio for piece in pieces], SPEECH_RATE_HZ)
    return heard


async def _event_time_s(call: ImpairedCall) -> float:
    """A long event, there and back."""
    begin_s = loop_time_s()
    content = [{"type": "input_text", "text": "x" * EVENT_CHARS}]
    item = {"type": "message", "role": "user", "content": content}
    call.caller.send_event({"type": "conversation.item.create", "item": item})
    async with asyncio.timeout(EVENT_LIMIT_S):
        received = await call.caller.next_event("conversation.item.added")
    assert received.event["item"]["content"] == content
    return round(received.at_s - begin_s, 3)


def words_under(network: BadNetwork, clips: Sequence[Said], whisper: WhisperDecoder) -> Words:
    """Says the clips, then transcribes: neither disturbs the other."""
    heard, connect_s, event_s = asyncio.run(heard_under(network, clips))
    texts = {name: whisper.transcribe(audio.as_float32()).text for name, audio in heard.items()}
    errors = total(word_errors(clip.words, texts[clip.name]) for clip in clips)
    return Words(errors, [round(value, 3) for value in connect_s], event_s, texts)
