"""What the configuration says of every conversation."""

from __future__ import annotations

from media.caller_floor import TurnTakingSettings
from media.clauses import StreamingSettings
from media.digits import DigitSettings
from media.overlap_verdict import InterruptionSettings
from media.playout import AudioSettings
from media.section import Section
from media.silence import SilenceSettings
from media.speaking import WritingSettings
from media.tool_runs import ToolSettings
from media.vad_gate import VadSettings


class ConversationSettings(Section):
    """All that the configuration says of a conversation, beyond what a session can change.

    Attributes:
        apology: said where an answer failed; empty for nothing.
    """

    audio: AudioSettings = AudioSettings()
    vad: VadSettings = VadSettings()
    turn_taking: TurnTakingSettings = TurnTakingSettings()
    interruption: InterruptionSettings = InterruptionSettings()
    silence: SilenceSettings = SilenceSettings()
    streaming: StreamingSettings = StreamingSettings()
    writing: WritingSettings = WritingSettings()
    tools: ToolSettings = ToolSettings()
    digits: DigitSettings = DigitSettings()
    apology: str = ""
