"""What can be changed about one call while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from media.items import Modality
from media.tools import Tool, ToolChoice


@dataclass(frozen=True, slots=True)
class TurnDetection:
    """How the end of the caller's turn is found.

    Attributes:
        kind: `server_vad` decides by silence alone, `semantic_vad` also by whether the turn sounds complete.
        silence_s: how long a pause ends the turn; None takes the configuration's.
        threshold: P(speech) from which a window counts as speech; None takes the configuration's.
        padding_s: how much audio before the speech belongs to it; None takes the configuration's.
        idle_timeout_s: how long after a reply nobody has spoken when the assistant goes on by itself; None:
            it does not.
        eagerness: for `semantic_vad`: how soon a turn that sounds unfinished is given up on.
        create_response: answer by itself when a turn ends.
        interrupt_response: stop speaking when the caller begins to.
    """

    kind: Literal["server_vad", "semantic_vad"] = "semantic_vad"
    silence_s: float | None = None
    threshold: float | None = None
    padding_s: float | None = None
    idle_timeout_s: float | None = None
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool = True
    interrupt_response: bool = True


@dataclass(frozen=True, slots=True)
class Retention:
    """How much of a conversation the LLM is shown.

    Attributes:
        share: what is kept, of all that may be shown, when something is left out. None: nothing is left out,
            and a response to more than the LLM takes fails.
        max_chars: all that may be shown, where that is less than the configuration's; None takes that one.
    """

    share: float | None = 0.5
    max_chars: int | None = None


HALF = Retention()


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """A call's settings. Replaced whole by `Conversation.update`; a change holds from the next turn on.

    Attributes:
        instructions: the persona: the LLM's system message.
        greeting: said when the call begins; empty for none.
        voice: name of a voice.
        speed: 0.5 to 2.
        language: BCP-47 primary tag of what the caller speaks, or None to detect it.
        modality: whether replies are spoken.
        turn_detection: None: the client commits turns and asks for responses itself.
        transcribe: the caller wants events with the transcripts of what they say.
        spelling: words that the caller may say (names, terms), which helps to transcribe them.
        max_output_tokens: None takes the configuration's.
        tools: that the LLM may call and the client runs, besides those of the conversation's toolbox.
        tool_choice: whether one may, or must, be called.
        parallel_calls: whether a response may call more than one.
        retention: how much of the conversation the LLM is shown.
        responds: whether anything is ever answered; without it the call is transcribed and no more.
    """

    instructions: str
    greeting: str
    voice: str
    speed: float = 1.0
    language: str | None = None
    modality: Modality = "audio"
    turn_detection: TurnDetection | None = TurnDetection()
    transcribe: bool = True
    spelling: str = ""
    max_output_tokens: int | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = "auto"
    parallel_calls: bool = True
    retention: Retention = HALF
    responds: bool = True
