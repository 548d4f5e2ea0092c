"""What a page is told about this server."""

from __future__ import annotations

from typing import Any

from media.engines.protocols import Engines
from server.config import Config


def page_config(config: Config, engines: Engines) -> dict[str, Any]:
    """JSON-able, for `GET /api/config`; signalling adds the ICE servers.

    Args:
        config: with the runtime changes.
        engines: they know their voices and languages.
    """
    return {
        "voices": [
            {
                "name": voice.name,
                "label": voice.label,
                "language": voice.language,
                "unavailable": voice.unavailable,
            }
            for voice in engines.tts.voices
        ],
        "languages": list(engines.stt.languages),
        "defaults": {
            "voice": config.tts.voice,
            "speed": config.tts.speed,
            "language": config.model.language_hint,
            "instructions": config.speech_to_speech.instructions,
            "greeting": config.speech_to_speech.greeting,
        },
        "connect_timeout_s": config.ice.connect_timeout_s,
        "spectrogram": config.spectrogram.model_dump(mode="json"),
        "features": {"text_only": True},
    }
