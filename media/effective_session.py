"""A session as it will be: checked against what the engines can, the configuration's values filled in."""

from __future__ import annotations

from dataclasses import replace

from media.caller_floor import TurnTakingSettings
from media.engines.protocols import Engines
from media.errors import CallerError
from media.session import SessionConfig, TurnDetection
from media.tool_offer import require_choice
from media.tools import Tool
from media.turn_rules import turn_rules
from media.vad_gate import VadSettings


def effective_session(
    session: SessionConfig,
    engines: Engines,
    vad: VadSettings,
    turn_taking: TurnTakingSettings,
    in_server: tuple[Tool, ...] = (),
) -> SessionConfig:
    """The session, if these engines can serve it, with the server's tools.

    Raises:
        CallerError: `voice_unavailable`, `language_unavailable`, or a tool must be called that is not there.
    """
    voice = next((voice for voice in engines.tts.voices if voice.name == session.voice), None)
    if voice is None:
        raise CallerError(f"there is no voice {session.voice!r}", code="voice_unavailable", param="voice")
    if voice.unavailable is not None:
        raise CallerError(voice.unavailable, code="voice_unavailable", param="voice")
    if session.language is not None and session.language not in engines.stt.languages:
        raise CallerError(
            f"speech in {session.language!r} cannot be transcribed here",
            code="language_unavailable",
            param="language",
        )
    require_choice(session.tool_choice, (*session.tools, *in_server))
    return replace(session, turn_detection=_filled(session.turn_detection, vad, turn_taking))


def _filled(
    detection: TurnDetection | None, vad: VadSettings, turn_taking: TurnTakingSettings
) -> TurnDetection | None:
    """With the configuration's values, where silence alone decides: there all of them are the session's."""
    if detection is None or detection.kind != "server_vad":
        return detection
    rules = turn_rules(detection, vad, turn_taking)
    return replace(detection, threshold=rules.threshold, padding_s=rules.padding_s, silence_s=rules.silence_s)
