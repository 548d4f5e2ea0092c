"""Where the time of a turn goes, from the end of the caller's speech to the first sound of the reply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

StageName = Literal["endpoint", "stt", "llm", "tts", "playout"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a turn. Stages may overlap.

    Attributes:
        name: `endpoint` is the wait until the turn was known to be over; `stt` ends with the transcript,
            `llm` with the first clause, `tts` with its first audio, `playout` with its first packet.
        start_ms: from the end of the caller's speech.
        duration_ms: how long it took.
    """

    name: StageName
    start_ms: float
    duration_ms: float


@dataclass(frozen=True, slots=True)
class TurnLatency:
    """One spoken turn, measured on the server's clock; the network is the caller's to add.

    Attributes:
        item_id: the caller's item; None where the reply answers something that was typed.
        response_id: the reply.
        stages: in the order in which they began.
        total_ms: from the end of the caller's speech (or the typed text) to the first sound handed over.
    """

    item_id: str | None
    response_id: str
    stages: tuple[Stage, ...]
    total_ms: float


@dataclass(slots=True)
class TurnTimes:
    """When things happened in the caller's turn, on the loop's clock, in seconds.

    Attributes:
        speech_end_s: the last speech was heard.
        ended_s: the turn was known to be over.
        stt_start_s: the transcription that counted began.
        stt_end_s: its transcript was there.
    """

    speech_end_s: float = 0.0
    ended_s: float = 0.0
    stt_start_s: float = 0.0
    stt_end_s: float = 0.0


@dataclass(slots=True)
class ReplyTimes:
    """When things happened in a reply, on the loop's clock, in seconds; 0 where they did not happen yet.

    Attributes:
        asked_s: the reply was asked for.
        first_clause_s: its first clause was written.
        synthesis_s: the synthesis of its first clause began.
        first_sound_s: that synthesis gave its first audio.
    """

    asked_s: float
    first_clause_s: float = 0.0
    synthesis_s: float = 0.0
    first_sound_s: float = 0.0


def measure(
    response_id: str, item_id: str | None, turn: TurnTimes | None, reply: ReplyTimes, began_s: float
) -> TurnLatency:
    """How a reply's time was spent; `began_s` is when its first sound was handed to the transport."""
    zero_s = turn.speech_end_s if turn else reply.asked_s
    spans: list[tuple[StageName, float, float]] = []
    if turn is not None:
        spans.append(("endpoint", turn.speech_end_s, turn.ended_s))
        spans.append(("stt", turn.stt_start_s, turn.stt_end_s))
    spans.append(("llm", reply.asked_s, reply.first_clause_s))
    spans.append(("tts", reply.synthesis_s, reply.first_sound_s))
    spans.append(("playout", reply.first_sound_s, began_s))
    stages = tuple(
        Stage(name, round((start_s - zero_s) * 1000, 1), round((end_s - start_s) * 1000, 1))
        for name, start_s, end_s in spans
    )
    return TurnLatency(item_id, response_id, stages, round((began_s - zero_s) * 1000, 1))
